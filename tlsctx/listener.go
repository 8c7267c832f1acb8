package tlsctx

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// DefaultMaxHandshakes bounds the handshakes that a [Listener] has in progress.
const DefaultMaxHandshakes = 256

// Listener accepts connections whose handshake is complete: a slow or silent
// peer does not hold up the others. It bounds the handshakes in progress, of all
// peers together: where one peer must not take every place, its inner listener
// is to bound them for each address. Make one with [NewListener].
type Listener struct {
	inner   net.Listener
	options ListenerOptions
	config  *ServerConfig

	ready  chan *Conn
	slots  chan struct{}
	done   chan struct{}
	cancel context.CancelFunc
	once   sync.Once
	wg     sync.WaitGroup
	err    error // why accepting ended; read after done is closed
}

// ListenerOptions tune a [Listener]. The zero value works.
type ListenerOptions struct {
	// MaxHandshakes bounds the handshakes in progress; 0 means
	// [DefaultMaxHandshakes]. Past it the listener does not accept.
	MaxHandshakes int

	// OnError is told of every handshake that failed, from the goroutine that
	// ran it. The error's Claimed identity is not proved.
	OnError func(remote net.Addr, err error)
}

// NewListener starts accepting from inner and shaking hands. Closing the
// listener closes inner and ends every handshake in progress.
func NewListener(inner net.Listener, config *ServerConfig, options ListenerOptions) *Listener {
	if options.MaxHandshakes <= 0 {
		options.MaxHandshakes = DefaultMaxHandshakes
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Listener{
		inner: inner, options: options, config: config, cancel: cancel,
		ready: make(chan *Conn),
		slots: make(chan struct{}, options.MaxHandshakes),
		done:  make(chan struct{}),
	}
	l.wg.Go(func() { l.run(ctx) })
	return l
}

// Accept returns the next connection whose handshake is complete; it is a
// *[Conn].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, l.err
	}
}

// Addr returns the address of the inner listener.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Close ends accepting and every handshake in progress, and waits for them.
// Connections that Accept has returned live on.
func (l *Listener) Close() error {
	err := l.inner.Close()
	l.cancel()
	l.wg.Wait()
	return err
}

// run accepts until the inner listener fails for good.
func (l *Listener) run(ctx context.Context) {
	var pause time.Duration
	for {
		select {
		case l.slots <- struct{}{}: // reserved before Accept takes a connection
		case <-ctx.Done():
			l.end(net.ErrClosed)
			return
		}
		raw, err := l.inner.Accept()
		if err != nil {
			<-l.slots
			if pause = nextPause(pause); !passes(err) || !wait(ctx, pause) {
				l.end(err)
				return
			}
			continue
		}
		pause = 0
		l.wg.Go(func() {
			defer func() { <-l.slots }()
			l.serve(ctx, raw)
		})
	}
}

// Bounds of the pause after an Accept that failed and may succeed later.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

func nextPause(last time.Duration) time.Duration {
	return min(max(2*last, minPause), maxPause)
}

// passes reports whether Accept failed for the moment only: no file descriptors
// or memory left, or a connection that was reset before it was taken.
func passes(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// wait reports whether the pause has passed before ctx ended.
func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *Listener) serve(ctx context.Context, raw net.Conn) {
	conn, err := Server(ctx, raw, l.config)
	if err != nil {
		if l.options.OnError != nil && !errors.Is(err, Canceled) {
			l.options.OnError(raw.RemoteAddr(), err)
		}
		return
	}
	select {
	case l.ready <- conn:
	case <-ctx.Done():
		_ = conn.Close()
	}
}

func (l *Listener) end(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.done)
	})
}
