//go:build !race

package h2

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// canned is a connection whose reader is never called: what a peer sends is fed.
type canned struct {
	net.Conn
	written int
}

func (c *canned) Write(b []byte) (int, error)      { c.written += len(b); return len(b), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) Read([]byte) (int, error)         { return 0, io.EOF }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// replying is a handler that answers each request at once, from fields that it
// keeps, and gives its streams back.
type replying struct {
	response Headers
	body     []byte
}

func (h *replying) Ready(*Conn)   {}
func (h *replying) Changed(*Conn) {}

func (h *replying) Accept(s *Stream, _ *Headers, _ bool) StreamHandler {
	_ = s.SendHeaders(&h.response, false)
	chunk, _ := ChunkOf(h.body)
	s.Send(chunk, true)
	return h
}

func (h *replying) Headers(*Stream, *Headers, bool) {}
func (h *replying) Sent(*Stream, int)               {}
func (h *replying) Closed(s *Stream, _ *Error)      { s.Release() }
func (h *replying) Data(s *Stream, chunk Chunk, _ bool) {
	s.Consumed(chunk.Len())
	chunk.Release()
}

// TestRequestAllocs: a request with twenty fields, five of them never seen
// before, and its response cost the strings of the one block, and nothing else.
func TestRequestAllocs(t *testing.T) {
	h := &replying{body: make([]byte, 64), response: Headers{Kind: Response, Status: 200}}
	for i := range 20 {
		h.response.Fields = append(h.response.Fields, Field{Name: fmt.Sprint("x-field-", i), Value: fmt.Sprint("value ", i)})
	}
	c := New(&canned{}, Server, Config{}, h)
	settings := make([]byte, frameHeaderLen)
	frame{kind: frameSettings}.put(settings)
	if err := c.in.feed(nil, append([]byte(preface), settings...)); err != nil {
		t.Fatal(err)
	}
	const runs = 500
	encoder, id := newEncoder(), uint32(1)
	var requests [][]byte
	for i := range runs + 2 {
		request := get("/path")
		for j := range 20 {
			value := fmt.Sprint("value ", j)
			if j < 5 {
				value = fmt.Sprint("unique ", i, j)
			}
			request.Fields = append(request.Fields, Field{Name: fmt.Sprint("x-field-", j), Value: value})
		}
		block := encoder.block(nil, request)
		f := make([]byte, frameHeaderLen)
		frame{length: len(block), kind: frameHeaders, flags: flagEndHeaders | flagEndStream, stream: id}.put(f)
		requests = append(requests, append(f, block...))
		id += 2
	}
	next := 0
	one := func() {
		if err := c.in.feed(nil, requests[next]); err != nil {
			t.Fatal(err)
		}
		next++
		// What the writer does, without its goroutine.
		c.mu.Lock()
		pending, ended := c.out.pending, c.out.ended
		c.out.pending, c.out.ended, c.out.bytes = c.out.pending[:0], c.out.ended[:0], 0
		c.mu.Unlock()
		for _, s := range pending {
			s.buf.release()
		}
		for _, s := range ended {
			s.closed()
		}
	}
	one()
	if n := testing.AllocsPerRun(runs, one); n > 2 {
		t.Errorf("%v allocations a request, want at most 2", n)
	}
}

// TestIdleConnectionMemory: a connection that has been used and is idle holds no
// buffer, and no stream.
func TestIdleConnectionMemory(t *testing.T) {
	const pairs = 100
	var conns []*running
	for range pairs {
		near, far := tcpPair(t)
		conns = append(conns, run(t, far, Server, Config{}, handlerFuncs{accept: acceptEcho}))
		ready := make(chan struct{})
		client := run(t, near, Client, Config{}, handlerFuncs{ready: func(*Conn) { close(ready) }})
		conns = append(conns, client)
		<-ready
		e := &exchange{done: make(chan struct{})}
		s, err := client.Open(get("/"), false, e)
		if err != nil {
			t.Fatal(err)
		}
		chunk, _ := ChunkOf(make([]byte, 50_000))
		s.Send(chunk, true)
		<-e.done
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	for _, c := range conns {
		c.mu.Lock()
		if len(c.out.pending) != 0 || len(c.streams) != 0 || c.in.buf != nil {
			t.Errorf("an idle connection holds %d segments, %d streams, a buffer: %v", len(c.out.pending), len(c.streams), c.in.buf != nil)
		}
		c.mu.Unlock()
	}
	t.Logf("%d bytes of heap a connection, TCP sockets included", before/uint64(len(conns)))
	if each := before / uint64(len(conns)); each > 30<<10 {
		t.Errorf("%d bytes of heap a connection", each)
	}
}
