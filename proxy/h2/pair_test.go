package h2

import (
	"context"
	"net"
	"testing"
)

// tcpPair returns both ends of a TCP connection over loopback.
func tcpPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	return near, far
}

// handlerFuncs is a Handler of functions, any of which may be nil.
type handlerFuncs struct {
	ready, changed func(*Conn)
	accept         func(*Stream, *Headers, bool) StreamHandler
}

func (h handlerFuncs) Ready(c *Conn) {
	if h.ready != nil {
		h.ready(c)
	}
}

func (h handlerFuncs) Changed(c *Conn) {
	if h.changed != nil {
		h.changed(c)
	}
}

func (h handlerFuncs) Accept(s *Stream, head *Headers, end bool) StreamHandler {
	if h.accept == nil {
		return nil
	}
	return h.accept(s, head, end)
}

// echo answers each request with 200 and what it is sent.
type echo struct{}

func (echo) Headers(s *Stream, h *Headers, end bool) {
	if end {
		_ = s.SendHeaders(&Headers{Kind: Trailers, Fields: h.Fields}, true)
	}
}

func (echo) Data(s *Stream, chunk Chunk, end bool) { s.Consumed(s.Send(chunk, end)) }
func (echo) Sent(s *Stream, n int)                 { s.Consumed(n) }
func (echo) Closed(*Stream, *Error)                {}

func acceptEcho(s *Stream, h *Headers, end bool) StreamHandler {
	_ = s.SendHeaders(&Headers{Kind: Response, Status: 200, Fields: h.Fields}, end)
	return echo{}
}

// running is a connection whose Run a test waits for.
type running struct {
	*Conn
	err chan error
}

// run starts a connection that ends with the test.
func run(t testing.TB, conn net.Conn, role Role, config Config, handler Handler) *running {
	t.Helper()
	r := &running{Conn: New(conn, role, config, handler), err: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { r.err <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-r.Done()
	})
	return r
}

// pipe returns both ends of a connection without any buffer.
func pipe() (near, far net.Conn) { return net.Pipe() }
