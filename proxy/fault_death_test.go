package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// mortal is an application that can die and come back at its address.
type mortal struct {
	tb      testing.TB
	address string
	handle  func(net.Conn)

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]struct{}
}

func newMortal(tb testing.TB, handle func(net.Conn)) *mortal {
	m := &mortal{tb: tb, address: "127.0.0.1:0", handle: handle, conns: make(map[net.Conn]struct{})}
	m.live()
	m.address = m.l.Addr().String()
	tb.Cleanup(m.die)
	return m
}

// live accepts connections until it dies.
func (m *mortal) live() {
	m.tb.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", m.address)
	if err != nil {
		m.tb.Fatal(err)
	}
	m.mu.Lock()
	m.l = l
	m.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			m.conns[c] = struct{}{}
			m.mu.Unlock()
			go m.handle(c)
		}
	}()
}

// die leaves as a process does whose connections hold bytes that it has not
// read: by resets.
func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.l.Close()
	for c := range m.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	clear(m.conns)
}

// TestApplicationDies in the middle of its streams: all end, as resets; new
// connections are reset while it is dead, and work when it is back.
func TestApplicationDies(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			app := newMortal(t, func(c net.Conn) {
				_, _ = io.CopyN(c, zeros{}, 1<<20) // more than its client takes
				_, _ = c.Read(make([]byte, 1))
			})
			p := newPair(t, app.address, []string{"  session: " + kind, "  protocol: opaque"}, nil)
			var conns []net.Conn
			for range 30 {
				conn := reluctant(t, p.address)
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				if _, err := io.CopyN(io.Discard, conn, 4<<10); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
			}
			app.die()
			for _, conn := range conns {
				if _, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("a stream ended with %v", err)
				}
			}
			if err := outcomeAt(p.address); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("while it is dead, a client sees %v", err)
			}
			app.handle = func(c net.Conn) { _, _ = io.Copy(c, c) }
			app.live()
			if got := say(t, connect(t, p.address), "again"); got != "again" {
				t.Errorf("got %q", got)
			}
			for _, w := range []*workload{p.client, p.server} {
				eventually(t, "what has ended is recorded", func() bool { return len(w.events.all()) > len(conns) })
			}
		})
	}
}

// relay passes connections on to an address until it is cut: from then on it
// takes what comes and says nothing, as a network that is gone does.
type relay struct {
	to      string
	address string

	mu  sync.Mutex
	cut chan struct{}
}

func newRelay(tb testing.TB, to string) *relay {
	r := &relay{to: to, cut: make(chan struct{})}
	r.address = serve(tb, r.pass)
	tb.Cleanup(r.sever)
	return r
}

func (r *relay) pass(down net.Conn) {
	up, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer up.Close()
	r.mu.Lock()
	cut := r.cut
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { forwardUntil(cut, up, down) })
	both.Go(func() { forwardUntil(cut, down, up) })
	both.Wait()
}

// forwardUntil copies; after the cut it only reads.
func forwardUntil(cut <-chan struct{}, to, from net.Conn) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		select {
		case <-cut:
		default:
			if err != nil {
				_ = to.(*net.TCPConn).CloseWrite()
				return
			}
			_, _ = to.Write(b[:n])
		}
		if err != nil {
			return
		}
	}
}

// sever cuts the connections of now; later ones pass.
func (r *relay) sever() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.cut)
	r.cut = make(chan struct{})
}

const impatient = `
---
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: p}
spec:
  keepAlive: {idle: 200ms, interval: 200ms, count: 2, userTimeout: 2s}
  timeouts: {dial: 1s, handshake: 1s}
`

// TestSilentNetwork swallows everything in the middle of a mux session, without
// an end or a reset: the session is given up, its streams are reset at both ends,
// and new ones go by a new session.
func TestSilentNetwork(t *testing.T) {
	resets := make(chan error, 10)
	app := serve(t, func(c net.Conn) {
		_, err := io.Copy(c, c)
		resets <- err
	})
	p := newPair(t, app, nil, []string{impatient})
	r := newRelay(t, p.server.address("127.0.0.1:0"))
	p.client.apply(outboundYAML(r.address, "spiffe://example.org/ns/data/sa/db", "  session: Mux", impatient))
	var conns []net.Conn
	for range cap(resets) {
		conn := connect(t, p.client.address("127.0.0.1:0"))
		say(t, conn, "before")
		conns = append(conns, conn)
	}
	r.sever()
	for _, conn := range conns {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a stream ended with %v", err)
		}
	}
	for range conns {
		if err := <-resets; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("at the application a stream ended with %v", err)
		}
	}
	if got := say(t, connect(t, p.client.address("127.0.0.1:0")), "after"); got != "after" {
		t.Errorf("got %q", got)
	}
	for _, w := range []*workload{p.client, p.server} {
		eventually(t, "the session is given up", func() bool { return w.metric(`^hallmark_sessions_closed_total\{`) == 1 })
	}
}
