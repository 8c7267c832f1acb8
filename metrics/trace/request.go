package trace

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Kind says at which end of a request or connection a span is.
type Kind uint8

// The kinds: at the client's end, which is the outbound side, and at the
// server's, which is the inbound one.
const (
	Client Kind = iota
	Server
)

func (k Kind) span() oteltrace.SpanKind {
	if k == Server {
		return oteltrace.SpanKindServer
	}
	return oteltrace.SpanKindClient
}

// Head is what is known of a request when its head has been read.
type Head struct {
	// Kind says at which end we are.
	Kind Kind

	// Scheme is http or https, or "".
	Scheme string

	// Start is when the head had been read.
	Start time.Time
}

// Request is the span of a request that is sampled: a [metrics.RequestSpan].
type Request struct {
	state *state
	from  oteltrace.Tracer
	head  Head
	agent string
	span  oteltrace.Span
	ctx   context.Context //nolint:containedctx // where the SDK keeps the span

	mu       sync.Mutex
	again    oteltrace.Span // of the attempt under way, if it is not the first
	resends  int
	finished bool
}

// Request returns what trace a request belongs to from here on, and its span if
// it is sampled, else nil. If it is, or if its trace begins here, the fields say
// so afterwards; else they are as they were.
func (t *Tracer) Request(h Headers, head Head) (tlsctx.Traceparent, *Request) {
	st := t.now()
	if st == nil {
		trace, _ := quick(h.Get(traceparent))
		return trace, nil
	}
	o := st.forms.read(h)
	ctx := o.ctx
	switch {
	case o.decision == unsampled:
		return o.trace, nil
	case !o.trace.IsZero() && o.decision == undecided:
		if !st.takes(o.trace.TraceID) {
			return o.trace, nil
		}
		o.trace.Flags |= 1
		ctx = oteltrace.ContextWithRemoteSpanContext(context.Background(), remote(o.trace))
	case o.trace.IsZero():
		trace, takes := st.begin()
		if !takes && o.decision == undecided {
			st.forms.unsampled(h, trace)
			return trace, nil
		}
		if ctx == nil {
			ctx = context.Background()
		}
		ctx = context.WithValue(ctx, drawn{}, trace)
	}
	r := &Request{state: st, from: t.tracer(st), head: head, agent: h.Get("user-agent")}
	r.ctx, r.span = r.from.Start(ctx, "HTTP", oteltrace.WithSpanKind(head.Kind.span()), oteltrace.WithTimestamp(head.Start))
	st.forms.write(r.ctx, h, o.w3c)
	return contextOf(r.span.SpanContext()), r
}

// now returns how it is traced, or nil.
func (t *Tracer) now() *state {
	if t == nil {
		return nil
	}
	return t.state.Load()
}

// Resend says that an attempt to send the request has failed, for a reason out of
// a small set, and that it is sent again, with the fields h. The first attempt is
// the request's own span; each further one is a span below it.
func (r *Request) Resend(h Headers, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished {
		return
	}
	now := time.Now()
	r.fail(reason, now)
	r.resends++
	var ctx context.Context
	ctx, r.again = r.from.Start(r.ctx, "HTTP resend", oteltrace.WithSpanKind(oteltrace.SpanKindClient), oteltrace.WithTimestamp(now),
		oteltrace.WithAttributes(semconv.HTTPRequestResendCount(r.resends)))
	r.state.forms.write(ctx, h, true)
}

// fail ends the attempt under way. The lock is held.
func (r *Request) fail(reason string, now time.Time) {
	if r.again == nil {
		r.span.AddEvent("hallmark.attempt.failed", oteltrace.WithTimestamp(now),
			oteltrace.WithAttributes(attribute.String(string(semconv.ErrorTypeKey), reason)))
		return
	}
	r.again.SetStatus(codes.Error, reason)
	r.again.SetAttributes(attribute.String(string(semconv.ErrorTypeKey), reason))
	r.again.End(oteltrace.WithTimestamp(now))
	r.again = nil
}

// Ended ends the span of a request that is over.
func (r *Request) Ended(e *metrics.RequestEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished {
		return
	}
	r.finished = true
	end := oteltrace.WithTimestamp(e.Start.Add(e.Duration))
	d := describe(r, e)
	if r.again != nil {
		r.again.SetName(d.name)
		r.again.SetAttributes(d.all...)
		d.judge(r.again)
		r.again.End(end)
	}
	r.span.SetName(d.name)
	r.span.SetAttributes(d.all...)
	d.judge(r.span)
	r.span.End(end)
}
