package trace

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Connection is the span of a connection that is sampled: a
// [metrics.ConnectionSpan].
type Connection struct{ span oteltrace.Span }

// Connection returns what trace a connection belongs to, and its span if it is
// sampled, else nil. At the client's end the trace begins here: which request of
// the application's made it open the connection, nobody knows. At the server's it
// is that of parent, which is what the peer has sent.
//
// What is returned is to be sent to the peer, so that it decides alike: if nothing
// is traced that is parent itself.
func (t *Tracer) Connection(kind Kind, parent tlsctx.Traceparent, start time.Time) (tlsctx.Traceparent, *Connection) {
	st := t.now()
	if st == nil {
		return parent, nil
	}
	ctx := context.Background()
	switch {
	case kind == Server && parent.Sampled():
		parent.Flags &= knownFlags
		ctx = oteltrace.ContextWithRemoteSpanContext(ctx, remote(parent))
	case kind == Server && !parent.IsZero():
		return parent, nil
	default:
		trace, takes := st.begin()
		if !takes {
			return trace, nil
		}
		ctx = context.WithValue(ctx, drawn{}, trace)
	}
	_, span := t.tracer(st).Start(ctx, "tcp", oteltrace.WithSpanKind(kind.span()), oteltrace.WithTimestamp(start))
	return contextOf(span.SpanContext()), &Connection{span}
}

// Ended ends the span of a connection that has ended.
func (c *Connection) Ended(e *metrics.Event) {
	if e.Protocol != "" && e.Protocol != tlsctx.Unknown && e.Protocol.Valid() {
		c.span.SetName("tcp " + string(e.Protocol))
	}
	a := make(attributes, 0, 48)
	a.text("hallmark.reporter", string(e.Reporter))
	a.text("hallmark.listener", e.Listener)
	a.service(&e.Service)
	a.text("hallmark.target", e.Target)
	a.addresses(e.Reporter, e.Client, e.Upstream)
	if e.Reporter == metrics.Destination && e.Origin.IsValid() {
		a.text("hallmark.origin.address", e.Origin.Addr().Unmap().String())
	}
	a.ends(e.Reporter, e.Own, e.Peer)
	a.security(e.Peer, e.Session)
	a = append(a, semconv.NetworkTransportTCP)
	a.text("network.protocol.name", string(e.Protocol))
	a.text("hallmark.detection", e.How)
	a = append(a, attribute.Int64("hallmark.bytes.sent", int64(e.Sent)), attribute.Int64("hallmark.bytes.received", int64(e.Received)))
	a.text("hallmark.outcome", e.Outcome.Reason)
	if e.Outcome.Reason != metrics.ReasonOK {
		a.text(string(semconv.ErrorTypeKey), e.Outcome.Reason)
		c.span.SetStatus(codes.Error, e.Outcome.Reason)
	}
	c.span.SetAttributes(a...)
	c.span.End(oteltrace.WithTimestamp(e.Start.Add(e.Duration)))
}
