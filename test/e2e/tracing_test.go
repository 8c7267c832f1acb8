package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
	"github.com/hallmark-mesh/hallmark/test/otlp"
)

// TestTracing: of two processes, one is configured by OpenTelemetry's variables
// and the other by a file, and nothing is sent before they end.
func TestTracing(t *testing.T) {
	received := otlp.StartGRPC(t)
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": received.URL, "OTEL_TRACES_SAMPLER": "parentbased_always_on", "OTEL_BSP_SCHEDULE_DELAY": "3600000",
	} {
		t.Setenv(name, value)
	}
	overHTTP := otlp.StartHTTP(t)
	secret := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(secret, []byte("x-api-key: swordfish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	issuer := build.Issuer(t, twoWorkloads)
	p := e2e.RunPair(t, e2e.Ways{
		Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{shop(t)},
		InboundConfig: fmt.Sprintf(`
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: proxy}
spec:
  tracing:
    endpoint: %s
    protocol: HTTP
    headersFile: %s
    ratio: 0
    batch: {delay: 1h}
`, overHTTP.URL, secret),
	})
	newCaller(t, p.Addr(0)).get("/fail")
	for _, s := range []*e2e.Sidecar{p.Outbound, p.Inbound} {
		e2e.Eventually(t, "the request is recorded", func() error {
			if s.Sum(t, "istio_requests_total") != 1 {
				return fmt.Errorf("%v requests", s.Sum(t, "istio_requests_total"))
			}
			return nil
		})
		if n := s.Sum(t, "hallmark_trace_spans_exported_total"); n != 0 {
			t.Errorf("%v spans were sent before the process ended", n)
		}
		s.Signal(syscall.SIGTERM)
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	out, in := received.Await(1, nil)[0], overHTTP.Await(1, nil)[0]
	if in.TraceID != out.TraceID || in.ParentID != out.SpanID || out.Attributes["http.response.status_code"] != "500" || in.Status != "STATUS_CODE_ERROR" {
		t.Errorf("got %+v and %+v", out, in)
	}
	if got := overHTTP.Headers()[0]["X-Api-Key"]; got != "swordfish" {
		t.Errorf("the collector was shown %q", got)
	}
	for _, s := range []*e2e.Sidecar{p.Outbound, p.Inbound} {
		output := s.Output()
		if !strings.Contains(output, `"trace_id":"`+out.TraceID+`"`) || strings.Contains(output, "swordfish") {
			t.Errorf("no trace in the access log, or a secret in the log: %s", output)
		}
	}
}
