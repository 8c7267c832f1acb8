package trace

import (
	"context"
	"strings"

	"go.opentelemetry.io/contrib/propagators/b3"
	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Headers are the fields of a message's head. Get returns the value of the only
// field of that name: "" if there is none or there are several, but those of
// tracestate make up a list. Set makes it the only field of that name.
type Headers interface {
	propagation.TextMapCarrier

	// Del removes the fields of that name.
	Del(name string)
}

// The fields of W3C Trace Context and of B3.
const (
	traceparent = "traceparent"
	tracestate  = "tracestate"

	b3Single  = "b3"
	b3Trace   = "x-b3-traceid"
	b3Span    = "x-b3-spanid"
	b3Parent  = "x-b3-parentspanid"
	b3Sampled = "x-b3-sampled"
	b3Flags   = "x-b3-flags"
)

// forms are the forms of trace contexts that are read and written, in order.
type forms struct {
	all                []form
	w3c, single, multi bool
}

// form is one of them.
type form struct {
	propagation.TextMapPropagator

	w3c bool
}

func newForms(names []Propagator) forms {
	var f forms
	for _, name := range names {
		switch name {
		case TraceContext:
			f.w3c = true
			f.all = append(f.all, form{propagation.TraceContext{}, true})
		case B3:
			f.single = true
			f.all = append(f.all, form{b3.New(b3.WithInjectEncoding(b3.B3SingleHeader)), false})
		case B3Multi:
			f.multi = true
			f.all = append(f.all, form{b3.New(b3.WithInjectEncoding(b3.B3MultipleHeader)), false})
		case Baggage: // passes by itself
		}
	}
	return f
}

// decision says whether a message's trace is sampled.
type decision uint8

const (
	undecided decision = iota
	unsampled
	sampled
)

// origin is what a message says of its trace.
type origin struct {
	decision

	// trace is its context, or zero.
	trace tlsctx.Traceparent

	// ctx is its context as the propagators have it: of what is sampled.
	ctx context.Context

	// w3c says that it comes from traceparent: then tracestate belongs to it.
	w3c bool
}

// read finds out what a message says of its trace: the first form counts that it
// has whole. Of what is not sampled it allocates nothing if that is said by
// traceparent.
func (f *forms) read(h Headers) origin {
	for i := range f.all {
		form := &f.all[i]
		var o origin
		if form.w3c {
			o = readW3C(form, h)
		} else {
			o = readB3(form, h)
		}
		if o.decision != undecided || !o.trace.IsZero() {
			return o
		}
	}
	return origin{}
}

// knownFlags are the flags that the propagator takes: sampled, and random.
const knownFlags = 3

func readW3C(form *form, h Headers) origin {
	text := h.Get(traceparent)
	if text == "" {
		return origin{}
	}
	if t, ok := quick(text); ok && !t.Sampled() {
		return origin{decision: unsampled, trace: t, w3c: true}
	}
	ctx := form.Extract(context.Background(), h)
	sc := oteltrace.SpanContextFromContext(ctx)
	switch {
	case !sc.IsValid():
		return origin{} // as if there were none
	case !sc.IsSampled():
		return origin{decision: unsampled, trace: contextOf(sc), w3c: true}
	}
	return origin{decision: sampled, trace: contextOf(sc), ctx: ctx, w3c: true}
}

// quick parses what a traceparent almost always is.
func quick(text string) (tlsctx.Traceparent, bool) {
	if len(text) != 55 {
		return tlsctx.Traceparent{}, false
	}
	t, err := tlsctx.ParseTraceparent(text)
	return t, err == nil && t.Flags <= knownFlags
}

func readB3(form *form, h Headers) origin {
	single, flags := h.Get(b3Single), h.Get(b3Flags)
	decided := h.Get(b3Sampled)
	if single == "" && decided == "" && flags == "" && h.Get(b3Trace) == "" {
		return origin{}
	}
	var o origin
	ctx := form.Extract(context.Background(), h)
	if sc := oteltrace.SpanContextFromContext(ctx); sc.IsValid() {
		o.trace = contextOf(sc)
		if sc.IsSampled() {
			o.decision, o.ctx = sampled, ctx
			return o
		}
		if bySingle := len(single) > 1; bySingle && strings.Count(single, "-") == 1 || !bySingle && decided == "" {
			return o // deferred: it has a trace, and nobody has decided
		}
		o.decision = unsampled
		return o
	}
	switch { // a decision without a trace
	case single == "0", single == "" && (decided == "0" || decided == "false") && flags != "1":
		o.decision = unsampled
	case single == "1", single == "d", single == "" && (decided == "1" || decided == "true" || flags == "1"):
		o.decision, o.ctx = sampled, ctx
	}
	return o
}

// unsampled writes that a trace begins with this message, and is not sampled, so
// that nobody decides anew further on.
func (f *forms) unsampled(h Headers, t tlsctx.Traceparent) {
	if f.w3c {
		h.Set(traceparent, t.String())
		h.Del(tracestate) // of what could not be read
	}
	f.clean(h)
	if f.single {
		h.Set(b3Single, "0")
	}
	if f.multi {
		h.Del(b3Trace)
		h.Del(b3Span)
		h.Del(b3Flags)
		h.Set(b3Sampled, "0")
	}
}

// write writes the context of the span in ctx. kept says that tracestate belongs
// to the same trace: it has nothing of ours, and stays as it is.
func (f *forms) write(ctx context.Context, h Headers, kept bool) {
	if f.w3c && !kept {
		h.Del(tracestate)
	}
	f.clean(h)
	for i := range f.all {
		f.all[i].Inject(ctx, pen{h})
	}
}

// clean removes the fields of B3 that are not written, and would speak of the
// sender's span beside those of ours that are.
func (f *forms) clean(h Headers) {
	if !f.single && !f.multi {
		return
	}
	h.Del(b3Parent)
	if !f.single {
		h.Del(b3Single)
	}
	if !f.multi {
		h.Del(b3Trace)
		h.Del(b3Span)
		h.Del(b3Sampled)
		h.Del(b3Flags)
	}
}

// pen writes for a propagator, but tracestate: that is left as it was written.
type pen struct{ Headers }

// Set implements [propagation.TextMapCarrier].
func (p pen) Set(name, value string) {
	if name != tracestate {
		p.Headers.Set(name, value)
	}
}
