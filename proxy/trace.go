package proxy

import (
	"slices"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/trace"
	"github.com/hallmark-mesh/hallmark/proxy/http"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// kindOf returns the kind of span at a reporter's end.
func kindOf(r metrics.Reporter) trace.Kind {
	if r == metrics.Destination {
		return trace.Server
	}
	return trace.Client
}

// traced finds out what trace a request belongs to, and begins its span.
func (l *listener) traced(r *message.Request, _ *http.Source, start time.Time) (tlsctx.Traceparent, http.Span) {
	head := trace.Head{Kind: kindOf(l.side.Load().reporter), Scheme: r.Scheme, Start: start}
	t, span := l.proxy.trace.Request((*headers)(r), head)
	if span == nil {
		return t, nil
	}
	return t, requestSpan{span}
}

// requestSpan is the span of a request.
type requestSpan struct{ *trace.Request }

// Resend implements [http.Span].
func (s requestSpan) Resend(r *message.Request, why http.Reason) {
	s.Request.Resend((*headers)(r), string(why))
}

// spanOf returns the span that a record has, for the recorder.
func spanOf(s http.Span) metrics.RequestSpan {
	if s, ok := s.(requestSpan); ok {
		return s.Request
	}
	return nil
}

// begin finds out, once, what trace the stream belongs to, and begins its span:
// before it is opened upstream, so that the other end belongs to the same.
func (st *stream) begin() {
	if st.begun {
		return
	}
	st.begun = true
	parent := st.trace
	if parent.IsZero() && st.peer.Session == tlsctx.Raw { // of others the trace is the stream's
		parent = st.peer.Trace
	}
	var span *trace.Connection
	if st.trace, span = st.side.proxy.trace.Connection(kindOf(st.side.reporter), parent, st.start); span != nil {
		st.span = span
	}
}

// headers are the fields of a request, for propagators: [trace.Headers].
type headers message.Request

// Get returns the value of the only field of that name. Those of tracestate make
// up a list (W3C Trace Context, section 3.3.1.1).
func (h *headers) Get(name string) string {
	value, found := "", false
	for i := range h.Fields {
		switch f := &h.Fields[i]; {
		case f.Name != name:
		case !found:
			value, found = f.Value, true
		case name == "tracestate":
			value += "," + f.Value
		default:
			return ""
		}
	}
	return value
}

// Set makes a field the only one of that name, in the place of the first.
func (h *headers) Set(name, value string) {
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			h.Fields[i].Value = value
			rest := slices.DeleteFunc(h.Fields[i+1:], func(f message.Field) bool { return f.Name == name })
			h.Fields = h.Fields[:i+1+len(rest)]
			return
		}
	}
	h.Fields = append(h.Fields, message.Field{Name: name, Value: value})
}

// Del removes the fields of that name.
func (h *headers) Del(name string) {
	h.Fields = slices.DeleteFunc(h.Fields, func(f message.Field) bool { return f.Name == name })
}

// Keys returns the names of the fields.
func (h *headers) Keys() []string {
	names := make([]string, len(h.Fields))
	for i := range h.Fields {
		names[i] = h.Fields[i].Name
	}
	return names
}
