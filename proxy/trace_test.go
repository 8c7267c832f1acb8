package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics/trace"
	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/otlp"
)

// The trace that the client's application has begun.
const (
	appTrace = "0af7651916cd43dd8448eb211c80319c"
	appSpan  = "b7ad6b7169203331"
)

// traced turns tracing on at both ends of a pair.
func traced(t *testing.T, p *pair, s trace.Settings) {
	t.Helper()
	s.Delay = time.Millisecond
	for _, w := range []*workload{p.client, p.server} {
		if err := w.trace.Apply(s); err != nil {
			t.Fatal(err)
		}
	}
}

// seen are the heads that an application has been sent.
type seen struct {
	mu    sync.Mutex
	heads []http.Header
}

func (s *seen) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heads = append(s.heads, r.Header)
}

func (s *seen) last() http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heads[len(s.heads)-1]
}

// ends returns the client's and the server's span.
func ends(r *otlp.Receiver) (client, server otlp.Span) {
	client = r.Await(1, func(s otlp.Span) bool { return s.Kind == "SPAN_KIND_CLIENT" })[0]
	server = r.Await(1, func(s otlp.Span) bool { return s.Kind == "SPAN_KIND_SERVER" })[0]
	return client, server
}

// TestTreeOfSpans: application, outbound, inbound, application, in each form of
// context and over both protocols of OTLP.
func TestTreeOfSpans(t *testing.T) {
	for name, test := range map[string]struct {
		propagators []trace.Propagator
		header      []string
		protocol    trace.Protocol
		version     int
		session     string
		told        func(http.Header) (trace, span string)
	}{
		"w3c": {
			nil,
			[]string{"Traceparent", "00-" + appTrace + "-" + appSpan + "-01", "Tracestate", "a=b", "Baggage", "k=v"},
			trace.GRPC, 1, "Auto",
			func(h http.Header) (string, string) {
				if h.Get("Tracestate") != "a=b" || h.Get("Baggage") != "k=v" {
					t.Errorf("the application is told %v", h)
				}
				return cut(h.Get("Traceparent"), 1, 2)
			},
		},
		"b3": {
			[]trace.Propagator{trace.B3},
			[]string{"B3", appTrace + "-" + appSpan + "-1"},
			trace.HTTP, 2, "Auto",
			func(h http.Header) (string, string) { return cut(h.Get("B3"), 0, 1) },
		},
		"b3multi": {
			[]trace.Propagator{trace.B3Multi},
			[]string{"X-B3-Traceid", appTrace, "X-B3-Spanid", appSpan, "X-B3-Sampled", "1"},
			trace.GRPC, 1, "Auto",
			func(h http.Header) (string, string) { return h.Get("X-B3-Traceid"), h.Get("X-B3-Spanid") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			receiver := otlp.StartGRPC
			if test.protocol == trace.HTTP {
				receiver = otlp.StartHTTP
			}
			r, app := receiver(t), new(seen)
			p := newPair(t, web(t, app.ServeHTTP), []string{"  session: " + test.session}, nil)
			traced(t, p, trace.Settings{Endpoint: r.URL, Protocol: test.protocol, Propagators: test.propagators})
			if status, _ := get(t, browser(t, test.version), "http://"+p.address+"/a?secret=1", test.header...); status != http.StatusOK {
				t.Fatalf("got %d", status)
			}
			client, server := ends(r)
			told, parent := test.told(app.last())
			if client.TraceID != appTrace || server.TraceID != appTrace || told != appTrace {
				t.Errorf("traces %s, %s, %s", client.TraceID, server.TraceID, told)
			}
			if client.ParentID != appSpan || server.ParentID != client.SpanID || parent != server.SpanID {
				t.Errorf("%s is the parent of %s, %s of %s, and the application is told %s", client.ParentID, client.SpanID, server.ParentID, server.SpanID, parent)
			}
			for _, s := range []otlp.Span{client, server} {
				for name, want := range map[string]string{
					"hallmark.source.spiffe_id":                        "spiffe://example.org/ns/shop/sa/cart",
					"hallmark.source.verified.k8s.namespace.name":      "shop",
					"hallmark.destination.verified.k8s.namespace.name": "data",
					"url.path": "/a", "url.query": "", "http.response.status_code": "200",
				} {
					if name == "hallmark.source.spiffe_id" && s.Attributes["hallmark.destination.spiffe_id"] != "spiffe://example.org/ns/data/sa/db" {
						t.Errorf("%s: to %v", s.Name, s.Attributes)
					}
					if got := s.Attributes[name]; got != want {
						t.Errorf("%s %s: %s is %q, want %q", s.Kind, s.Name, name, got, want)
					}
				}
				if strings.Contains(fmt.Sprint(s), "secret") {
					t.Errorf("the query is recorded: %+v", s)
				}
			}
			if client.Resource["service.name"] != "cart" || server.Resource["service.name"] != "db" {
				t.Errorf("of %v and %v", client.Resource, server.Resource)
			}
		})
	}
}

