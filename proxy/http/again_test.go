package http

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// peerServer is a server of HTTP/2 that refuses streams, or leaves, as a test
// tells it to.
type peerServer struct {
	refuse int  // so many streams are refused, then the rest answered
	late   int  // they are refused when so many bytes have come
	leave  bool // closes the connection at the first stream
}

func (*peerServer) Ready(*h2.Conn)   {}
func (*peerServer) Changed(*h2.Conn) {}

func (p *peerServer) Accept(s *h2.Stream, h *h2.Headers, end bool) h2.StreamHandler {
	if p.refuse > 0 {
		p.refuse--
		if p.late > 0 {
			return &peerStream{late: p.late}
		}
		return nil
	}
	if p.leave {
		s.Conn().NetConn().Close()
		return &peerStream{}
	}
	st := &peerStream{s: s}
	if end {
		st.answer()
	}
	return st
}

// peerStream answers with what it was sent.
type peerStream struct {
	s    *h2.Stream // nil: it is not answered
	late int
	body []byte
}

func (p *peerStream) answer() {
	p.s.SendHeaders(&h2.Headers{Kind: h2.Response, Status: 200}, false)
	for rest := p.body; ; {
		chunk, n := h2.ChunkOf(rest)
		rest = rest[n:]
		p.s.Send(chunk, len(rest) == 0)
		if len(rest) == 0 {
			return
		}
	}
}

func (p *peerStream) Headers(*h2.Stream, *h2.Headers, bool) {}
func (p *peerStream) Sent(*h2.Stream, int)                  {}
func (p *peerStream) Closed(*h2.Stream, *h2.Error)          {}

func (p *peerStream) Data(s *h2.Stream, chunk h2.Chunk, end bool) {
	p.body = append(p.body, chunk.Bytes()...)
	n := chunk.Len()
	chunk.Release()
	s.Consumed(n)
	if p.late > 0 && len(p.body) >= p.late {
		s.Reset(h2.RefusedStream)
	}
	if end && p.s != nil {
		p.answer()
	}
}

// peers returns a session to a server that behaves so.
func (p *peerServer) session(t *testing.T) *Session {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		conn, err := listener.Accept()
		if err == nil {
			_ = h2.New(conn, h2.Server, h2.Config{}, p).Run(ctx)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return session(t, listener.Addr().String())
}

// TestRefusedStream: a request whose stream was refused goes to the next
// connection with all that came of it, whatever its method; one that may have
// been acted on only if it may be repeated, and once.
func TestRefusedStream(t *testing.T) {
	for _, c := range []struct {
		name, method string
		bad          []peerServer
		size         int
		status       int
		attempts     int
	}{
		{"refused", "POST", []peerServer{{refuse: 1}}, 5, 200, 2},
		{"refused twice", "POST", []peerServer{{refuse: 1}, {refuse: 1}}, 5, 200, 3},
		{"refused too often", "POST", []peerServer{{refuse: 1}, {refuse: 1}, {refuse: 1}}, 5, 502, 3},
		{"refused, no content", "POST", []peerServer{{refuse: 1}}, 0, 200, 2},
		{"refused after as much as is kept", "POST", []peerServer{{refuse: 1, late: 64 << 10}}, 64 << 10, 200, 2},
		{"refused after more than is kept", "POST", []peerServer{{refuse: 1, late: 64<<10 + 1}}, 1 << 20, 502, 1},
		{"lost", "GET", []peerServer{{leave: true}}, 0, 200, 2},
		{"lost, not to be repeated", "POST", []peerServer{{leave: true}}, 0, 502, 1},
		{"lost twice", "GET", []peerServer{{leave: true}, {leave: true}}, 0, 502, 2},
	} {
		for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
			t.Run(fmt.Sprintf("%s %s", c.name, down), func(t *testing.T) {
				var sessions []*Session
				for _, bad := range c.bad {
					sessions = append(sessions, bad.session(t))
				}
				sessions = append(sessions, new(peerServer).session(t))
				p := start(t, down, Config{Ready: func(ask *Ask) (Choice, bool) {
					return Choice{Upstream: sessions[ask.Attempt-1]}, true
				}})
				body := strings.Repeat("x", c.size)
				r, _ := http.NewRequest(c.method, "http://"+p.address, strings.NewReader(body))
				res, err := client(t, down).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != c.status || c.status == 200 && string(got) != body {
					t.Errorf("got %d, %.40q, %v", res.StatusCode, got, err)
				}
				p.await("record", func() bool { return len(p.records) == 1 })
				if n := p.records[0].Attempts; n != c.attempts {
					t.Errorf("%d attempts, want %d", n, c.attempts)
				}
			})
		}
	}
}

// TestHalfOpen: a tunnel of which one direction has ended and the other stands
// still ends after a while.
func TestHalfOpen(t *testing.T) {
	ended := make(chan struct{})
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
		io.Copy(io.Discard, buffered) // the end of one direction
		<-ended
	})
	defer close(ended)
	p := start(t, tlsctx.HTTP1, with(to(plain(t, address, tlsctx.HTTP1)), func(c *Config) { c.Timeouts.HalfOpen = time.Millisecond }))
	c := p.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
	if r, err := http.ReadResponse(c.r, nil); err != nil || r.StatusCode != 101 {
		t.Fatal(r, err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c.r); err == nil || len(rest) > 0 {
		t.Errorf("got %q, %v, want a reset", rest, err)
	}
	p.await("record", func() bool { return len(p.records) == 1 })
	if r := p.records[0]; r.Reason != HalfOpen {
		t.Errorf("recorded %+v", r)
	}
}

// TestIdleHTTP2: a connection of HTTP/2 without requests ends in order.
func TestIdleHTTP2(t *testing.T) {
	p := start(t, tlsctx.HTTP2, with(to(new(peerServer).session(t)), func(c *Config) { c.Timeouts.Idle = time.Millisecond }))
	s := session(t, p.address)
	<-s.Done()
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

// TestRewrite: what Open changes of a request is what goes upstream.
func TestRewrite(t *testing.T) {
	r := record(t)
	up := plain(t, r.address, tlsctx.HTTP1)
	p := start(t, tlsctx.HTTP1, Config{Open: func(_ context.Context, ask *Ask) (Choice, error) {
		ask.Request.Path, ask.Request.Authority = "/other", "elsewhere"
		ask.Request.Fields = append(ask.Request.Fields, message.Field{Name: "added", Value: "1"})
		return Choice{Upstream: up}, nil
	}})
	c := p.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.response("GET")
	if got := r.all()[0]; got != "GET /other HTTP/1.1\r\nhost: elsewhere\r\nadded: 1\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestSessionThatServedAndEnded: whoever waits for a session that the server has
// taken, and that others have used up before the waiter gets to run, hears that it
// was taken: its request then goes elsewhere, as nothing of it was sent. It is not
// told that there is no way to the server.
func TestSessionThatServedAndEnded(t *testing.T) {
	s := (&peerServer{}).session(t)
	if err := s.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Retire()
	<-s.Done()
	for range 100 { // a choice between two that are true is random
		if err := s.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
