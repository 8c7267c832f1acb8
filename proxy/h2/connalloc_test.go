//go:build !race

package h2

import (
	"runtime"
	"testing"
)

// TestRequestAllocs: a request with twenty fields, five of them never seen
// before, and its response cost the strings of the one block, and nothing else.
func TestRequestAllocs(t *testing.T) {
	h := &replying{body: make([]byte, 64), response: Headers{Kind: Response, Status: 200}}
	h.response.Fields = fieldsOf(0)
	c := served(t, h)
	const runs = 500
	encoder, id := newEncoder(), uint32(1)
	var requests [][]byte
	for i := range runs + 2 {
		requests = append(requests, requestFrame(encoder, id, i))
		id += 2
	}
	next := 0
	one := func() {
		if err := c.in.feed(nil, requests[next]); err != nil {
			t.Fatal(err)
		}
		next++
		c.writeNothing()
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
