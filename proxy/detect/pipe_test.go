package detect_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/detect"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// half is one direction of a stream in memory: buffered, with an end and with
// read deadlines, so that it works in a bubble.
type half struct {
	mu       sync.Mutex
	bytes    []byte
	ended    bool
	broken   error
	deadline time.Time
	wake     chan struct{}
}

func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.wake)
	h.wake = make(chan struct{})
}

func (h *half) read(b []byte) (int, error) {
	for {
		h.mu.Lock()
		wake, deadline := h.wake, h.deadline
		switch {
		case !deadline.IsZero() && !time.Now().Before(deadline):
			h.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(h.bytes) > 0:
			n := copy(b, h.bytes)
			h.bytes = h.bytes[n:]
			h.mu.Unlock()
			return n, nil
		case h.broken != nil:
			h.mu.Unlock()
			return 0, h.broken
		case h.ended:
			h.mu.Unlock()
			return 0, io.EOF
		}
		h.mu.Unlock()
		if deadline.IsZero() {
			<-wake
			continue
		}
		timer := time.NewTimer(time.Until(deadline))
		select {
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// memConn is one end of a stream in memory.
type memConn struct {
	net.Conn // nil: whatever else is called is a mistake
	in, out  *half
	closed   chan struct{}
	once     sync.Once
}

// memPair returns the two ends of a stream.
func memPair() (near, far *memConn) {
	a, b := &half{wake: make(chan struct{})}, &half{wake: make(chan struct{})}
	return &memConn{in: a, out: b, closed: make(chan struct{})}, &memConn{in: b, out: a, closed: make(chan struct{})}
}

func (c *memConn) Read(b []byte) (int, error) { return c.in.read(b) }

func (c *memConn) Write(b []byte) (int, error) {
	c.out.change(func() { c.out.bytes = append(c.out.bytes, b...) })
	return len(b), nil
}

func (c *memConn) CloseWrite() error {
	c.out.change(func() { c.out.ended = true })
	return nil
}

func (c *memConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.out.change(func() { c.out.ended = true })
		c.in.change(func() { c.in.broken = net.ErrClosed })
	})
	return nil
}

// reset breaks the stream for the other end.
func (c *memConn) reset() {
	c.out.change(func() { c.out.broken = errReset })
}

var errReset = errors.New("connection reset")

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.deadline = t })
	return nil
}

// isClosed reports whether this end was closed.
func (c *memConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// backend opens upstream connections in memory.
type backend struct {
	delay time.Duration // that opening takes
	greet string        // what its server says at once
	err   error         // of opening

	mu     sync.Mutex
	asked  []tlsctx.Protocol // what was opened for
	ours   []*memConn        // the proxy's ends
	theirs []*memConn        // the server's ends
}

func (b *backend) open(ctx context.Context, detected tlsctx.Protocol) (detect.Conn, error) {
	b.mu.Lock()
	b.asked = append(b.asked, detected)
	b.mu.Unlock()
	if b.delay > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(b.delay):
		}
	}
	if b.err != nil {
		return nil, b.err
	}
	near, far := memPair()
	_, _ = far.Write([]byte(b.greet))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ours, b.theirs = append(b.ours, near), append(b.theirs, far)
	return near, nil
}

// opened returns what connections were opened for.
func (b *backend) opened() []tlsctx.Protocol {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]tlsctx.Protocol(nil), b.asked...)
}

// near and server return the two ends of the i-th connection.
func (b *backend) near(i int) *memConn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ours[i]
}

func (b *backend) server(i int) *memConn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.theirs[i]
}

// all reads a connection to its end.
func all(t *testing.T, c io.Reader) string {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return string(got)
}
