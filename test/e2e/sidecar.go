package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// patience is how long something may take on a loaded machine. Nothing asserts
// that it is quick.
const patience = 2 * time.Minute

// Options are a sidecar's. Whoever is the workload and at least one way are
// needed.
type Options struct {
	Workload Workload
	Inbound  []string // --inbound
	Outbound []string // --outbound
	Expect   []string // --expect
	Args     []string // more flags
	Config   string   // the content of --config; none if empty
	Env      []string
	Name     string // for messages
	Inside   string // a network namespace to run in; ours if empty
	// MetricsHost is where metrics are served; 127.0.0.1 if empty.
	MetricsHost string
}

// Sidecar is a running `hallmark run`.
type Sidecar struct {
	*components.Running

	Metrics string // host:port
	Admin   string // host:port
	options Options
}

// Run runs a sidecar and waits until it is ready.
func Run(tb testing.TB, options Options) *Sidecar {
	tb.Helper()
	s := &Sidecar{Metrics: components.FreeAddr(tb), Admin: components.FreeAddr(tb), options: options}
	if options.MetricsHost != "" {
		_, port, _ := net.SplitHostPort(s.Metrics) // made by FreeAddr
		s.Metrics = net.JoinHostPort(options.MetricsHost, port)
	}
	if options.Config != "" {
		file := filepath.Join(tb.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(options.Config), 0o600); err != nil {
			tb.Fatalf("e2e: %v", err)
		}
		s.options.Args = append(slices.Clone(options.Args), "--config", file)
	}
	s.Start(tb)
	return s
}

// Start starts the sidecar anew, on the same addresses, after it was killed or
// while it runs, if it hands over.
func (s *Sidecar) Start(tb testing.TB) {
	tb.Helper()
	s.Running = components.Start(tb, s.process(tb))
}

func (s *Sidecar) process(tb testing.TB) components.Process {
	tb.Helper()
	o := s.options
	args := []string{"run", "--workload-api", o.Workload.Endpoint, "--metrics", s.Metrics, "--admin", s.Admin, "--patience", patience.String()}
	for flag, values := range map[string][]string{"--inbound": o.Inbound, "--outbound": o.Outbound, "--expect": o.Expect} {
		for _, v := range values {
			args = append(args, flag, v)
		}
	}
	name := o.Name
	if name == "" {
		name = "hallmark " + o.Workload.ID
	}
	path, args := o.Workload.Binary, append(args, o.Args...)
	if o.Inside != "" {
		path, args = components.Command(tb, "ip"), append([]string{"netns", "exec", o.Inside, path}, args...)
	}
	return components.Process{
		Name: name, Path: path, Args: args, Env: o.Env,
		Ready: components.Responds("http://" + s.Metrics + "/readyz"), ReadyTimeout: patience,
	}
}

// Scrape returns the metrics of the sidecar by name.
func (s *Sidecar) Scrape(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Metrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("e2e: %s: %s", req.URL, res.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(res.Body)
}

// Sum adds up the counters and gauges of a name whose labels include the given
// ones, which alternate with their values.
func (s *Sidecar) Sum(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	families, err := s.Scrape(tb.Context())
	if err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		if matches(m, labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return sum
}

func matches(m *dto.Metric, labels []string) bool {
	for pair := range slices.Chunk(labels, 2) {
		if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
			return l.GetName() == pair[0] && l.GetValue() == pair[1]
		}) {
			return false
		}
	}
	return true
}

// Page returns a page of the operator's port.
func (s *Sidecar) Page(tb testing.TB, path string) string {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "http://"+s.Admin+path, nil)
	if err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		tb.Fatalf("e2e: %s: %s, %v", path, res.Status, err)
	}
	return string(body)
}

// Pair is two sidecars with mutual TLS between them.
type Pair struct {
	Inbound, Outbound *Sidecar
	// Between is the inbound sidecar's address for peers.
	Between string

	addrs []string
}

// Ways are the applications behind a pair.
type Ways struct {
	Client, Server Workload
	// Backends are the applications' addresses, each perhaps followed by keys
	// of --inbound, such as ",protocol=postgres".
	Backends []string
	// Keys are appended to every --outbound, such as ",session=raw".
	Keys string
	// InboundArgs and OutboundArgs are more flags.
	InboundArgs, OutboundArgs     []string
	InboundConfig, OutboundConfig string
	// Relay, if it is not nil, returns the address that the outbound sidecar
	// is to connect to for the inbound one's.
	Relay func(inbound string) string
}

// RunPair runs a pair; [Pair.Addr] returns where clients find the applications.
func RunPair(tb testing.TB, w Ways) *Pair {
	tb.Helper()
	p := &Pair{}
	in := Options{Workload: w.Server, Args: w.InboundArgs, Config: w.InboundConfig, Name: "inbound"}
	out := Options{Workload: w.Client, Expect: []string{w.Server.ID}, Args: w.OutboundArgs, Config: w.OutboundConfig, Name: "outbound"}
	for _, backend := range w.Backends {
		between, front := components.FreeAddr(tb), components.FreeAddr(tb)
		in.Inbound = append(in.Inbound, between+"="+backend)
		if p.Between == "" {
			p.Between = between
		}
		to := between
		if w.Relay != nil {
			to = w.Relay(between)
		}
		out.Outbound = append(out.Outbound, front+"="+to+w.Keys)
		p.addrs = append(p.addrs, front)
	}
	p.Inbound = Run(tb, in)
	p.Outbound = Run(tb, out)
	return p
}

// Addr returns where clients find the i-th application.
func (p *Pair) Addr(i int) string { return p.addrs[i] }

// Eventually is [components.Eventually] with the patience of this package.
func Eventually(tb testing.TB, what string, until func() error) {
	tb.Helper()
	components.Eventually(tb, patience, what, until)
}
