package tap

import (
	"cmp"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Kind is that of an [Event].
type Kind string

// The kinds.
const (
	// KindRequest is an HTTP or gRPC request that is over.
	KindRequest Kind = "request"

	// KindOpened and KindClosed are the ends of a TCP connection that is
	// forwarded as bytes.
	KindOpened Kind = "opened"
	KindClosed Kind = "closed"

	// KindDropped says that the watcher was too slow: Dropped events are
	// missing here.
	KindDropped Kind = "dropped"

	// KindEnd is the last one, with what there was in all.
	KindEnd Kind = "end"
)

// Event is what a watcher is shown, in the form of the API. docs/admin.md
// describes it.
type Event struct {
	Kind Kind      `json:"kind"`
	Time time.Time `json:"time"`

	*Flow

	Request    *Request    `json:"request,omitempty"`
	Connection *Connection `json:"connection,omitempty"`

	// Dropped is how many events are missing here; of [KindEnd], in all.
	Dropped uint64 `json:"dropped,omitempty"`

	// End is set of [KindEnd].
	End *End `json:"end,omitempty"`
}

// Flow is what requests and connections have in common.
type Flow struct {
	Direction   Direction `json:"direction"`
	Listener    string    `json:"listener,omitempty"`
	Source      Workload  `json:"source"`
	Destination Workload  `json:"destination"`

	// Service is that which is configured, Target what an inbound peer asked
	// for.
	Service string `json:"service,omitempty"`
	Target  string `json:"target,omitempty"`

	// Client, Local and Upstream are addresses with ports. Origin is that of
	// the client at the far end, as the peer states it.
	Client   string `json:"client,omitempty"`
	Local    string `json:"local,omitempty"`
	Upstream string `json:"upstream,omitempty"`
	Origin   string `json:"origin,omitempty"`

	// Security, Session and SessionID say how the network is crossed.
	Security  Security `json:"security"`
	Session   string   `json:"session,omitempty"`
	SessionID uint64   `json:"sessionId,omitempty"`

	// Protocol is what the client speaks, such as http1, h2, grpc, postgres.
	Protocol string `json:"protocol,omitempty"`

	// DurationMs is how long it took, or how long it has been open.
	DurationMs float64 `json:"durationMs"`

	// Outcome is "ok" or why not, Flags Envoy's response flags or "-", Error
	// more; of [KindOpened] they are absent. Failed is as in the access log.
	Outcome string `json:"outcome,omitempty"`
	Flags   string `json:"flags,omitempty"`
	Error   string `json:"error,omitempty"`
	Failed  bool   `json:"failed"`

	TraceID string `json:"traceId,omitempty"`
	SpanID  string `json:"spanId,omitempty"`
}

// Request is what is known of a request. Its path is without the query.
type Request struct {
	Method        string  `json:"method"`
	Authority     string  `json:"authority,omitempty"`
	Path          string  `json:"path"`
	Upgrade       string  `json:"upgrade,omitempty"`
	Status        int     `json:"status"` // 0 for none
	GRPCStatus    *int    `json:"grpcStatus,omitempty"`
	RequestBytes  int64   `json:"requestBytes"`
	ResponseBytes int64   `json:"responseBytes"`
	FirstByteMs   float64 `json:"firstByteMs,omitempty"`
	Attempts      int     `json:"attempts"`
}

// Connection is what is known of a connection.
type Connection struct {
	ID            uint64 `json:"id"`
	Detection     string `json:"detection,omitempty"` // what settled the protocol
	BytesSent     uint64 `json:"bytesSent"`
	BytesReceived uint64 `json:"bytesReceived"`
}

// End says what a watcher was shown.
type End struct {
	// Reason is why it ended: limit, or closing.
	Reason string `json:"reason"`

	// Matched are the events that the filter took, Shown those of them that
	// were shown: the others were left out by sampling, or dropped.
	Matched uint64 `json:"matched"`
	Shown   uint64 `json:"shown"`
}

// protocolGRPC is what requests of gRPC are shown to speak.
const protocolGRPC = "grpc"

// event makes what is queued fit to be shown.
func (i *item) event(record Namer) *Event {
	e := &Event{Kind: i.kind, Time: i.time.UTC()}
	if r := i.request; r != nil {
		e.Flow = flowOfRequest(record, r)
		e.Request = requestOf(r)
		return e
	}
	e.Flow = flowOfConnection(record, i.connection)
	e.Connection = &Connection{
		ID: i.connection.ID, Detection: printable.Text(i.connection.How),
		BytesSent: i.connection.Sent, BytesReceived: i.connection.Received,
	}
	return e
}

func flowOfRequest(record Namer, r *metrics.RequestEvent) *Flow {
	f := &Flow{
		Direction: directionOf(r.Reporter), Listener: printable.Text(r.Listener),
		Service: printable.Text(serviceOf(&r.Service)), Target: printable.Text(r.Target),
		Client: address(r.Client), Local: address(r.Local), Upstream: address(r.Upstream),
		Session: string(r.Session), Protocol: printable.Text(string(r.Protocol)),
		DurationMs: milliseconds(r.Duration), Failed: r.Failed(),
	}
	if r.IsGRPC {
		f.Protocol = protocolGRPC
	}
	f.ends(record, r.Own, r.Peer, r.Via)
	f.outcome(&r.Outcome)
	f.trace(r.Trace)
	return f
}

func flowOfConnection(record Namer, c *metrics.Event) *Flow {
	f := &Flow{
		Direction: directionOf(c.Reporter), Listener: printable.Text(c.Listener),
		Service: printable.Text(serviceOf(&c.Service)), Target: printable.Text(c.Target),
		Client: address(c.Client), Local: address(c.Local), Upstream: address(c.Upstream), Origin: address(c.Origin),
		Session: string(c.Session), Protocol: printable.Text(string(c.Protocol)),
		DurationMs: milliseconds(c.Duration), Failed: failedConnection(c),
	}
	f.ends(record, c.Own, c.Peer, c.Via)
	f.outcome(&c.Outcome)
	f.trace(c.Trace)
	return f
}

// failedConnection reports whether a connection has not ended in order.
func failedConnection(c *metrics.Event) bool {
	return c.Outcome.Reason != "" && c.Outcome.Reason != metrics.ReasonOK
}

// serviceOf names a service as [Service.Host] does.
func serviceOf(s *metrics.Service) string { return cmp.Or(s.Host, s.Name) }

// ends fills in who called whom.
func (f *Flow) ends(record Namer, own, peer *tlsctx.Peer, via *metrics.Session) {
	f.Source, f.Destination = selfOf(record, own), workloadOf(record, peer)
	f.Security = f.Destination.Security
	if f.Direction == Inbound {
		f.Source, f.Destination = f.Destination, f.Source
	}
	if via != nil {
		f.SessionID = via.ID()
	}
}

func (f *Flow) outcome(o *metrics.Outcome) {
	if o.Reason == "" {
		return
	}
	f.Outcome, f.Flags = printable.Text(o.Reason), o.Flag.String()
	if o.Err != nil {
		f.Error = printable.Text(o.Err.Error())
	}
}

func (f *Flow) trace(t tlsctx.Traceparent) {
	if !t.IsZero() {
		f.TraceID, f.SpanID = hex.EncodeToString(t.TraceID[:]), hex.EncodeToString(t.SpanID[:])
	}
}

func requestOf(r *metrics.RequestEvent) *Request {
	shown := &Request{
		Method: printable.Text(r.Method), Authority: printable.Text(r.Authority), Path: printable.Path(r.Path),
		Upgrade: printable.Text(r.Upgrade), Status: r.Status, RequestBytes: r.RequestBytes, ResponseBytes: r.ResponseBytes,
		FirstByteMs: milliseconds(r.FirstByte), Attempts: r.Attempts,
	}
	if r.IsGRPC && r.GRPC >= 0 {
		shown.GRPCStatus = &r.GRPC
	}
	return shown
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()).String()
}

// milliseconds are exact to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond).Microseconds()) / 1000
}
