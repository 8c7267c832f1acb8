package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/e2e"
	"github.com/hallmark-mesh/hallmark/test/otlp"
)

// The trace that the client's application has begun.
const (
	appTrace = "0af7651916cd43dd8448eb211c80319c"
	appSpan  = "b7ad6b7169203331"
)

// tracingTo is a sidecar's configuration.
func tracingTo(endpoint, protocol, propagators string) string {
	return fmt.Sprintf(`
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: proxy}
spec:
  tracing:
    endpoint: %s
    protocol: %s
    propagators: [%s]
    ratio: 1
    batch: {delay: 10ms}
`, endpoint, protocol, propagators)
}

// collected returns the client's and the server's span of what the Collector has
// passed on, and fails the test if more than those came.
func collected(t *testing.T, r *otlp.Receiver) (out, in otlp.Span) {
	t.Helper()
	out = r.Await(1, func(s otlp.Span) bool { return s.Kind == "SPAN_KIND_CLIENT" })[0]
	in = r.Await(1, func(s otlp.Span) bool { return s.Kind == "SPAN_KIND_SERVER" })[0]
	if all := r.Spans(); len(all) != 2 {
		t.Errorf("%d spans came: %+v", len(all), all)
	}
	for _, h := range r.Headers() {
		if !strings.HasPrefix(h["User-Agent"], "OpenTelemetry Collector") {
			t.Errorf("spans came from %q, not from the Collector", h["User-Agent"])
		}
	}
	return out, in
}

// TestCollector has a real OpenTelemetry Collector take what two processes send,
// one over gRPC and one over HTTP, and looks at what it passes on: application,
// outbound, inbound, application is one trace, in each form of context.
func TestCollector(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	for name, test := range map[string]struct {
		header, value string
		told          func(trace, span string) string
	}{
		"tracecontext": {"Traceparent", "00-" + appTrace + "-" + appSpan + "-01", func(trace, span string) string { return "00-" + trace + "-" + span + "-01" }},
		"b3":           {"B3", appTrace + "-" + appSpan + "-1", func(trace, span string) string { return trace + "-" + span + "-1" }},
	} {
		t.Run(name, func(t *testing.T) {
			received := otlp.StartHTTP(t)
			collector := apps.StartCollector(t, received.URL)
			told := make(chan string, 1)
			app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get(test.header) }))
			t.Cleanup(app.Close)
			p := e2e.RunPair(t, e2e.Ways{
				Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{app.Listener.Addr().String()},
				OutboundConfig: tracingTo(collector.GRPC, "GRPC", name), InboundConfig: tracingTo(collector.HTTP, "HTTP", name),
			})
			ask(t, "http://"+p.Addr(0)+"/basket", test.header, test.value)
			out, in := collected(t, received)
			if out.TraceID != appTrace || out.ParentID != appSpan || in.TraceID != appTrace || in.ParentID != out.SpanID {
				t.Errorf("below %s of %s: %+v and %+v", appSpan, appTrace, out, in)
			}
			if got, want := <-told, test.told(appTrace, in.SpanID); got != want {
				t.Errorf("the application is told %q, want %q", got, want)
			}
			for _, s := range []otlp.Span{out, in} {
				if s.Attributes["url.path"] != "/basket" || s.Attributes["http.response.status_code"] != "200" || s.Scope != "github.com/hallmark-mesh/hallmark" {
					t.Errorf("got %+v", s)
				}
				assertBetween(t, s)
			}
		})
	}
}

// TestCollectorOfConnections: the two ends of a database's connection.
func TestCollectorOfConnections(t *testing.T) {
	received := otlp.StartHTTP(t)
	collector := apps.StartCollector(t, received.URL)
	issuer, redis := build.Issuer(t, twoWorkloads), apps.StartRedis(t)
	p := e2e.RunPair(t, e2e.Ways{
		Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{redis.Addr},
		OutboundConfig: tracingTo(collector.HTTP, "HTTP", "tracecontext"), InboundConfig: tracingTo(collector.GRPC, "GRPC", "tracecontext"),
	})
	if got := redis.Via(p.Addr(0)).Do(t, "PING"); got != "PONG" {
		t.Fatalf("got %q", got)
	}
	out, in := collected(t, received)
	if out.ParentID != "" || in.ParentID != out.SpanID || in.TraceID != out.TraceID {
		t.Errorf("got %+v below %+v", in, out)
	}
	for _, s := range []otlp.Span{out, in} {
		if s.Name != "tcp redis" || s.Attributes["hallmark.bytes.sent"] == "0" {
			t.Errorf("got %+v", s)
		}
		assertBetween(t, s)
	}
}

// assertBetween fails the test unless the span says who called whom, and whose
// it is.
func assertBetween(t *testing.T, s otlp.Span) {
	t.Helper()
	from, to := "spiffe://"+e2e.TrustDomain+client, "spiffe://"+e2e.TrustDomain+server
	if s.Attributes["hallmark.source.spiffe_id"] != from || s.Attributes["hallmark.destination.spiffe_id"] != to {
		t.Errorf("%s of %v", s.Kind, s.Attributes)
	}
	own := map[string]string{"SPAN_KIND_CLIENT": from, "SPAN_KIND_SERVER": to}[s.Kind]
	if s.Resource["hallmark.spiffe_id"] != own {
		t.Errorf("%s of %v", s.Kind, s.Resource)
	}
}

// ask sends a request with one more field, and fails the test unless it is
// answered well.
func ask(t *testing.T, url, field, value string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(field, value)
	caller := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := caller.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, res.Status)
	}
}
