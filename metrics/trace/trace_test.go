package trace

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/test/otlp"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	yes     = "00-" + traceID + "-" + spanID + "-01"
	no      = "00-" + traceID + "-" + spanID + "-00"
)

// TestReceived: over both protocols, what a span says.
func TestReceived(t *testing.T) {
	for _, protocol := range []Protocol{GRPC, HTTP} {
		t.Run(string(protocol), func(t *testing.T) {
			receiver := otlp.StartGRPC
			if protocol == HTTP {
				receiver = otlp.StartHTTP
			}
			r := receiver(t)
			file := filepath.Join(t.TempDir(), "headers")
			if err := os.WriteFile(file, []byte("# ours\nX-Api-Key: s3cret\n\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			tr := New(Config{Version: "v1", Identity: identity.Static{Current: snapshot(t)}})
			defer tr.Close(t.Context())
			if err := tr.Apply(Settings{Endpoint: r.URL, Protocol: protocol, HeadersFile: file, Delay: time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			h := lines{"traceparent: " + yes, "tracestate: a=b", "tracestate: c=d", "user-agent: test"}
			e := event(t)
			trace, request := tr.Request(&h, Head{Kind: Server, Scheme: "http", Start: e.Start})
			if request == nil || !trace.Sampled() {
				t.Fatal("a sampled request has no span")
			}
			request.Ended(e)
			s := r.Await(1, nil)[0]
			for name, want := range map[string]string{
				"http.request.method": "GET", "url.path": "/a", "url.scheme": "http", "url.query": "", "url.full": "", "server.address": "app.example",
				"server.port": "8080", "http.response.status_code": "200", "network.protocol.version": "1.1", "error.type": "",
				"user_agent.original": "test", "hallmark.source.spiffe_id": "spiffe://example.org/ns/shop/sa/web",
				"hallmark.source.verified.k8s.namespace.name": "shop", "hallmark.source.asserted.service.name": "mine",
				"hallmark.security": "mutual_tls", "hallmark.session": "h2", "hallmark.target": "app", "hallmark.outcome": "ok",
			} {
				if got := s.Attributes[name]; got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if s.Name != "GET" || s.Kind != "SPAN_KIND_SERVER" || s.TraceID != traceID || s.ParentID != spanID || s.Status != "STATUS_CODE_UNSET" {
				t.Errorf("got %+v", s)
			}
			if s.Resource["service.name"] != "web" || s.Resource["k8s.pod.name"] != "web-1" || s.Scope != scope {
				t.Errorf("of %v", s.Resource)
			}
			if want := "00-" + traceID + "-" + s.SpanID + "-01"; h.Get(traceparent) != want || trace.String() != want {
				t.Errorf("passed on %q, told %s, want %q", h, trace, want)
			}
			if all := h.values(tracestate); !slices.Equal(all, []string{"a=b", "c=d"}) || s.TraceState != "a=b,c=d" {
				t.Errorf("tracestate %q, %q", all, s.TraceState)
			}
			headers := r.Headers()[0]
			if headers["x-api-key"] != "s3cret" && headers["X-Api-Key"] != "s3cret" {
				t.Errorf("headers %v", headers)
			}
			tr.Close(t.Context())
			if c := tr.Counts(); c != (metrics.SpanCounts{Exported: 1}) {
				t.Errorf("counted %+v", c)
			}
		})
	}
}

// TestHeaders: what is read, what is decided, and what the fields are afterwards.
func TestHeaders(t *testing.T) {
	w3c, single, multi := []Propagator{TraceContext, Baggage}, []Propagator{B3}, []Propagator{B3Multi}
	both := []Propagator{TraceContext, B3, B3Multi}
	const ours, begun = "<ours>", "<begun>" // a trace id of another trace
	for _, test := range []struct {
		name        string
		propagators []Propagator
		ratio       float64
		in, out     lines
		sampled     bool
	}{
		{"sampled", w3c, 0, lines{"a: b", "traceparent: " + yes, "baggage: k=v;p"}, lines{"a: b", "traceparent: 00-" + traceID + "-" + ours + "-01", "baggage: k=v;p"}, true},
		{"random", w3c, 0, lines{"traceparent: 00-" + traceID + "-" + spanID + "-03"}, lines{"traceparent: 00-" + traceID + "-" + ours + "-03"}, true},
		{"unsampled", w3c, 1, lines{"traceparent: " + no, "tracestate: a=b"}, lines{"traceparent: " + no, "tracestate: a=b"}, false},
		{"later version", w3c, 0, lines{"traceparent: cc" + yes[2:] + "-what"}, lines{"traceparent: 00-" + traceID + "-" + ours + "-01"}, true},
		{"unsampled later version", w3c, 1, lines{"traceparent: cc" + no[2:] + "-what"}, lines{"traceparent: cc" + no[2:] + "-what"}, false},
		{"none", w3c, 1, lines{"a: b"}, lines{"a: b", "traceparent: 00-" + begun + "-" + ours + "-01"}, true},
		{"none, not taken", w3c, 0, lines{"a: b"}, lines{"a: b", "traceparent: 00-" + begun + "-" + ours + "-00"}, false},
		{"malformed", w3c, 1, lines{"traceparent: 00-xyz", "tracestate: a=b"}, lines{"traceparent: 00-" + begun + "-" + ours + "-01"}, true},
		{"malformed, not taken", w3c, 0, lines{"traceparent: 00-xyz", "tracestate: a=b"}, lines{"traceparent: 00-" + begun + "-" + ours + "-00"}, false},
		{"zero", w3c, 1, lines{"traceparent: 00-" + strings.Repeat("0", 32) + "-" + spanID + "-01"}, lines{"traceparent: 00-" + begun + "-" + ours + "-01"}, true},
		{"unknown flags", w3c, 1, lines{"traceparent: " + no[:53] + "f0"}, lines{"traceparent: 00-" + begun + "-" + ours + "-01"}, true},
		{"twice", w3c, 1, lines{"traceparent: " + yes, "traceparent: " + no}, lines{"traceparent: 00-" + begun + "-" + ours + "-01"}, true},
		{"tracestate malformed", w3c, 0, lines{"traceparent: " + yes, "tracestate: =;,"}, lines{"traceparent: 00-" + traceID + "-" + ours + "-01", "tracestate: =;,"}, true},
		{"b3 is not ours to read", w3c, 0, lines{"traceparent: " + yes, "b3: 0"}, lines{"traceparent: 00-" + traceID + "-" + ours + "-01", "b3: 0"}, true},

		{"b3", single, 0, lines{"b3: " + traceID + "-" + spanID + "-1-" + spanID}, lines{"b3: " + traceID + "-" + ours + "-1"}, true},
		{"b3 short", single, 0, lines{"b3: " + traceID[16:] + "-" + spanID + "-1"}, lines{"b3: 0000000000000000" + traceID[16:] + "-" + ours + "-1"}, true},
		{"b3 debug", single, 0, lines{"b3: " + traceID + "-" + spanID + "-d"}, lines{"b3: " + traceID + "-" + ours + "-d"}, true},
		{"b3 unsampled", single, 1, lines{"b3: " + traceID + "-" + spanID + "-0"}, lines{"b3: " + traceID + "-" + spanID + "-0"}, false},
		{"b3 deny", single, 1, lines{"b3: 0"}, lines{"b3: 0"}, false},
		{"b3 accept", single, 0, lines{"b3: 1"}, lines{"b3: " + begun + "-" + ours + "-1"}, true},
		{"b3 deferred", single, 1, lines{"b3: " + traceID + "-" + spanID}, lines{"b3: " + traceID + "-" + ours + "-1"}, true},
		{"b3 deferred, not taken", single, 0, lines{"b3: " + traceID + "-" + spanID}, lines{"b3: " + traceID + "-" + spanID}, false},
		{"b3 malformed", single, 0, lines{"b3: " + spanID + "-zzzzzzzzzzzzzzzz-1"}, lines{"b3: 0"}, false},
		{"b3 out of many", single, 0, lines{"x-b3-traceid: " + traceID, "x-b3-spanid: " + spanID, "x-b3-sampled: 1", "x-b3-parentspanid: " + spanID}, lines{"b3: " + traceID + "-" + ours + "-1"}, true},

		{"b3multi", multi, 0, lines{"x-b3-traceid: " + traceID, "x-b3-spanid: " + spanID, "x-b3-sampled: 1", "x-b3-parentspanid: " + spanID}, lines{"x-b3-traceid: " + traceID, "x-b3-spanid: " + ours, "x-b3-sampled: 1"}, true},
		{"b3multi debug", multi, 0, lines{"x-b3-traceid: " + traceID, "x-b3-spanid: " + spanID, "x-b3-flags: 1"}, lines{"x-b3-traceid: " + traceID, "x-b3-spanid: " + ours, "x-b3-flags: 1"}, true},
		{"b3multi unsampled", multi, 1, lines{"x-b3-traceid: " + traceID, "x-b3-spanid: " + spanID, "x-b3-sampled: 0"}, lines{"x-b3-traceid: " + traceID, "x-b3-spanid: " + spanID, "x-b3-sampled: 0"}, false},
		{"b3multi deny", multi, 1, lines{"x-b3-sampled: 0"}, lines{"x-b3-sampled: 0"}, false},
		{"b3multi none, not taken", multi, 0, nil, lines{"x-b3-sampled: 0"}, false},

		{"first of two", both, 0, lines{"traceparent: " + yes, "b3: 0"}, lines{"traceparent: 00-" + traceID + "-" + ours + "-01", "b3: " + traceID + "-" + ours + "-1", "x-b3-traceid: " + traceID, "x-b3-spanid: " + ours, "x-b3-sampled: 1"}, true},
		{"first unsampled", both, 1, lines{"traceparent: " + no, "b3: 1"}, lines{"traceparent: " + no, "b3: 1"}, false},
		{"second", both, 0, lines{"traceparent: nonsense", "tracestate: a=b", "b3: " + traceID + "-" + spanID + "-1"}, lines{"traceparent: 00-" + traceID + "-" + ours + "-01", "b3: " + traceID + "-" + ours + "-1", "x-b3-traceid: " + traceID, "x-b3-spanid: " + ours, "x-b3-sampled: 1"}, true},
		{"none at all", []Propagator{}, 0, lines{"traceparent: " + yes, "b3: 1"}, lines{"traceparent: " + yes, "b3: 1"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := tracer(t, Settings{Endpoint: nowhere, Propagators: test.propagators, Ratio: test.ratio})
			h := slices.Clone(test.in)
			trace, request := tr.Request(&h, Head{Kind: Client, Scheme: "http", Start: time.Now()})
			if (request != nil) != test.sampled {
				t.Fatalf("sampled: %t", request != nil)
			}
			text := trace.String()
			if text == "" {
				text = strings.Repeat("?", 55)
			}
			for i := range h { // ours in place of what cannot be foretold
				h[i] = strings.ReplaceAll(h[i], text[36:52], ours)
				if text[3:35] != traceID && text[3:35] != strings.Repeat("0", 16)+traceID[16:] {
					h[i] = strings.ReplaceAll(h[i], text[3:35], begun)
				}
			}
			want := slices.Clone(test.out)
			for i := range want {
				if !test.sampled {
					want[i] = strings.ReplaceAll(want[i], spanID, ours) // untouched: still theirs
				}
			}
			if text[36:52] != spanID && !test.sampled {
				want = slices.Clone(test.out)
			}
			slices.Sort(h)
			slices.Sort(want)
			if !slices.Equal(h, want) {
				t.Errorf("got\n%q, want\n%q", h, want)
			}
		})
	}
}

// TestOff: nothing is touched, and a trace that is there is known all the same.
func TestOff(t *testing.T) {
	for _, tr := range []*Tracer{nil, New(Config{})} {
		for _, in := range []lines{{"traceparent: " + yes}, {"traceparent: x", "b3: y"}, nil} {
			h := slices.Clone(in)
			trace, request := tr.Request(&h, Head{})
			if request != nil || !slices.Equal(h, in) || trace.IsZero() != (h.Get(traceparent) != yes) {
				t.Errorf("%q became %q, trace %s", in, h, trace)
			}
		}
		parent, _ := tlsctx.ParseTraceparent(yes)
		if trace, c := tr.Connection(Server, parent, time.Now()); c != nil || trace != parent {
			t.Errorf("got %s", trace)
		}
	}
}

// TestRatio: about as many are taken as the ratio says, and what goes by the same
// ids decides alike.
func TestRatio(t *testing.T) {
	const n = 20_000
	for _, ratio := range []float64{0, 0.01, 0.5, 1} {
		tr := tracer(t, Settings{Endpoint: nowhere, Ratio: ratio, Queue: 1})
		st, taken := tr.state.Load(), 0
		for range n {
			if _, ok := st.begin(); ok {
				taken++
			}
		}
		if sigma := math.Sqrt(n * ratio * (1 - ratio)); math.Abs(float64(taken)-n*ratio) > 6*sigma {
			t.Errorf("%d of %d at %v", taken, n, ratio)
		}
	}
}

// TestConnections: parent and child, and none where the parent is none.
func TestConnections(t *testing.T) {
	r := otlp.StartGRPC(t)
	tr := tracer(t, Settings{Endpoint: r.URL, Ratio: 1, Delay: time.Millisecond})
	start := time.Now()
	out, client := tr.Connection(Client, tlsctx.Traceparent{}, start)
	in, server := tr.Connection(Server, out, start)
	e := &metrics.Event{
		ConnectionInfo: metrics.ConnectionInfo{Reporter: metrics.Destination, Protocol: tlsctx.PostgreSQL, Start: start}, Sent: 3, Received: 5,
		Outcome: metrics.Outcome{Reason: "reset"},
	}
	server.Ended(e)
	client.Ended(e)
	spans := r.Await(2, nil)
	if spans[0].ParentID != spans[1].SpanID || spans[1].ParentID != "" || spans[0].TraceID != spans[1].TraceID || spans[0].Kind != "SPAN_KIND_SERVER" {
		t.Errorf("got %+v", spans)
	}
	if out.String()[36:52] != spans[1].SpanID || in.String()[36:52] != spans[0].SpanID {
		t.Errorf("told %s and %s", out, in)
	}
	if s := spans[0]; s.Name != "tcp postgres" || s.Attributes["hallmark.bytes.received"] != "5" || s.Attributes["error.type"] != "reset" || s.Status != "STATUS_CODE_ERROR" {
		t.Errorf("got %+v", s)
	}
	parent, _ := tlsctx.ParseTraceparent(no)
	if trace, c := tr.Connection(Server, parent, start); c != nil || trace != parent {
		t.Errorf("an unsampled one became %s", trace)
	}
}

// TestFailures: what is an error, at which end.
func TestFailures(t *testing.T) {
	for _, test := range []struct {
		kind   Kind
		change func(*metrics.RequestEvent)
		failed string
		name   string
	}{
		{Server, func(e *metrics.RequestEvent) { e.Status = 404 }, "", "GET"},
		{Client, func(e *metrics.RequestEvent) { e.Status = 404 }, "404", "GET"},
		{Server, func(e *metrics.RequestEvent) { e.Status = 503 }, "503", "GET"},
		{Server, func(e *metrics.RequestEvent) { e.Outcome.Reason = "denied"; e.Status = 403 }, "denied", "GET"},
		{Server, func(e *metrics.RequestEvent) { e.Method = "BREW" }, "", "HTTP"},
		{Client, func(e *metrics.RequestEvent) { e.IsGRPC, e.GRPC, e.Path = true, 5, "/shop.Cart/Get" }, "NOT_FOUND", "shop.Cart/Get"},
		{Server, func(e *metrics.RequestEvent) { e.IsGRPC, e.GRPC, e.Path = true, 5, "/shop.Cart/Get" }, "", "shop.Cart/Get"},
		{Server, func(e *metrics.RequestEvent) { e.IsGRPC, e.GRPC, e.Path = true, 14, "/x/\xffy" }, "UNAVAILABLE", "GET"},
		{Server, func(e *metrics.RequestEvent) { e.IsGRPC, e.GRPC, e.Path = true, 99, "/" }, "99", "GET"},
	} {
		e := event(t)
		test.change(e)
		r := &Request{state: newState(Settings{}.withDefaults()), head: Head{Kind: test.kind, Scheme: "http"}}
		if d := describe(r, e); d.failed != test.failed || d.name != test.name {
			t.Errorf("%+v at %d: failed %q, name %q", e.Request, test.kind, d.failed, d.name)
		}
	}
}

// TestQueries are recorded if that is wanted, without what looks like a
// credential.
func TestQueries(t *testing.T) {
	for query, want := range map[string]string{
		"a=b&sig=abc&%53ig=d": "a=b&sig=REDACTED&%53ig=REDACTED", "access_token=x": "access_token=REDACTED", "token": "token", "a=%zz": "a=%zz",
	} {
		if got := redact(query); got != want {
			t.Errorf("%q became %q", query, got)
		}
	}
	e := event(t)
	r := &Request{state: newState(Settings{Query: true}.withDefaults()), head: Head{Kind: Client, Scheme: "http"}}
	found := map[string]string{}
	for _, a := range describe(r, e).all {
		found[string(a.Key)] = a.Value.AsString()
	}
	if found["url.query"] != "b=c" || found["url.full"] != "http://app.example:8080/a?b=c" || found["url.path"] != "/a" {
		t.Errorf("got %v", found)
	}
}

// TestStalled: a collector that does not answer holds nobody up. What cannot wait
// is dropped and counted, and so is what was not sent when all ends.
func TestStalled(t *testing.T) {
	for name, url := range map[string]func(*testing.T) string{
		"stalled": func(t *testing.T) string {
			r := otlp.StartGRPC(t)
			r.Stall()
			return r.URL
		},
		"absent": func(*testing.T) string { return nowhere },
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			tr := New(Config{Log: zap.New(core)})
			if err := tr.Apply(Settings{Endpoint: url(t), Ratio: 1, Queue: 10, Batch: 5, Delay: time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			e := event(t)
			for range 1000 {
				h := lines{}
				_, r := tr.Request(&h, Head{Start: e.Start})
				r.Ended(e)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			tr.Close(ctx)
			c := tr.Counts()
			if c.Exported != 0 || c.Full < 900 || c.Full+c.Failed != 1000 {
				t.Errorf("counted %+v", c)
			}
			if n := logs.Len(); n != 1 {
				t.Errorf("%d lines are logged: %v", n, logs.All())
			}
		})
	}
}

// TestReload: spans that have ended go where they were to go, those under way
// where the new settings say, and none is lost.
func TestReload(t *testing.T) {
	first, second := otlp.StartGRPC(t), otlp.StartHTTP(t)
	tr := tracer(t, Settings{Endpoint: first.URL, Ratio: 1, Delay: time.Hour})
	e := event(t)
	begin := func() *Request {
		h := lines{}
		_, r := tr.Request(&h, Head{Start: e.Start})
		return r
	}
	begin().Ended(e)
	underWay := begin()
	if err := tr.Apply(Settings{Endpoint: second.URL, Protocol: HTTP, Ratio: 1, Delay: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	underWay.Ended(e)
	first.Await(1, nil)
	second.Await(1, nil)
	before := tr.queue.Load()
	for _, bad := range []Settings{
		{Endpoint: "ftp://x"},
		{Endpoint: "http://user:pass@x"},
		{Endpoint: "http://x?y"},
		{Endpoint: "https://x", CA: "/none"},
		{Endpoint: "https://x", Certificate: "/none", Key: "/none"},
		{Endpoint: "https://x", Certificate: "/none"},
		{Endpoint: nowhere, HeadersFile: "/none"},
		{Endpoint: nowhere, Protocol: "x"},
		{Endpoint: nowhere, Ratio: 2},
		{Endpoint: nowhere, Ratio: math.NaN()},
		{Endpoint: nowhere, Propagators: []Propagator{"x"}},
	} {
		if err := tr.Apply(bad); err == nil || strings.Contains(err.Error(), "user:") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := tr.Apply(Settings{Endpoint: second.URL, Protocol: HTTP, Ratio: 1, Delay: time.Millisecond}); err != nil || tr.queue.Load() != before {
		t.Errorf("the same settings made another queue: %v", err)
	}
	if err := tr.Apply(Settings{}); err != nil || begin() != nil {
		t.Errorf("still traced: %v", err)
	}
}

// TestResend: the first attempt is the request's own span, each further one a
// child of it.
func TestResend(t *testing.T) {
	r := otlp.StartGRPC(t)
	tr := tracer(t, Settings{Endpoint: r.URL, Ratio: 1, Delay: time.Millisecond})
	h := lines{}
	e := event(t)
	trace, request := tr.Request(&h, Head{Kind: Client, Scheme: "http", Start: e.Start})
	request.Resend(&h, "upstream_reset")
	second := h.Get(traceparent)
	request.Resend(&h, "timeout")
	third := h.Get(traceparent)
	e.Attempts = 3
	request.Ended(e)
	request.Ended(e)
	request.Resend(&h, "late")
	if h.Get(traceparent) != third {
		t.Error("a request that is over was sent again")
	}
	spans := r.Await(3, nil)
	for i, want := range []struct{ id, parent, failed, count string }{
		{second, trace.String()[36:52], "timeout", "1"}, {third, trace.String()[36:52], "", "2"}, {trace.String(), "", "", ""},
	} {
		s := spans[i]
		if s.SpanID != want.id[36:52] || s.ParentID != want.parent || s.Attributes["error.type"] != want.failed || s.Attributes["http.request.resend_count"] != want.count {
			t.Errorf("%d: %+v", i, s)
		}
	}
	if s := spans[2]; !slices.Equal(s.Events, []string{"hallmark.attempt.failed"}) || s.Attributes["hallmark.attempts"] != strconv.Itoa(3) {
		t.Errorf("the request's own: %+v", s)
	}
}

// TestTLS: a collector with a certificate of its own, whose authority changes.
func TestTLS(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	secure.StartTLS()
	defer secure.Close()
	dir := t.TempDir()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := snapshot(t).SVID
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	s := Settings{
		Endpoint: secure.URL, Protocol: HTTP, Ratio: 1, Delay: time.Millisecond, CA: file("ca", "CERTIFICATE", own.Certificates[0].Raw),
		Certificate: file("cert", "CERTIFICATE", own.Certificates[0].Raw), Key: file("key", "PRIVATE KEY", key),
	}
	tr := tracer(t, s)
	send := func(done func(metrics.SpanCounts) bool) {
		t.Helper()
		e := event(t)
		_, r := tr.Request(&lines{}, Head{Start: e.Start})
		r.Ended(e)
		for ctx := t.Context(); !done(tr.Counts()); {
			select {
			case <-ctx.Done():
				t.Fatalf("counted %+v", tr.Counts())
			case <-time.After(time.Millisecond):
			}
		}
	}
	send(func(c metrics.SpanCounts) bool { return c.Failed == 1 }) // it is not that authority's
	file("ca", "CERTIFICATE", secure.Certificate().Raw)
	if err := tr.Apply(s); err != nil {
		t.Fatal(err)
	}
	send(func(c metrics.SpanCounts) bool { return c.Exported == 1 })
}
