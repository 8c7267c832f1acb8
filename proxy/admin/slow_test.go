package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// pipes is a listener of in-memory connections, whose time a test can make.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// TestSlowloris sends a request a byte a second, as long as it is let.
func TestSlowloris(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := &pipes{make(chan net.Conn), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- Serve(ctx, listener, http.NotFoundHandler(), zap.NewNop()) }()

		ours, theirs := net.Pipe()
		listener.conns <- theirs
		go func() { _, _ = io.Copy(io.Discard, ours) }() // whatever it is told
		begun := time.Now()
		var err error
		for err == nil {
			_, err = ours.Write([]byte("G"))
			time.Sleep(time.Second)
		}
		if took := time.Since(begun); took > headerTimeout+2*time.Second || !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("cut after %s: %v", took, err)
		}

		idle, theirs := net.Pipe() // and one that asks, and then asks no more
		listener.conns <- theirs
		if got := status(t, idle, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); got != http.StatusNotFound {
			t.Errorf("status %d", got)
		}
		begun = time.Now()
		if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("an idle connection: %v", err)
		}
		if took := time.Since(begun); took != idleTimeout {
			t.Errorf("an idle connection was kept for %s", took)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = ours.Close()
		_ = idle.Close()
	})
}
