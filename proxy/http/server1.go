package http

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

const (
	// lingerTime and lingerBytes bound what is read and thrown away of a
	// request that has been answered before it was complete, so that the
	// answer is not lost in a reset (RFC 9112, section 9.6).
	lingerTime  = 2 * time.Second
	lingerBytes = 16 << 20

	// lullTime is how long a connection has to be without a request before
	// draining ends it: a client that has just been answered may be sending its
	// next one, which an end without a word would lose. Answers say meanwhile
	// that the connection ends. Of what has been idle for longer, lastLook is how
	// long it is looked whether something has come.
	lullTime = 500 * time.Millisecond
	lastLook = time.Millisecond
)

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// server1 is a connection from a client that speaks HTTP/1: requests are
// answered one after the other, in order.
type server1 struct {
	relay  *Relay
	conn   net.Conn
	ctx    context.Context
	source *Source
	told   *told
	scheme string
	in     *h1.In
	out    *h1.Out

	draining atomic.Bool
	deadline time.Time // of reading, zero if none

	// Of the exchange under way. The reader sets it up, who answers ends it.
	turn     latch       // the answer is complete, or a tunnel open
	bodyRead atomic.Bool // the request has been read to its end
	closing  atomic.Bool // the connection ends after this answer
	tunnel   atomic.Bool // what follows is no HTTP
	decoder  h1.Decoder  // the reader's
	trailing []message.Field
	went100  bool

	mu      sync.Mutex
	x       *exchange // nil when it has been answered
	framing h1.Framing
	left    int64 // of content of a stated length
	unsent  int   // bytes of content that have been queued and not been sent

	lingering bool
}

