package trace

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// FuzzHeaders: whatever fields say, the trace is what the propagators make of
// them, what is passed on is well-formed, and what is not sampled is not changed
// if it was understood.
func FuzzHeaders(f *testing.F) {
	f.Add(yes, "a=b", traceID+"-"+spanID+"-1", traceID, spanID, "1", "")
	f.Add(no, "=", "0", "", "", "", "1")
	f.Add("00-"+traceID+"-"+spanID+"-ff", "", "d", traceID[:16], spanID, "true", "")
	f.Add("ff"+yes[2:], "", traceID+"-"+spanID, "", "", "x", "")
	f.Add("01"+yes[2:]+"-x", ",,", "----------------------------------------------------", "", "", "", "")
	all := tracer(f, Settings{Endpoint: nowhere, Propagators: []Propagator{TraceContext, B3, B3Multi}, Ratio: 0.5, Queue: 1})
	w3c := tracer(f, Settings{Endpoint: nowhere, Ratio: 0.5, Queue: 1})
	f.Fuzz(func(t *testing.T, parent, state, single, id, span, decided, flags string) {
		fields := func() *lines {
			h := lines{}
			for name, value := range map[string]string{
				traceparent: parent, tracestate: state, b3Single: single, b3Trace: id, b3Span: span, b3Sampled: decided, b3Flags: flags,
			} {
				if value != "" && !strings.ContainsAny(value, "\r\n\x00") {
					h = append(h, name+": "+value)
				}
			}
			return &h
		}
		h := fields()
		trace, r := all.Request(h, Head{Start: time.Now()})
		if trace.IsZero() && h.Get(b3Single) != "0" && h.Get(b3Sampled) != "0" && h.Get(b3Sampled) != "false" || trace.Sampled() != (r != nil) {
			t.Errorf("trace %s, span %t", trace, r != nil)
		}
		if r != nil {
			if passed, err := tlsctx.ParseTraceparent(h.Get(traceparent)); err != nil || passed != trace {
				t.Errorf("passed on %q, told %s", h.Get(traceparent), trace)
			}
		}
		h = fields()
		if h.Get(traceparent) == "" {
			return
		}
		sc := oteltrace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), h))
		before := strings.Join(*h, "\n")
		trace, r = w3c.Request(h, Head{Start: time.Now()})
		switch {
		case sc.IsValid() && (trace.TraceID != sc.TraceID() || sc.IsSampled() != (r != nil)):
			t.Errorf("%q: trace %s, span %t, want %v", parent, trace, r != nil, sc)
		case sc.IsValid() && r == nil && strings.Join(*h, "\n") != before:
			t.Errorf("%q became %q", before, *h)
		case !sc.IsValid() && trace.TraceID == sc.TraceID():
			t.Errorf("%q: no trace begins", parent)
		}
	})
}

// FuzzSpan: whatever a request says, its span can be sent: OTLP takes UTF-8 alone,
// and one text that is none would lose a whole batch.
func FuzzSpan(f *testing.F) {
	f.Add("GET", "h:1", "/a?b", "ua", "reason", 200, 0, true)
	f.Add("\xff", "[::1]:x", "/\xff?sig=\xff", "\x1b[2J", "", -1, 99, true)
	f.Add("", "", "", "", "", 0, -1, false)
	f.Fuzz(func(t *testing.T, method, authority, path, agent, reason string, status, grpc int, is bool) {
		e := &metrics.RequestEvent{Request: metrics.Request{
			Method: method, Authority: authority, Path: path, Status: status, GRPC: grpc, IsGRPC: is, Outcome: metrics.Outcome{Reason: reason},
		}}
		for _, kind := range []Kind{Client, Server} {
			r := &Request{state: newState(Settings{Query: true}.withDefaults()), head: Head{Kind: kind, Scheme: "http"}, agent: agent}
			d := describe(r, e)
			for _, a := range d.all {
				if text := a.Value.String(); !utf8.ValidString(text) || len(text) > 2*printable.Max || strings.ContainsAny(text, "\x1b\r\n") {
					t.Errorf("%s is %q", a.Key, text)
				}
			}
			if !utf8.ValidString(d.name) || len(d.name) > 255 {
				t.Errorf("the name is %q", d.name)
			}
		}
	})
}

// FuzzHeadersFile: what is taken from a file of headers are fields, and errors
// repeat nothing of it.
func FuzzHeadersFile(f *testing.F) {
	f.Add("a: b\n# c\n\nx-key:v", "b")
	f.Add("a b\n", "a b")
	f.Add("a: b\na: c", "c")
	f.Fuzz(func(t *testing.T, text, secret string) {
		headers, _, err := parseHeaders([]byte(text))
		if err != nil && len(secret) > 12 && !strings.Contains("want a line such as x-api-key: value, of printable ASCII the name is given twice bufio.Scanner: token too long", secret) && strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
		for name, value := range headers {
			if name == "" || value == "" || strings.ContainsAny(name+value, "\r\n\x00") {
				t.Errorf("%q: %q", name, value)
			}
		}
	})
}
