//go:build !race

package tunnel

import (
	"io"
	"net"
	"runtime"
	"testing"
)

// TestIdleStreamMemory: a stream that carried something and is idle holds no
// buffer at either end of the session.
func TestIdleStreamMemory(t *testing.T) {
	const idle = 500
	servers := make(chan *net.TCPConn, 1)
	m := newMuxed(t, Config{}, forwardTo(func() *net.TCPConn {
		up, server := tcpPair(t)
		servers <- server
		return up
	}))
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc + s.StackInuse
	}
	before := measure()
	for range idle {
		client, down := tcpPair(t)
		up := m.open(t, Info{})
		go func() { _ = Pipe{Down: down, Up: up}.Run(t.Context()) }()
		server := <-servers
		go func() { _, _ = client.Write(make([]byte, 50_000)) }()
		if _, err := io.ReadFull(server, make([]byte, 50_000)); err != nil {
			t.Fatal(err)
		}
		_, _ = server.Write([]byte("x"))
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	each := int64(measure()-before) / idle
	t.Logf("%d bytes of heap and stacks an idle stream: both proxies and both applications' sockets", each)
	if each > 64<<10 {
		t.Errorf("%d bytes an idle stream", each)
	}
}