// serveH1 relays the requests of a connection of HTTP/1.
func (r *Relay) serveH1(ctx context.Context, c *Connection) error {
	s := &server1{
		relay: r, conn: c.Conn, ctx: ctx, source: c.Source, told: r.fields.of(c.Source), scheme: "http",
		in: h1.NewIn(c.Conn, c.Peeked),
	}
	if c.Source.Peer != nil && c.Source.Peer.Secured() {
		s.scheme = "https"
	}
	s.out = h1.NewOut(c.Conn, r.config.Timeouts.Write, s.sent, s.failed)
	stop := context.AfterFunc(ctx, func() { s.failed(context.Cause(ctx)) })
	stopDrain := context.AfterFunc(c.Drain, s.drain)
	err := s.run()
	stopDrain()
	stop()
	_ = c.Conn.Close()
	s.out.Wait()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// drain makes the connection end after the request that it has.
func (s *server1) drain() {
	s.draining.Store(true)
	s.wakeReader()
}

// arm sets the deadline of reading, 0 for none. Who sets one to wake the reader
// up says why first.
func (s *server1) arm(d time.Duration) error {
	s.deadline = time.Time{}
	if d > 0 {
		s.deadline = time.Now().Add(d)
	}
	return s.in.SetDeadline(s.deadline)
}

// run serves request after request, and returns nil when the client has ended in
// order.
func (s *server1) run() error {
	for {
		ok, err := s.idle()
		if err != nil {
			return err
		}
		if !ok {
			s.out.Close()
			s.out.Wait()
			return nil
		}
		x := s.relay.newExchange(s.ctx, s.source, s.told, s)
		if err := s.head(x); err != nil {
			return s.refuse(x, err)
		}
		if goOn, err := s.serve(x); !goOn {
			return err
		}
	}
}

// idle waits for the first byte of a request, and holds next to nothing
// meanwhile. It reports false if there will be none.
func (s *server1) idle() (bool, error) {
	if len(s.in.Bytes()) > 0 {
		return true, nil // it came while the last one was answered
	}
	limit, quiet := s.relay.config.Timeouts.Idle, time.Now()
	for len(s.in.Bytes()) == 0 {
		if limit > 0 && s.deadline.IsZero() { // else the last one still stands
			if err := s.arm(limit); err != nil {
				return false, err
			}
		}
		draining := s.draining.Load()
		if draining {
			if err := s.arm(max(lullTime-time.Since(quiet), lastLook)); err != nil {
				return false, err
			}
		}
		err := s.in.Wait()
		switch {
		case err == nil:
		case !h1.Expired(err):
			return false, nil // between requests a client may go away as it likes
		case draining && time.Now().Before(s.deadline): // woken up for something else
		case draining || limit > 0 && time.Since(quiet) >= limit:
			return false, nil
		default:
			s.deadline = time.Time{} // it was armed for an earlier request: again
		}
	}
	return true, nil
}

// head reads the head of a request.
func (s *server1) head(x *exchange) error {
	for seen, slow := 0, false; ; {
		b := s.in.Bytes()
		n, err := x.in.Parse(b, seen, s.scheme, &s.relay.config.Limits.H1)
		if err != nil {
			return err
		}
		if n > 0 {
			s.in.Take(n)
			s.in.Release()
			if slow {
				return s.arm(0)
			}
			return nil
		}
		seen = len(b)
		if !slow {
			slow = true
			if err := s.arm(s.relay.config.Timeouts.Header); err != nil {
				return err
			}
		}
		switch err := s.in.More(); {
		case err == nil:
		case !h1.Expired(err):
			return err
		case s.deadline.IsZero() || time.Now().Before(s.deadline): // draining: the rest is waited for
			if err := s.in.SetDeadline(s.deadline); err != nil {
				return err
			}
		default:
			return &Failure{Reason: SlowRequest}
		}
	}
}

// refuse answers what is no request, or none that is taken, and ends the
// connection.
func (s *server1) refuse(x *exchange, err error) error {
	f, failed := errors.AsType[*Failure](err)
	refused, malformed := errors.AsType[*message.Error](err)
	switch {
	case malformed:
		s.relay.count(string(refused.Reason))
		f = &Failure{Reason: ofMessage(err), Err: err}
	case failed && f.Reason == SlowRequest:
		s.relay.count("slow_header")
	case !failed: // the connection is gone
		x.release()
		x.release() // start's
		return err
	}
	s.begin(x)
	s.closing.Store(true)
	x.refuse(f)
	s.linger()
	s.leave(x, nil)
	return f
}

// begin makes the exchange the one to be answered.
func (s *server1) begin(x *exchange) {
	s.turn.reset()
	s.bodyRead.Store(false)
	s.tunnel.Store(false)
	s.closing.Store(!x.in.KeepAlive)
	s.went100 = false
	s.mu.Lock()
	s.x, s.unsent, s.framing = x, 0, h1.NoBody
	s.mu.Unlock()
}

// serve relays one request and reports whether there may be another.
func (s *server1) serve(x *exchange) (bool, error) {
	s.begin(x)
	r := x.request()
	tunnel := r.Tunnel()
	bodyless := r.Length == 0 && !tunnel
	s.bodyRead.Store(bodyless)
	x.start(bodyless)
	var err error
	if !bodyless && !tunnel {
		if err = s.body(x); err == nil {
			s.bodyRead.Store(true)
		}
	}
	x.requestFlush()
	switch {
	case err == nil:
		err = s.await()
	case errors.Is(err, errAnswered):
		s.turn.wait() // the gate opens before the last of the answer is there
	}
	if err == nil && s.tunnel.Load() {
		err = s.through(x)
	}
	if err != nil && !errors.Is(err, errAnswered) {
		return false, s.broken(x, err)
	}
	s.leave(x, nil)
	if !s.closing.Load() && s.bodyRead.Load() {
		return true, nil
	}
	if s.bodyRead.Load() {
		s.out.Close()
		s.out.Wait()
	} else {
		s.linger()
	}
	return false, nil
}

// broken ends the exchange of a request that broke off, and the connection.
func (s *server1) broken(x *exchange, err error) error {
	refused, malformed := errors.AsType[*message.Error](err)
	failure, _ := errors.AsType[*Failure](err)
	if malformed {
		s.relay.count(string(refused.Reason))
		failure = &Failure{Reason: ofMessage(err), Err: err}
	}
	if failure != nil && failure.Reason == SlowRequest {
		s.relay.count("slow_body")
	}
	if failure != nil {
		s.closing.Store(true)
		if !x.abandon(failure) {
			s.turn.wait() // for what the client is told, such as that its body was too slow
		}
		s.linger()
	}
	s.leave(x, err)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// linger ends the connection so that the client gets to read what it has been
// told although it may still be sending.
func (s *server1) linger() {
	s.out.CloseWrite()
	s.out.Wait()
	s.mu.Lock()
	s.lingering = true
	s.mu.Unlock()
	if s.arm(lingerTime) != nil {
		return
	}
	for n := 0; n < lingerBytes; {
		s.in.Take(len(s.in.Bytes()))
		if s.in.More() != nil {
			return
		}
		n += len(s.in.Bytes())
	}
}

// errAnswered says that the answer was complete before the request was.
var errAnswered = errors.New("answered before the request was complete")

// more reads more, and waits no longer than a body may stand still.
func (s *server1) more(read func() error) error {
	if err := s.arm(s.relay.config.Timeouts.Body); err != nil {
		return err
	}
	for {
		if s.turn.isDone() {
			return errAnswered
		}
		err := read()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case !h1.Expired(err):
			return err
		case s.turn.isDone():
			return errAnswered
		case s.deadline.IsZero() || time.Now().Before(s.deadline): // draining
			if err := s.in.SetDeadline(s.deadline); err != nil {
				return err
			}
		default:
			return &Failure{Reason: SlowRequest}
		}
	}
}

// body reads the content of a request and hands it on.
func (s *server1) body(x *exchange) error {
	defer func() { _ = s.arm(0) }()
	if x.in.Length == message.Unknown {
		return s.chunked(x)
	}
	for left := x.in.Length; left > 0; {
		var chunk h2.Chunk
		read := func() (err error) { chunk, err = s.in.Chunk(left); return err }
		if len(s.in.Bytes()) > 0 {
			_ = read() // there is something: it does not fail
		} else {
			x.requestFlush() // it may take a while
			if err := s.more(read); err != nil {
				return err
			}
		}
		left -= int64(chunk.Len())
		if !s.hand(x, chunk, left == 0) {
			return errAnswered
		}
	}
	return nil
}

// hand hands content on, and waits until there is room for more.
func (s *server1) hand(x *exchange, chunk h2.Chunk, end bool) bool {
	full := x.downGate.add(chunk.Len())
	if end {
		s.bodyRead.Store(true)
	}
	x.requestData(chunk, end)
	if end {
		return true
	}
	if full {
		x.requestFlush()
	}
	return x.downGate.wait()
}

// chunked reads content in chunked coding.
func (s *server1) chunked(x *exchange) error {
	s.decoder.Reset()
	clear(s.trailing)
	s.trailing = s.trailing[:0]
	for {
		b := s.in.Bytes()
		n, used, trailers, err := s.decoder.Decode(b, s.trailing, &s.relay.config.Limits.H1)
		s.trailing = trailers
		if err != nil {
			return err
		}
		s.in.Take(used)
		done := s.decoder.Done()
		for rest := b[:n]; len(rest) > 0; {
			chunk, size := h2.ChunkOf(rest)
			rest = rest[size:]
			if !s.hand(x, chunk, done && len(rest) == 0 && len(s.trailing) == 0) {
				return errAnswered
			}
		}
		if done {
			s.in.Release()
			s.bodyRead.Store(true)
			if len(s.trailing) > 0 {
				x.requestTrailers(s.trailing)
			} else if n == 0 {
				x.requestData(h2.Chunk{}, true)
			}
			return nil
		}
		x.requestFlush()
		if err := s.more(s.in.More); err != nil {
			return err
		}
	}
}

// await waits for the answer, and watches the client meanwhile: one that goes
// away does not want it any more.
func (s *server1) await() error {
	for !s.turn.isDone() {
		if len(s.in.Bytes()) > 0 { // of the next request, or of a tunnel
			s.turn.wait()
			break
		}
		err := s.in.Wait()
		switch {
		case err == nil || s.turn.isDone():
		case h1.Expired(err):
			if err := s.arm(0); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

// through hands on what comes through a tunnel, until both directions have ended.
func (s *server1) through(x *exchange) error {
	s.turn.reset()
	if err := s.arm(0); err != nil {
		return err
	}
	for {
		if len(s.in.Bytes()) == 0 {
			x.requestFlush()
		}
		chunk, err := s.in.Chunk(1 << 62)
		switch {
		case err == nil:
			if !s.hand(x, chunk, false) {
				return nil
			}
		case errors.Is(err, io.EOF):
			x.requestData(h2.Chunk{}, true)
			x.requestFlush()
			s.turn.wait()
			return nil
		case h1.Expired(err): // draining: tunnels live on
			if err := s.arm(0); err != nil {
				return err
			}
		default:
			return err
		}
	}
}