// cut returns two of the parts between hyphens.
func cut(text string, i, j int) (string, string) {
	parts := append(strings.Split(text, "-"), "", "", "")
	return parts[i], parts[j]
}

// TestSpansOfGRPC have its names and status, in one trace that begins here.
func TestSpansOfGRPC(t *testing.T) {
	r, app := otlp.StartGRPC(t), apps.StartGRPC(t)
	p := newPair(t, app.Addr, nil, nil)
	traced(t, p, trace.Settings{Endpoint: r.URL, Ratio: 1})
	app.Via(p.address).Echo(t, "hello")
	client, server := ends(r)
	if client.ParentID != "" || server.ParentID != client.SpanID || server.TraceID != client.TraceID {
		t.Errorf("got %+v and %+v", client, server)
	}
	for _, s := range []otlp.Span{client, server} {
		if s.Name != "grpc.testing.TestService/UnaryCall" || s.Attributes["rpc.system.name"] != "grpc" || s.Attributes["rpc.response.status_code"] != "OK" {
			t.Errorf("got %+v", s)
		}
	}
}

// TestSpansOfAttempts: the application loses a request on a connection that was
// kept, and gets it again.
func TestSpansOfAttempts(t *testing.T) {
	var mu sync.Mutex
	var parents []string
	app := serve(t, func(c net.Conn) {
		b := bufio.NewReader(c)
		for n := 0; ; n++ {
			req, err := http.ReadRequest(b)
			if err != nil {
				return
			}
			_, parent := cut(req.Header.Get("Traceparent"), 1, 2)
			mu.Lock()
			parents = append(parents, parent)
			mu.Unlock()
			if n > 0 {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
		}
	})
	r := otlp.StartGRPC(t)
	p := newPair(t, app, nil, nil)
	client := browser(t, 1)
	get(t, client, "http://"+p.address+"/")
	traced(t, p, trace.Settings{Endpoint: r.URL})
	if status, _ := get(t, client, "http://"+p.address+"/", "Traceparent", "00-"+appTrace+"-"+appSpan+"-01"); status != http.StatusOK {
		t.Fatalf("got %d", status)
	}
	server := r.Await(1, func(s otlp.Span) bool { return s.Kind == "SPAN_KIND_SERVER" })[0]
	again := r.Await(1, func(s otlp.Span) bool { return s.Attributes["http.request.resend_count"] == "1" })[0]
	out := r.Await(1, func(s otlp.Span) bool { return s.ParentID == appSpan })[0]
	if server.ParentID != out.SpanID || again.ParentID != server.SpanID || len(server.Events) != 1 {
		t.Errorf("got %+v, %+v, %+v", out, server, again)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(parents, " "); got != " "+server.SpanID+" "+again.SpanID {
		t.Errorf("the application was told %q, want %s and %s", got, server.SpanID, again.SpanID)
	}
}

// TestSpansOfConnections: the two ends of a database's connection are one trace,
// however it crosses the network, and each stream of a session has its own.
func TestSpansOfConnections(t *testing.T) {
	redis := apps.StartRedis(t)
	for _, kind := range []string{"Auto", "Raw", "Mux"} {
		t.Run(kind, func(t *testing.T) {
			r := otlp.StartGRPC(t)
			p := newPair(t, redis.Addr, []string{"  session: " + kind}, nil)
			traced(t, p, trace.Settings{Endpoint: r.URL, Ratio: 1})
			through := redis.Via(p.address)
			for range 2 {
				if got := through.Do(t, "PING"); got != "PONG" {
					t.Fatalf("got %q", got)
				}
			}
			parents := make(map[string]otlp.Span)
			for _, s := range r.Await(2, func(s otlp.Span) bool { return s.Kind == "SPAN_KIND_CLIENT" }) {
				parents[s.SpanID] = s
			}
			traces := make(map[string]bool)
			for _, s := range r.Await(2, func(s otlp.Span) bool { return s.Kind == "SPAN_KIND_SERVER" }) {
				parent := parents[s.ParentID]
				if parent.TraceID != s.TraceID || parent.ParentID != "" || s.Name != "tcp redis" || parent.Name != "tcp redis" {
					t.Errorf("got %+v below %+v", s, parent)
				}
				if s.Attributes["hallmark.source.spiffe_id"] != "spiffe://example.org/ns/shop/sa/cart" || s.Attributes["hallmark.bytes.sent"] == "0" {
					t.Errorf("got %v", s.Attributes)
				}
				traces[s.TraceID] = true
			}
			if len(traces) != 2 {
				t.Errorf("two connections have %d traces", len(traces))
			}
			for _, e := range p.server.events.all() {
				if !traces[e.Trace.String()[3:35]] {
					t.Errorf("the access log has %s", e.Trace)
				}
			}
		})
	}
}

// TestSpansOfPostgres: a server that speaks TLS of its own, and is opened to on
// speculation.
func TestSpansOfPostgres(t *testing.T) {
	r, db := otlp.StartHTTP(t), apps.StartPostgres(t, apps.PostgresOptions{})
	p := newPair(t, db.Addr, nil, nil)
	traced(t, p, trace.Settings{Endpoint: r.URL, Protocol: trace.HTTP, Ratio: 1})
	if got := db.Via(p.address).Query(t, "select 1"); got != "1" {
		t.Fatalf("got %q", got)
	}
	client, server := ends(r)
	if server.ParentID != client.SpanID || server.TraceID != client.TraceID || client.ParentID != "" || server.Name != "tcp postgres" {
		t.Errorf("got %+v below %+v", server, client)
	}
}

// TestUntouched: when tracing is off, and when a request is not sampled, what the
// client says arrives as it was said.
func TestUntouched(t *testing.T) {
	app := new(seen)
	p := newPair(t, web(t, app.ServeHTTP), nil, nil)
	header := []string{
		"Traceparent", "00-" + appTrace + "-" + appSpan + "-00", "Tracestate", "b=1,  a=2,,", "Baggage", "k = v ; p, l=%20", "B3", "nonsense",
		"X-B3-Traceid", "1", "X-B3-Spanid", "2", "X-B3-Sampled", "maybe", "X-B3-Flags", "9", "X-B3-Parentspanid", "?",
	}
	r := otlp.StartGRPC(t)
	for _, when := range []string{"off", "unsampled"} {
		if when == "unsampled" {
			traced(t, p, trace.Settings{Endpoint: r.URL, Ratio: 1, Propagators: []trace.Propagator{trace.TraceContext, trace.B3, trace.B3Multi}})
		}
		for version := 1; version <= 2; version++ {
			get(t, browser(t, version), "http://"+p.address+"/", header...)
			got := app.last()
			for i := 0; i < len(header); i += 2 {
				if values := got[header[i]]; len(values) != 1 || values[0] != header[i+1] {
					t.Errorf("%s: %s is %q, was %q", when, header[i], values, header[i+1])
				}
			}
		}
	}
	get(t, browser(t, 1), "http://"+p.address+"/", "Traceparent", "nonsense", "Tracestate", strings.Repeat("\xff", 600))
	r.Await(2, nil) // of the last one alone, in which a trace begins
	if n := len(r.Spans()); n != 2 {
		t.Errorf("%d spans", n)
	}
}

// TestStalledCollector holds no request up, and what it does not take is counted.
func TestStalledCollector(t *testing.T) {
	r, app := otlp.StartGRPC(t), new(seen)
	r.Stall()
	p := newPair(t, web(t, app.ServeHTTP), nil, nil)
	traced(t, p, trace.Settings{Endpoint: r.URL, Ratio: 1, Queue: 4, Batch: 2})
	client := browser(t, 1)
	for range 50 { // they come through, or the test does not end
		if status, _ := get(t, client, "http://"+p.address+"/"); status != http.StatusOK {
			t.Fatalf("got %d", status)
		}
	}
	for _, w := range []*workload{p.client, p.server} {
		eventually(t, "spans are dropped, and counted", func() bool {
			return w.metric(`hallmark_trace_spans_dropped_total\{reason="queue_full"\}`) >= 40
		})
	}
	r.Resume()
	for _, w := range []*workload{p.client, p.server} {
		eventually(t, "what has waited arrives", func() bool { return w.metric(`hallmark_trace_spans_exported_total`) > 0 })
	}
}
