package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// prometheus3 is a running Prometheus.
type prometheus3 struct{ url string }

// startPrometheus runs a real Prometheus with the scrape configuration of
// deploy/observability, its one target replaced and its interval shortened.
func startPrometheus(t *testing.T, targets ...string) prometheus3 {
	t.Helper()
	text, err := os.ReadFile("../deploy/observability/prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	at := func(v any, key string) map[string]any { return v.(map[string]any)[key].(map[string]any) }
	at(config, "global")["scrape_interval"] = "200ms"
	job := config["scrape_configs"].([]any)[0].(map[string]any)
	job["static_configs"].([]any)[0].(map[string]any)["targets"] = targets
	changed, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	address := components.FreeAddr(t)
	p := prometheus3{"http://" + address}
	components.Start(t, components.Process{
		Path: components.Path(t, components.Prometheus),
		Args: []string{"--config.file=" + path, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address},
		Dir:  dir, Ready: components.Responds(p.url + "/-/ready"),
	})
	return p
}

// results is what Prometheus answers to a query.
type results struct {
	Data struct {
		Result []struct {
			Metric    map[string]string
			Value     []any
			Histogram []any
		}
	}
}

// patience is how long a result may take until there is none.
const patience = 30 * time.Second

// query asks until there is a result.
func (p prometheus3) query(t *testing.T, promql string) results {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		var a results
		response, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(promql)) //nolint:forbidigo // a test asks a server of its own
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(response.Body).Decode(&a)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", promql, response.Status, err)
		}
		if len(a.Data.Result) > 0 {
			return a
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no result: %s", promql)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestPrometheus has a real one scrape everything, in protobuf with native
// histograms and classic ones, and asks who called whom.
func TestPrometheus(t *testing.T) {
	f := everything(t)
	for range 50 {
		f.Handshake(Client, 7*time.Millisecond, web(t), nil)
	}
	held := f.OpenConnection(inbound(web(t, tlsctx.Attribute{Name: "k8s.deployment.name", Value: "asserted", Provenance: tlsctx.Asserted})))
	held.Sent.Add(1 << 40)
	defer held.Close(Outcome{})
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	p := startPrometheus(t, server.Listener.Addr().String())
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()

	a := p.query(t, `sum by (source_workload, source_workload_namespace, destination_workload) (istio_tcp_connections_opened_total{reporter="destination"}) == 2`)
	if n := len(a.Data.Result); n != 1 {
		t.Fatalf("%d results", n)
	}
	want(t, a.Data.Result[0].Metric, "source_workload", "web", "source_workload_namespace", "shop", "destination_workload", "postgres")

	a = p.query(t, `sum(istio_tcp_received_bytes_total)`)
	if got := fmt.Sprint(a.Data.Result[0].Value[1]); got != fmt.Sprint(1<<40) {
		t.Errorf("bytes of an open connection: %s", got)
	}
	// A native histogram, and a classic one of the same name.
	if a = p.query(t, `hallmark_handshake_duration_seconds{side="client"}`); a.Data.Result[0].Histogram == nil {
		t.Errorf("no native histogram: %+v", a.Data.Result)
	}
	a = p.query(t, `hallmark_handshake_duration_seconds_bucket{side="client",le="0.01"} == 50`)
	if len(a.Data.Result) != 1 {
		t.Errorf("classic bucket: %+v", a.Data.Result)
	}
	a = p.query(t, `histogram_quantile(0.5, hallmark_handshake_duration_seconds{side="client"})`)
	var median float64
	if _, err := fmt.Sscan(fmt.Sprint(a.Data.Result[0].Value[1]), &median); err != nil || median < 0.0065 || median > 0.0075 {
		t.Errorf("median %v of 50 handshakes of 7 ms", median)
	}
	p.query(t, `up{job="hallmark"} == 1`)
}

// TestFormats answers in whatever a scraper asks for.
func TestFormats(t *testing.T) {
	f := everything(t)
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	for accept, want := range map[string]string{
		"":                             "text/plain",
		"application/openmetrics-text": "application/openmetrics-text",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited": "application/vnd.google.protobuf",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", accept)
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("Accept %q: %d %s", accept, response.StatusCode, got)
		}
	}
}
