package accesslog

import (
	"net/netip"
	"slices"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// fields are those of a line that are not its scene's, by OpenTelemetry's names
// where it has one. docs/access-log.md describes them.
func fields(f list, e *metrics.Event) list {
	f = append(f, zap.Uint64("hallmark.connection.id", e.ID))
	f.address("client.address", "client.port", e.Client)
	f.address("network.local.address", "network.local.port", e.Local)
	f.address("upstream.address", "upstream.port", e.Upstream)
	f.address("hallmark.origin.address", "hallmark.origin.port", e.Origin)
	f.text("network.protocol.name", string(e.Protocol))
	f.text("hallmark.detection", e.How)
	f = append(f,
		zap.Uint64("hallmark.bytes.sent", e.Sent),
		zap.Uint64("hallmark.bytes.received", e.Received),
		zap.Duration("duration", e.Duration))
	f.outcome(&e.Outcome)
	f.trace(e.Trace)
	return f
}

// list is a line in the making.
type list []zap.Field

// lists keeps lists for the next lines. The zero value has none.
type lists struct{ pool sync.Pool } // of *list

func (p *lists) get() *list {
	if l, ok := p.pool.Get().(*list); ok {
		return l
	}
	l := make(list, 0, 32)
	return &l
}

func (p *lists) put(l *list) {
	clear(*l) // what they speak of is not to be kept
	*l = (*l)[:0]
	p.pool.Put(l)
}

// text adds a text unless it is empty.
func (l *list) text(name, value string) {
	if value != "" {
		*l = append(*l, zap.String(name, printable.Text(value)))
	}
}

// address adds an address and a port unless there is none.
func (l *list) address(address, port string, a netip.AddrPort) {
	if a.IsValid() {
		*l = append(*l, zap.String(address, a.Addr().Unmap().WithZone("").String()), zap.Uint16(port, a.Port()))
	}
}

// ends adds who called whom.
func (l *list) ends(reporter metrics.Reporter, own, peer *tlsctx.Peer) {
	source, destination := own, peer
	if reporter == metrics.Destination {
		source, destination = peer, own
	}
	l.end("source", source)
	l.end("destination", destination)
}

// end adds who is at one end: the SPIFFE ID from TLS, and the attributes, those
// of each provenance in a field of their own.
func (l *list) end(name string, p *tlsctx.Peer) {
	if p == nil {
		return
	}
	if p.Secured() {
		*l = append(*l, zap.String(name+".spiffe_id", p.ID.String()))
	}
	for provenance := tlsctx.Attested; provenance >= tlsctx.Asserted; provenance-- {
		if slices.ContainsFunc(p.Attributes, func(a tlsctx.Attribute) bool { return a.Provenance == provenance }) {
			*l = append(*l, zap.Object(name+"."+provenance.String(), attributes{p.Attributes, provenance}))
		}
	}
}

// attributes are those of one provenance.
type attributes struct {
	all tlsctx.Attributes
	of  tlsctx.Provenance
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (a attributes) MarshalLogObject(e zapcore.ObjectEncoder) error {
	for _, attribute := range a.all {
		if attribute.Provenance == a.of {
			e.AddString(attribute.Name, printable.Text(attribute.Value))
		}
	}
	return nil
}

// security adds how the network was crossed.
func (l *list) security(peer *tlsctx.Peer, session tlsctx.Session, via *metrics.Session) {
	if peer == nil || !peer.Secured() {
		*l = append(*l, zap.String("hallmark.security", "none"))
		return
	}
	*l = append(*l,
		zap.String("hallmark.security", "mutual_tls"),
		zap.String("tls.curve", peer.KeyExchange.String()),
		zap.Bool("hallmark.aware", peer.Aware))
	l.text("hallmark.session", string(session))
	if via != nil {
		*l = append(*l, zap.Uint64("hallmark.session.id", via.ID()))
	}
}

// outcome adds how it ended; before, it has none.
func (l *list) outcome(o *metrics.Outcome) {
	if o.Reason == "" {
		return
	}
	*l = append(*l, zap.String("hallmark.outcome", printable.Text(o.Reason)), zap.String("response_flags", o.Flag.String()))
	if o.Reason != metrics.ReasonOK {
		*l = append(*l, zap.String("error.type", printable.Text(o.Reason)))
	}
	if o.Err != nil {
		l.text("error.message", o.Err.Error())
	}
}

// trace adds the trace context, unless there is none.
func (l *list) trace(t tlsctx.Traceparent) {
	if !t.IsZero() {
		text := t.String() // version-traceid-spanid-flags
		*l = append(*l, zap.String("trace_id", text[3:35]), zap.String("span_id", text[36:52]))
	}
}
