package tunnel

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is a stream with half-close: CloseWrite says that nothing more will be
// written, and reading goes on.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Aborter is a connection that can end so that its peer sees a reset rather
// than an orderly end. Connections over TCP need not implement it.
type Aborter interface{ Abort() error }

// Side names one of the two connections of a pipe.
type Side string

// Downstream is the connection that was accepted, Upstream the one opened for
// it.
const (
	Downstream Side = "downstream"
	Upstream   Side = "upstream"
)

// Error says on which side and in doing what a stream broke.
type Error struct {
	Side Side
	Op   string // read, write or close
	Err  error
}

// Error returns "forward: read downstream: …".
func (e *Error) Error() string {
	return "forward: " + e.Op + " " + string(e.Side) + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrHalfOpen ends a stream of which one direction had ended and the other
// stood still for too long.
var ErrHalfOpen = errors.New("half-open and idle for too long")

// ErrIdle ends a stream that carried nothing in either direction for too long.
var ErrIdle = errors.New("idle for too long")

// Pipe is one stream through the proxy.
type Pipe struct {
	// Down was accepted; Up was opened for it.
	Down, Up Conn

	// Sent counts the bytes written upstream, and Received those written
	// downstream, while they flow. Nil means not to count.
	Sent, Received *atomic.Uint64

	// HalfOpen is how long a direction may stand still once the other has
	// ended; 0 means forever.
	HalfOpen time.Duration

	// Idle is how long both directions may stand still; 0 means forever.
	Idle time.Duration
}

// Run forwards until both directions have ended in order, and returns nil; or
// until one breaks or ctx ends, which resets both connections, and returns an
// *[Error], [ErrHalfOpen], [ErrIdle] or the context's cause. Both connections are closed
// on return, and no goroutine is left.
func (p Pipe) Run(ctx context.Context) error {
	if p.Sent == nil {
		p.Sent = new(atomic.Uint64)
	}
	if p.Received == nil {
		p.Received = new(atomic.Uint64)
	}
	s := &stream{Pipe: p}
	stop := context.AfterFunc(ctx, func() { s.fail(context.Cause(ctx)) })
	defer stop()
	s.idle.start(s.Idle, s, ErrIdle, p.Sent, p.Received)

	s.upstream.Add(1)
	go s.forwardUp()
	s.forward(direction{src: p.Up, dst: p.Down, from: Upstream, to: Downstream, n: p.Received}, p.Sent)
	s.upstream.Wait()

	s.idle.stop()
	s.halfOpen.stop()
	s.once.Do(func() {}) // after which nobody writes err any more
	_ = p.Down.Close()   // both directions have ended: nothing is lost
	_ = p.Up.Close()
	return s.err
}

// stream is a pipe at work.
type stream struct {
	Pipe
	halfOpen watch
	idle     watch
	ended    atomic.Bool // one direction has ended in order
	upstream sync.WaitGroup

	once sync.Once
	err  error // what broke the stream first; the rest follows from it
}

// fail ends the stream: the first reason counts.
func (s *stream) fail(err error) {
	s.once.Do(func() {
		s.err = err
		Abort(s.Down)
		Abort(s.Up)
	})
}

// forwardUp forwards what the client says.
func (s *stream) forwardUp() {
	defer s.upstream.Done()
	s.forward(direction{src: s.Down, dst: s.Up, from: Downstream, to: Upstream, n: s.Sent}, s.Received)
}

// forward copies one direction to its end and passes the end on. From then on
// the other direction, whose count is given, must not stand still for ever.
func (s *stream) forward(d direction, other *atomic.Uint64) {
	if err := d.copy(); err != nil {
		s.fail(err)
		return
	}
	first := !s.ended.Swap(true)
	if first && wasReset(d.src) {
		s.fail(&Error{Side: d.from, Op: "read", Err: syscall.ECONNRESET})
		return
	}
	if _, tcp := d.dst.(*net.TCPConn); tcp && !first {
		return // it is closed as a whole now
	}
	if err := d.dst.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.fail(&Error{Side: d.to, Op: "close", Err: err})
		return
	}
	if first {
		s.halfOpen.start(s.HalfOpen, s, ErrHalfOpen, other, nil)
	}
}

// watch ends a stream when what it counts has stood still for a whole period.
type watch struct {
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool

	period   time.Duration
	stream   *stream
	err      error
	one, two *atomic.Uint64 // the second may be nil
	last     uint64
}

func (w *watch) start(period time.Duration, s *stream, err error, one, two *atomic.Uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if period <= 0 || w.stopped {
		return
	}
	w.period, w.stream, w.err, w.one, w.two = period, s, err, one, two
	w.last = w.count()
	w.timer = time.AfterFunc(period, w.look)
}

func (w *watch) count() uint64 {
	if w.two == nil {
		return w.one.Load()
	}
	return w.one.Load() + w.two.Load()
}

// look is called after each period.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.count()
	switch {
	case w.stopped:
	case now == w.last:
		w.stream.fail(w.err)
	default:
		w.last = now
		w.timer.Reset(w.period)
	}
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// Abort closes a connection so that its peer sees a reset. Where the connection
// is TLS over TCP the socket goes first: a close_notify would tell the peer that
// all had been said.
func Abort(c net.Conn) {
	for below := c; ; {
		switch conn := below.(type) {
		case Aborter:
			_ = conn.Abort()
			return
		case *net.TCPConn:
			_ = conn.SetLinger(0)
			_ = conn.Close()
			if below != c {
				_ = c.Close()
			}
			return
		case interface{ NetConn() net.Conn }:
			below = conn.NetConn()
		default:
			_ = c.Close()
			return
		}
	}
}
