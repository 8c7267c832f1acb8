//go:build !race

package http

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// numbered is a message with twenty fields as a program might send, of which
// five differ from one message to the next, and 64 bytes of content.
type numbered struct {
	bytes []byte
	at    []int // of the numbers in it
	n     int
}

func newNumbered(first string) *numbered {
	var b strings.Builder
	b.WriteString(first + "\r\ncontent-length: 64\r\n")
	m := &numbered{}
	for i := range 14 {
		fmt.Fprintf(&b, "x-same-%d: the same value for every request\r\n", i)
	}
	for i := range 5 {
		fmt.Fprintf(&b, "x-unique-%d: ", i)
		m.at = append(m.at, b.Len())
		b.WriteString("00000000\r\n")
	}
	b.WriteString("\r\n" + strings.Repeat("x", 64))
	m.bytes = []byte(b.String())
	return m
}

// next returns the next message, without an allocation.
func (m *numbered) next() []byte {
	m.n++
	for i, at := range m.at {
		for digit, n := 7, m.n*5+i; digit >= 0; digit, n = digit-1, n/10 {
			m.bytes[at+digit] = byte('0' + n%10)
		}
	}
	return m.bytes
}

// allocating answers every request of 64 bytes with 64 bytes and twenty fields,
// without an allocation of its own.
func allocating(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf, answer := make([]byte, 1<<16), newNumbered("HTTP/1.1 200 OK")
				for n := 0; ; {
					m, err := conn.Read(buf[n:])
					if err != nil {
						return
					}
					n += m
					if end := bytes.Index(buf[:n], []byte("\r\n\r\n")); end >= 0 && n >= end+4+64 {
						conn.Write(answer.next())
						n = 0
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// allocationsPerRequest measures all proxies of this process together.
func allocationsPerRequest(t *testing.T, p *proxy) float64 {
	t.Helper()
	c := p.dial()
	c.SetDeadline(time.Time{})
	request := newNumbered("POST /path HTTP/1.1\r\nhost: app")
	buf := make([]byte, 1<<16)
	one := func() {
		c.Write(request.next())
		for n := 0; ; {
			m, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
			if end := bytes.Index(buf[:n], []byte("\r\n\r\n")); end >= 0 && n >= end+4+64 {
				return
			}
		}
	}
	for range 200 {
		one()
	}
	return testing.AllocsPerRun(2000, one)
}

// silent makes a config that neither records nor counts.
func silent(p *proxy) *proxy {
	p.relay.config.Record, p.relay.config.Count = nil, nil
	return p
}

// TestAllocations: at most five allocations a request and proxy on the steady
// path, twenty fields each way, five of them new each time.
func TestAllocations(t *testing.T) {
	address := allocating(t)
	inbound := silent(start(t, tlsctx.HTTP2, to(plain(t, address, tlsctx.HTTP1))))
	outbound := silent(start(t, tlsctx.HTTP1, to(session(t, inbound.address))))
	one := allocationsPerRequest(t, silent(start(t, tlsctx.HTTP1, to(plain(t, address, tlsctx.HTTP1)))))
	both := allocationsPerRequest(t, outbound)
	t.Logf("HTTP/1 to HTTP/1: %.1f; HTTP/1 to HTTP/2 and HTTP/2 to HTTP/1 together: %.1f", one, both)
	if one > 5 {
		t.Errorf("HTTP/1 to HTTP/1: %.1f allocations a request", one)
	}
	if both > 10 {
		t.Errorf("a pair: %.1f allocations a request, more than five a proxy", both)
	}
}

// TestIdleMemory: what an idle connection of an application costs, its client in
// this process included, after it has carried a request.
func TestIdleMemory(t *testing.T) {
	const conns = 1000
	p := silent(start(t, tlsctx.HTTP1, to(plain(t, allocating(t), tlsctx.HTTP1))))
	request := newNumbered("POST /path HTTP/1.1\r\nhost: app")
	buf := make([]byte, 1<<16)
	one := func(c net.Conn) {
		if _, err := c.Write(request.next()); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], bytes.Repeat([]byte("x"), 64)); {
			m, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
	memory := func() uint64 {
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	first := p.dial()
	one(first)
	before := memory()
	for range conns {
		c := p.dial()
		one(c)
	}
	each := (int64(memory()) - int64(before)) / conns
	t.Logf("%d bytes for each idle connection, both ends", each)
	if each > 16<<10 {
		t.Errorf("%d bytes for each idle connection", each)
	}
}
