package e2e

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Relay forwards TCP to an address, until it is told to stop: a network that can
// be cut without privileges. While it is cut, what is sent disappears, without
// an error and without an end, and new connections are made and go nowhere.
type Relay struct {
	Addr string

	to       string
	listener net.Listener
	all      sync.WaitGroup

	mu     sync.Mutex
	cut    chan struct{} // not nil while it is cut; closed when it is mended
	held   int           // what waits for that: pieces of data, and connections
	conns  map[net.Conn]struct{}
	closed bool
}

// StartRelay runs a relay for as long as the test lasts.
func StartRelay(tb testing.TB, to string) *Relay {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	r := &Relay{Addr: listener.Addr().String(), to: to, listener: listener, conns: map[net.Conn]struct{}{}}
	r.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.all.Go(func() { r.serve(conn) })
		}
	})
	tb.Cleanup(r.close)
	return r
}

func (r *Relay) close() {
	_ = r.listener.Close()
	r.Mend()
	r.mu.Lock()
	r.closed = true
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.all.Wait()
}

// Cut cuts the network.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut == nil {
		r.cut = make(chan struct{})
	}
}

// Mend ends the cut. What has been held up since then goes on.
func (r *Relay) Mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut != nil {
		close(r.cut)
		r.cut = nil
	}
}

// Held returns how much is held up by a cut: pieces of data, and new connections.
func (r *Relay) Held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// whole waits until the network is not cut.
func (r *Relay) whole() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.cut != nil {
		cut := r.cut
		r.held++
		r.mu.Unlock()
		<-cut
		r.mu.Lock()
		r.held--
	}
}

// keep remembers a connection, unless the relay is closed.
func (r *Relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = conn.Close()
		return false
	}
	r.conns[conn] = struct{}{}
	return true
}

func (r *Relay) drop(conn net.Conn) {
	_ = conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}

func (r *Relay) serve(down net.Conn) {
	if !r.keep(down) {
		return
	}
	defer r.drop(down)
	r.whole()
	up, err := net.Dial("tcp", r.to)
	if err != nil || !r.keep(up) {
		return
	}
	defer r.drop(up)
	var both sync.WaitGroup
	both.Go(func() { r.copy(up, down) })
	both.Go(func() { r.copy(down, up) })
	both.Wait()
}

// copy forwards one direction and its end.
func (r *Relay) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		r.whole()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err != nil {
			if tcp, ok := to.(*net.TCPConn); ok && errors.Is(err, io.EOF) {
				_ = tcp.CloseWrite()
			} else {
				_ = to.Close()
			}
			return
		}
	}
}
