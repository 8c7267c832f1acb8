package http

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// Session is a connection of HTTP/2 that requests are sent to: a peer's, over
// mutual TLS, or an application's. It is safe for concurrent use, and is what a
// pool keeps.
type Session struct {
	batch
	conn    *h2.Conn
	address netip.AddrPort // its far end, or zero
	ready   chan struct{}  // closed when the peer has taken us
	once    sync.Once
	done    chan struct{}
	err     error // why it ended; read after done is closed
}

// NewSession speaks HTTP/2 over conn, as a client, until the session ends: see
// [Session.Close]. One goroutine reads it.
func NewSession(conn net.Conn, config h2.Config) *Session {
	s := &Session{address: addressOf(conn), ready: make(chan struct{}), done: make(chan struct{})}
	config.MaxFrameSize = cmp.Or(config.MaxFrameSize, longFrame)
	s.conn = h2.New(conn, h2.Client, config, s)
	go func() {
		defer close(s.done)
		s.err = s.conn.Run(context.Background())
	}()
	return s
}

// Ready is told by the connection that the peer's SETTINGS have come.
func (s *Session) Ready(*h2.Conn) { s.once.Do(func() { close(s.ready) }) }

// Accept is told by the connection of a stream of the server's: there is none.
func (s *Session) Accept(*h2.Stream, *h2.Headers, bool) h2.StreamHandler { return nil }

// Changed is told by the connection; whoever wants to know asks.
func (s *Session) Changed(*h2.Conn) {}

// Await waits until the server has taken the session, which in TLS 1.3 a client
// knows from the first bytes it reads, and returns why if it has not. That it was
// taken is said also if it has ended since: others may have used it up.
func (s *Session) Await(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-s.done:
		select {
		case <-s.ready:
			return nil
		default:
		}
		if s.err == nil {
			return errors.New("http: the session ended at once")
		}
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Available reports whether a request can be sent now.
func (s *Session) Available() bool { return s.conn.Available() }

// Streams returns how many requests are under way.
func (s *Session) Streams() int { return s.conn.Streams() }

// Retire makes the session take no new requests, and end after those it has.
func (s *Session) Retire() { s.conn.Drain() }

// Close ends the session and its requests, and waits until its reader has ended.
func (s *Session) Close() error {
	s.conn.Close(h2.NoError)
	<-s.done
	return nil
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session ended, nil if it did in order; only once Done is
// closed.
func (s *Session) Err() error { return s.err }

// NetConn returns the connection below.
func (s *Session) NetConn() net.Conn { return s.conn.NetConn() }

func (s *Session) attempt(x *exchange) attempt { return newAttempt2(x, s, nil) }

// attempt2 is the server's side of an exchange on a stream of HTTP/2.
type attempt2 struct {
	x       *exchange
	session *Session // nil: one has to be opened
	plain   *Plain   // by this

	mu       sync.Mutex
	stream   *h2.Stream
	canceled bool

	response message.Response // the reader's
}

// newAttempt2 returns an attempt: the exchange's own for the first, so that late
// calls for that one do not reach another.
func newAttempt2(x *exchange, session *Session, plain *Plain) *attempt2 {
	a := &x.up2
	if x.record.Attempts > 0 {
		a = new(attempt2)
	}
	a.x, a.session, a.plain = x, session, plain
	return a
}

// reset makes a as new, and keeps the space for fields.
func (a *attempt2) reset() {
	if a.stream != nil {
		a.stream.Release()
	}
	a.x, a.session, a.plain = nil, nil, nil
	a.stream, a.canceled = nil, false
	a.response.Reset()
}

func (a *attempt2) prepared() bool { return a.session != nil }

func (a *attempt2) prepare(ctx context.Context) *Failure {
	var f *Failure
	a.session, f = a.plain.openSession(ctx)
	return f
}

func (a *attempt2) unused() {}

func (a *attempt2) address() netip.AddrPort { return a.session.address }

// is notes the stream, which calls may come for before Open has returned.
func (a *attempt2) is(stream *h2.Stream) {
	a.mu.Lock()
	a.stream = stream
	canceled := a.canceled
	a.mu.Unlock()
	if canceled {
		stream.Reset(h2.Cancel)
	}
}

func (a *attempt2) get() *h2.Stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stream
}

func (a *attempt2) request(r *message.Request, end bool) *Failure {
	if r.Protocol != "" && !a.session.conn.ConnectProtocol() {
		return &Failure{Reason: NotSupported, Err: errors.New("the server takes no extended CONNECT (RFC 8441)")}
	}
	h := h2.Headers{
		Kind: h2.Request, Method: r.Method, Scheme: r.Scheme, Authority: r.Authority, Path: r.Path, Protocol: r.Protocol,
		Fields: r.Fields,
	}
	stream, err := a.session.conn.Open(&h, end, a)
	if err != nil {
		return failureOf2(err)
	}
	a.is(stream)
	return nil
}

// failureOf2 makes a failure of what ended a stream or kept it from being opened.
func failureOf2(err error) *Failure {
	f := &Failure{Reason: UpstreamReset, Err: err}
	if errors.Is(err, h2.ErrUnavailable) {
		f.Unprocessed, f.Unsent = true, true
	}
	if e, ok := errors.AsType[*h2.Error](err); ok {
		f.Unprocessed = e.Unprocessed
		f.Reused = e.Reason == h2.ReasonLost || e.Reason == h2.ReasonPeerGoAway
		if e.Reason == h2.ReasonFields || e.Reason == h2.ReasonLength {
			f.Reason = UpstreamInvalid
		}
	}
	return f
}

func (a *attempt2) data(chunk h2.Chunk, end bool) { a.x.upSent(a.get().Send(chunk, end)) }

func (a *attempt2) trailers(fields []message.Field) {
	_ = a.get().SendHeaders(&h2.Headers{Kind: h2.Trailers, Fields: fields}, true)
}

func (a *attempt2) flush() {}

func (a *attempt2) consumed(n int) {
	if stream := a.get(); stream != nil {
		stream.Consumed(n)
	}
}

func (a *attempt2) cancel() {
	a.mu.Lock()
	a.canceled = true
	stream := a.stream
	a.mu.Unlock()
	if stream != nil {
		stream.Reset(h2.Cancel)
	}
}

// Headers takes a response's head or trailers.
func (a *attempt2) Headers(stream *h2.Stream, h *h2.Headers, end bool) {
	a.is(stream)
	a.session.late(a.x, true)
	if h.Kind == h2.Trailers {
		a.x.upTrailers(a, h.Fields)
		return
	}
	r := &a.response
	if err := responseOf(r, h); err != nil {
		a.x.invalid(a, err)
		return
	}
	a.x.upResponse(a, r, end)
}

// Data takes content of the response.
func (a *attempt2) Data(_ *h2.Stream, chunk h2.Chunk, end bool) {
	a.session.late(a.x, true)
	a.x.upData(a, chunk, end)
}

// Sent says that content of the request is on its way.
func (a *attempt2) Sent(_ *h2.Stream, n int) { a.x.upSent(n) }

// Closed ends the attempt.
func (a *attempt2) Closed(_ *h2.Stream, err *h2.Error) {
	if err != nil {
		a.x.upClosed(a, failureOf2(err))
	} else {
		a.x.upClosed(a, nil)
	}
}
