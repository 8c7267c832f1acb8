package metrics

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// RequestsInfo is what the requests have in common that one [Requests] records.
type RequestsInfo struct {
	// Reporter says at which end we are. Required.
	Reporter Reporter

	// Peer is the other proxy or workload, once the handshake with it is
	// complete: never before Handshake has returned nil. Nil says that there
	// was no handshake, such as where the peer could not be reached.
	Peer *tlsctx.Peer

	// Service is what the requests are for: from configuration, never from a
	// request's authority.
	Service Service

	// Target is the name by which the inbound side's table is asked, or "".
	Target string

	// Listener is the configured name of the listener.
	Listener string

	// Session is how the requests cross the network. It counts for nothing in
	// plaintext.
	Session tlsctx.Session

	// Via is the session that the requests are streams of, or nil: their
	// bytes are the session's as well.
	Via *Session
}

// Requests records the requests that one peer and one service have in common: by
// session, or by route. Its methods may be called from any goroutine. It need not
// be closed, and follows a change of rules or of our own identity.
type Requests struct {
	r     *Recorder
	info  RequestsInfo
	kinds [2]atomic.Pointer[resolved] // of HTTP, and of gRPC
}

// resolved is where requests are counted, under one identity and one set of
// rules.
type resolved struct {
	own    *own
	series *series
	since  time.Time
}

// again is how long requests are counted as overflow until it is seen whether
// there is room for them now.
const again = time.Minute

// stands reports whether it is still right for a request that ends at the given
// time.
func (at *resolved) stands(own *own, end time.Time) bool {
	return at.own == own && at.series.use(end) && (!at.series.requests.overflowed || end.Sub(at.since) < again)
}

// Requests returns what records the requests of the kind. Make it once for each
// session or route, and not for each request. It never fails.
func (r *Recorder) Requests(info RequestsInfo) *Requests {
	if info.Peer == nil || !info.Peer.Secured() {
		info.Session = ""
	}
	return &Requests{r: r, info: info}
}

// Request is what is known of a request when it is over.
type Request struct {
	// Method, Authority and Path are as the client sent them: they are told
	// to sinks, which escape them, and never fill a label.
	Method, Authority, Path string

	// Protocol is what the client spoke, [tlsctx.HTTP1] or [tlsctx.HTTP2], and
	// Upgrade that of an upgrade or extended CONNECT, or "". Both are for
	// sinks.
	Protocol tlsctx.Protocol
	Upgrade  string

	// Client is who connected to us, Local what was connected to, and Upstream
	// the address that the request went to. They are for sinks; any may be
	// zero.
	Client, Local, Upstream netip.AddrPort

	// Status is the status code that the client got, or 0 if none. That of an
	// upgrade is 101 where the client or the server speaks HTTP/1.1, whatever
	// it is for the other, and 200 between two that speak HTTP/2.
	Status int

	// IsGRPC says that the request was gRPC's, and GRPC is the grpc-status that
	// the client got, or -1 if none. It counts for nothing unless IsGRPC.
	IsGRPC bool
	GRPC   int

	// RequestBytes and ResponseBytes are those of the bodies.
	RequestBytes, ResponseBytes int64

	// RequestMessages and ResponseMessages are the gRPC messages that
	// [Requests.Messages] has not been told of.
	RequestMessages, ResponseMessages uint64

	// Start is when the head had been read; zero means Duration ago. Duration
	// is from then to the end, and FirstByte from then to the response's head,
	// or 0.
	Start               time.Time
	Duration, FirstByte time.Duration

	// Attempts says how often it was sent.
	Attempts int

	// Trace is the request's trace context, or zero: that of Span, if there is
	// one.
	Trace tlsctx.Traceparent

	// Span is told of the end, and is nil for a request that is not sampled.
	Span RequestSpan

	// Outcome is how it ended. A reason that is not [ReasonOK] says that the
	// proxy answered it itself, or that the answer did not come through:
	// an answer of 500 by the application is in order.
	Outcome Outcome
}

// Record counts a request, and tells the sinks of it.
func (q *Requests) Record(req Request) {
	if req.Outcome.Reason == "" {
		req.Outcome.Reason = ReasonOK
	}
	if req.Start.IsZero() {
		req.Start = time.Now().Add(-req.Duration)
	}
	at := q.at(req.IsGRPC, req.Start.Add(req.Duration))
	at.series.requests.count(&req)
	if q.info.Via != nil {
		q.info.Via.carried(natural(req.RequestBytes), natural(req.ResponseBytes))
	}
	if req.Outcome.Reason != ReasonOK {
		q.r.process.httpFailures.inc(openKey{string(q.info.Reporter), req.Outcome.Reason})
	}
	q.tell(&req, at.own.peer)
}

// Messages counts gRPC messages of a stream that goes on, so that one which lives
// for days shows what it carries.
func (q *Requests) Messages(requests, responses uint64) {
	q.at(true, time.Now()).series.requests.message(requests, responses)
}

// at returns where a request is counted that ends at the given time.
func (q *Requests) at(grpc bool, end time.Time) *resolved {
	kind, protocol := &q.kinds[0], protocolHTTP
	if grpc {
		kind, protocol = &q.kinds[1], protocolGRPC
	}
	own := q.r.own.current(q.r.rules.Load())
	at := kind.Load()
	if at == nil || !at.stands(own, end) {
		key := own.combination(q.info.Reporter, q.info.Peer, q.info.Service)
		key.protocol = protocol
		at = &resolved{own, q.r.traffic.get(key, own.rules, end), end}
		at.series.meet(q.info.Peer)
		kind.Store(at)
	}
	return at
}

// natural returns n, and 0 for what is negative.
func natural(n int64) uint64 {
	return uint64(max(n, 0))
}

// RequestSink is a [Sink] that is told of requests as well.
type RequestSink interface {
	// Requested is told of a request that is over, by the goroutine that
	// recorded it. It must not block, and must not keep the event.
	Requested(e *RequestEvent)
}

// RequestEvent is what a [RequestSink] is told.
type RequestEvent struct {
	// RequestsInfo is what the request has in common with others.
	RequestsInfo

	// Request is what was recorded.
	Request

	// Own is who we are, judged as a peer would judge us, or nil.
	Own *tlsctx.Peer
}

// tell tells the sinks of a request, and its span.
func (q *Requests) tell(req *Request, own *tlsctx.Peer) {
	var e *RequestEvent
	for i := range q.r.told {
		sink := &q.r.told[i]
		if sink.requests == nil || sink.idle() {
			continue
		}
		if e == nil {
			e = q.event(req, own)
		}
		sink.requests.Requested(e)
	}
	if req.Span != nil {
		if e == nil {
			e = q.event(req, own)
		}
		req.Span.Ended(e)
	}
	if e != nil {
		*e = RequestEvent{}
		q.r.events.Put(e)
	}
}

// event returns what the sinks are told, out of the pool.
func (q *Requests) event(req *Request, own *tlsctx.Peer) *RequestEvent {
	e, _ := q.r.events.Get().(*RequestEvent)
	if e == nil {
		e = new(RequestEvent)
	}
	e.RequestsInfo, e.Request, e.Own = q.info, *req, own
	return e
}
