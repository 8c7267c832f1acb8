package observability

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/interop/grpc_testing"
	"sigs.k8s.io/yaml"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// The workloads of the mesh: web and batch call cart, which calls redis.
const (
	web   = "/ns/shop/sa/web"
	batch = "/ns/jobs/sa/batch"
	cart  = "/ns/shop/sa/cart"
	redis = "/ns/data/sa/redis"
)

// mesh is four sidecars with real applications, among which all kinds of traffic
// goes on, failing ones included, and a Prometheus that scrapes them.
type mesh struct {
	sidecars   map[string]*e2e.Sidecar
	prometheus *apps.Prometheus

	in    map[string]string // addresses of inbound listeners by target
	front map[string]string // of outbound listeners by "caller target"
}

// startMesh starts the mesh and its traffic, which ends with the test.
func startMesh(t *testing.T) *mesh {
	t.Helper()
	issuer := build.Issuer(t, e2e.IssuerOptions{Workloads: map[string]map[string]string{web: nil, batch: nil, cart: nil, redis: nil}})
	m := &mesh{sidecars: make(map[string]*e2e.Sidecar), in: make(map[string]string), front: make(map[string]string)}
	for _, target := range []string{"cart", "rpc", "redis", "breaking"} {
		m.in[target] = components.FreeAddr(t)
	}
	run := func(path string, config ...string) {
		m.sidecars[path] = e2e.Run(t, e2e.Options{
			Workload: issuer.Workload(t, path), Name: path, Config: strings.Join(append(config, process), "---\n"),
		})
	}
	run(redis, m.inbound("redis", apps.StartRedis(t).Addr), m.inbound("breaking", breaking(t)), onlyCart)
	run(cart, m.inbound("cart", shop(t)), m.inbound("rpc", apps.StartGRPC(t).Addr), m.outbound(t, "cart", "redis", redis))
	run(web, m.outbound(t, "web", "cart", cart), m.outbound(t, "web", "rpc", cart), m.outbound(t, "web", "breaking", redis), m.outbound(t, "web", "gone", cart))
	run(batch, m.outbound(t, "batch", "cart", cart), m.outbound(t, "batch", "redis", redis))
	m.keepGoing(t)
	m.prometheus = scrape(t, m.sidecars)
	return m
}

// process is how every sidecar counts and logs.
const process = `apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: sidecar}
spec:
  metrics: {cluster: test}
  accessLog:
    requests: All
    lines: {requests: "LINE %REPORTER% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %SOURCE_PRINCIPAL% %DESTINATION_PRINCIPAL%"}
`

// onlyCart keeps all others out of Redis.
const onlyCart = `apiVersion: hallmark.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: only-cart}
spec:
  targets: [redis]
  rules: [{from: [{ids: ["spiffe://example.org/ns/shop/sa/cart"]}]}]
`

func (m *mesh) inbound(target, app string) string {
	return fmt.Sprintf("apiVersion: hallmark.dev/v1alpha1\nkind: Inbound\nmetadata: {name: %s}\nspec:\n  listen: %s\n  targets: [{name: %s, address: %q}]\n", target, m.in[target], target, app)
}

func (m *mesh) outbound(t *testing.T, caller, target, expect string) string {
	t.Helper()
	front, to := components.FreeAddr(t), m.in[target]
	if to == "" {
		to = components.FreeAddr(t) // where nobody listens
	}
	m.front[caller+" "+target] = front
	return fmt.Sprintf("apiVersion: hallmark.dev/v1alpha1\nkind: Outbound\nmetadata: {name: %s}\nspec:\n  listen: %s\n  to: %s\n  target: %s\n  expect: [{id: %q}]\n",
		target, front, to, map[bool]string{true: target, false: "cart"}[m.in[target] != ""], "spiffe://example.org"+expect)
}

// shop is the web application: it fails at /fail.
func shop(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			http.Error(w, "on purpose", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("goods ", 100))
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return l.Addr().String()
}

// breaking is a server that answers and resets each connection.
func breaking(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 hello\r\n"))
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}

// keepGoing has the applications call one another until the test ends.
func (m *mesh) keepGoing(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	rpc := (&apps.GRPC{Addr: m.front["web rpc"]}).Dial(t)
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	held, err := net.Dial("tcp", m.front["cart redis"])
	if err != nil {
		t.Fatal(err)
	}
	var traffic sync.WaitGroup
	tick := time.NewTicker(100 * time.Millisecond)
	round := func() {
		for _, url := range []string{m.front["web cart"] + "/", m.front["web cart"] + "/fail?token=secret", m.front["batch cart"] + "/", m.front["web gone"] + "/"} {
			get(ctx, client, "http://"+url)
		}
		_, _ = rpc.UnaryCall(ctx, &grpc_testing.SimpleRequest{Payload: &grpc_testing.Payload{Body: []byte("x")}})
		_, _ = rpc.EmptyCall(ctx, &grpc_testing.Empty{}) // unimplemented
		_, _ = held.Write([]byte("PING\r\n"))
		_, _ = held.Read(make([]byte, 64))
		say(m.front["cart redis"], "PING\r\n")
		say(m.front["batch redis"], "PING\r\n") // denied
		say(m.front["web breaking"], "EHLO a\r\n")
		say(m.front["web cart"], "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n") // refused
		if c, err := tls.Dial("tcp", m.in["cart"], &tls.Config{InsecureSkipVerify: true}); err == nil {
			_ = c.Close() // nobody's handshake
		}
	}
	traffic.Go(func() {
		for {
			round()
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() {
		stop()
		tick.Stop()
		traffic.Wait()
		client.CloseIdleConnections()
		_ = held.Close()
	})
}

func get(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	req.Header.Set("x-envoy-peer-metadata", "liar")
	if res, err := client.Do(req); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

// say connects, says something and reads an answer, if there is one.
func say(address, text string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, text)
	_, _ = c.Read(make([]byte, 64))
}

// scrape runs Prometheus with the deployed configuration, its targets replaced and
// its intervals shortened.
func scrape(t *testing.T, sidecars map[string]*e2e.Sidecar) *apps.Prometheus {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(deployed, "prometheus.yaml"))), &config); err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, s := range sidecars {
		targets = append(targets, s.Metrics)
	}
	global := config["global"].(map[string]any)
	global["scrape_interval"], global["evaluation_interval"] = "1s", "1s"
	job := config["scrape_configs"].([]any)[0].(map[string]any)
	job["static_configs"] = []any{map[string]any{"targets": targets}}
	rules, err := filepath.Abs(filepath.Join(deployed, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config["rule_files"] = []string{rules}
	changed, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "prometheus.yaml")
	if err := os.WriteFile(file, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	p := apps.StartPrometheusFile(t, file, len(targets))
	p.AwaitScraped(t)
	return p
}
