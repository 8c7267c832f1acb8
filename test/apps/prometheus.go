package apps

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// Prometheus is a running Prometheus that scrapes given addresses every second.
type Prometheus struct {
	Addr   string // host:port of its API
	Server *components.Running

	targets int
}

// StartPrometheus runs Prometheus. It scrapes /metrics at every target, which
// is a host:port; jobs are named by the keys.
func StartPrometheus(tb testing.TB, jobs map[string][]string) *Prometheus {
	tb.Helper()
	var config strings.Builder
	config.WriteString("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  scrape_native_histograms: true\nscrape_configs:\n")
	n := 0
	for job, targets := range jobs {
		n += len(targets)
		fmt.Fprintf(&config, "- job_name: %q\n  static_configs:\n  - targets: [%s]\n", job, strings.Join(quoted(targets), ", "))
	}
	dir := components.TempDirFor(tb, nil)
	return StartPrometheusFile(tb, writeFor(tb, nil, dir, "prometheus.yml", []byte(config.String())), n)
}

// StartPrometheusFile runs Prometheus by a configuration file, which has it scrape
// so many targets.
func StartPrometheusFile(tb testing.TB, file string, targets int) *Prometheus {
	tb.Helper()
	dir := components.TempDirFor(tb, nil)
	p := &Prometheus{Addr: components.FreeAddr(tb), targets: targets}
	p.Server = components.Start(tb, components.Process{
		Path: components.Path(tb, components.Prometheus), Dir: dir,
		Args:  []string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + p.Addr},
		Ready: components.Responds("http://" + p.Addr + "/-/ready"),
	})
	return p
}

func quoted(texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = fmt.Sprintf("%q", t)
	}
	return out
}

// Sample is one series of an instant query's result.
type Sample struct {
	Labels map[string]string
	Value  string // as Prometheus prints it; "" of a native histogram
}

// Query evaluates PromQL now and returns the instant vector.
func (p *Prometheus) Query(ctx context.Context, promql string) ([]Sample, error) {
	var answer struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := p.get(ctx, "/api/v1/query", url.Values{"query": {promql}}, &answer); err != nil {
		return nil, err
	}
	samples := make([]Sample, len(answer.Result))
	for i, r := range answer.Result {
		value, _ := r.Value[1].(string) // absent of a native histogram
		samples[i] = Sample{r.Metric, value}
	}
	return samples, nil
}

// Series returns the label sets, the name among them, of every series that the
// selector matched in the last hour.
func (p *Prometheus) Series(ctx context.Context, selector string) ([]map[string]string, error) {
	var series []map[string]string
	err := p.get(ctx, "/api/v1/series", url.Values{"match[]": {selector}}, &series)
	return series, err
}

// Await evaluates PromQL until the result satisfies the condition and returns
// it. The test fails with the last result if it does not within a minute.
func (p *Prometheus) Await(tb testing.TB, promql string, until func([]Sample) bool) []Sample {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		samples, err := p.Query(ctx, promql)
		if err == nil && until(samples) {
			return samples
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("apps: the result of %s is still %v (%v)", promql, samples, err)
		}
	}
}

// AwaitScraped waits until every target has been scraped with success.
func (p *Prometheus) AwaitScraped(tb testing.TB) {
	tb.Helper()
	p.Await(tb, "up == 1", func(s []Sample) bool { return len(s) == p.targets })
}

// get asks the API and decodes the data of its answer.
func (p *Prometheus) get(ctx context.Context, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("apps: decode the answer of Prometheus, %s: %w", res.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("apps: Prometheus refuses %v: %s", query, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}
