package metrics

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Reporter says at which end of a connection we are.
type Reporter string

// The reporters, by Istio's names.
const (
	// Source: we opened the connection to the peer, for our application.
	Source Reporter = "source"

	// Destination: the peer opened the connection to us.
	Destination Reporter = "destination"
)

// Service is what a connection is addressed to, from configuration: nothing a
// peer says belongs here.
type Service struct {
	// Host is the service's host name, such as db.prod.svc.cluster.local or
	// db.internal. Where it is empty, it is Name.
	Host string

	// Name and Namespace of the service. Where they are empty they are taken
	// from a Host of the form name.namespace.svc[.…]; else Name is Host, and
	// Namespace that of the destination's workload.
	Name, Namespace string
}

// ConnectionInfo is what is known of a connection when its guard opens.
type ConnectionInfo struct {
	// Reporter says at which end we are. Required.
	Reporter Reporter

	// Peer is the other proxy or workload, once the handshake with it is
	// complete: never before Handshake has returned nil. Nil says that there
	// was no handshake, such as where the peer could not be reached.
	Peer *tlsctx.Peer

	// Service is what the connection is for.
	Service Service

	// Target is the name by which the inbound side's table is asked, or "".
	Target string

	// Listener is the configured name of the listener.
	Listener string

	// Client is who connected to us, Local what was connected to, and Upstream
	// the address that was dialled. Any may be zero.
	Client, Local, Upstream netip.AddrPort

	// Origin is the address of the client at the far end, as the peer states
	// it for a stream of a shared session, or zero.
	Origin netip.AddrPort

	// Session is how the connection crosses the network. It counts for nothing
	// in plaintext.
	Session tlsctx.Session

	// Protocol is what is spoken, if it is known already, and How what settled
	// it; see [Connection.SetProtocol].
	Protocol tlsctx.Protocol
	How      string

	// Via is the session that the connection is a stream of, or nil: its bytes
	// are the session's as well.
	Via *Session

	// Trace is the connection's trace context, or zero: that of Span, if there
	// is one.
	Trace tlsctx.Traceparent

	// Span is told of the end, and is nil for a connection that is not sampled.
	Span ConnectionSpan

	// Start is when the connection was accepted; zero means now.
	Start time.Time
}

// Connection is the guard of one connection. Its methods may be called from any
// goroutine. It must be closed.
type Connection struct {
	// Sent counts the bytes that went upstream, towards the destination, and
	// Received those that came back, at either reporter. They are to be added
	// to while bytes flow: every scrape exports what they say.
	Sent, Received atomic.Uint64

	r      *Recorder
	id     uint64
	series *series
	own    *tlsctx.Peer
	via    *Session
	span   ConnectionSpan
	closed atomic.Bool

	mu   sync.Mutex
	info ConnectionInfo

	// The place among the live connections, and what of Sent and Received is
	// in the series already. Guarded by the shard's lock.
	shard                        *shard
	prev, next                   *Connection
	flushedSent, flushedReceived uint64
}

// OpenConnection counts a connection and returns its guard. It never fails.
func (r *Recorder) OpenConnection(info ConnectionInfo) *Connection {
	if info.Start.IsZero() {
		info.Start = time.Now()
	}
	if info.Peer == nil || !info.Peer.Secured() {
		info.Session = ""
	}
	own := r.own.current(r.rules.Load())
	c := &Connection{r: r, id: r.ids.Add(1), own: own.peer, via: info.Via, span: info.Span, info: info}
	c.series = r.traffic.begin(&c.info, own)
	r.live.add(c)
	c.tell(time.Time{}, Outcome{})
	return c
}

// ID tells the connections of one process apart.
func (c *Connection) ID() uint64 { return c.id }

// SetProtocol says what the connection speaks, and what settled it: one of the
// words that detection has for it.
func (c *Connection) SetProtocol(protocol tlsctx.Protocol, how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info.Protocol, c.info.How = protocol, how
	c.series.speak(protocol)
}

// SetUpstream says which address was dialled.
func (c *Connection) SetUpstream(address netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info.Upstream = address
}

// Close counts the end of the connection. Only the first call does anything.
func (c *Connection) Close(outcome Outcome) {
	if c.closed.Swap(true) {
		return
	}
	if outcome.Reason == "" {
		outcome.Reason = ReasonOK
	}
	now := time.Now()
	c.r.live.remove(c)
	c.series.end(outcome.Flag, now)
	if c.via != nil {
		c.via.carried(c.Sent.Load(), c.Received.Load())
	}
	c.mu.Lock()
	protocol, session := c.info.Protocol, c.info.Session
	c.mu.Unlock()
	c.r.process.closed(c.series.reporter, protocol, session, outcome.Reason)
	c.tell(now, outcome)
}

// tell tells the sinks of the beginning, without an outcome, or of the end, and of
// that the span.
func (c *Connection) tell(now time.Time, outcome Outcome) {
	var e *Event
	for i := range c.r.told {
		sink := &c.r.told[i]
		if sink.idle() {
			continue
		}
		if e == nil {
			e = c.made(now, outcome)
		}
		if outcome.Reason == "" {
			sink.Opened(e)
		} else {
			sink.Closed(e)
		}
	}
	if c.span != nil && outcome.Reason != "" {
		if e == nil {
			e = c.made(now, outcome)
		}
		c.span.Ended(e)
	}
	if e != nil {
		*e = Event{}
		c.r.connectionEvents.Put(e)
	}
}

// made returns the event of the connection; the zero time is now.
func (c *Connection) made(now time.Time, outcome Outcome) *Event {
	if now.IsZero() {
		now = time.Now()
	}
	e, _ := c.r.connectionEvents.Get().(*Event)
	if e == nil {
		e = new(Event)
	}
	*e = c.event(now, outcome)
	return e
}

// event is what sinks are told of the connection at a time.
func (c *Connection) event(now time.Time, outcome Outcome) Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Event{
		ConnectionInfo: c.info, ID: c.id, Own: c.own,
		Sent: c.Sent.Load(), Received: c.Received.Load(),
		Duration: now.Sub(c.info.Start), Outcome: outcome,
	}
}
