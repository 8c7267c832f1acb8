//go:build !race

package http

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// fields twenty fields as a program might send, of which five differ from one
// request to the next.
func fieldLines(n int) string {
	var b strings.Builder
	for i := range 15 {
		fmt.Fprintf(&b, "x-same-%d: the same value for every request\r\n", i)
	}
	for i := range 5 {
		fmt.Fprintf(&b, "x-unique-%d: %08d-%d\r\n", i, n, i)
	}
	return b.String()
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
	body := strings.Repeat("y", 64)
	var answers [][]byte
	for i := range 64 {
		answers = append(answers, []byte("HTTP/1.1 200 OK\r\ncontent-length: 64\r\n"+fieldLines(i)+"\r\n"+body))
	}
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 1<<16)
				for i, n := 0, 0; ; {
					m, err := conn.Read(buf[n:])
					if err != nil {
						return
					}
					n += m
					if end := bytes.Index(buf[:n], []byte("\r\n\r\n")); end >= 0 && n >= end+4+64 {
						conn.Write(answers[i%len(answers)])
						i++
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
	var requests [][]byte
	for i := range 64 {
		requests = append(requests, []byte("POST /path HTTP/1.1\r\nhost: app\r\ncontent-length: 64\r\n"+fieldLines(i)+"\r\n"+strings.Repeat("x", 64)))
	}
	buf := make([]byte, 1<<16)
	i := 0
	one := func() {
		c.Write(requests[i%len(requests)])
		i++
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

// TestAllocations: at most five allocations a request over HTTP/1 on the steady path,
// twenty fields each way, five of them new each time; over a pair, with what package
// h2 allocates.
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
	if both > 24 {
		t.Errorf("a pair: %.1f allocations a request", both)
	}
}
