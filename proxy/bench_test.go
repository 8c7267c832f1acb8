package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// BenchmarkConnect is a new connection through the pair, with a short exchange:
// both proxies, the client and the application together.
func BenchmarkConnect(b *testing.B) {
	p := newPair(b, echo(b), nil, nil)
	b.SetParallelism(4)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		buffer := make([]byte, 64)
		for pb.Next() {
			c, err := net.Dial("tcp", p.address)
			if err != nil {
				b.Error(err)
				return
			}
			_, err = c.Write(buffer)
			if err == nil {
				_, err = io.ReadFull(c, buffer)
			}
			_ = c.Close()
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkRequest is a request of HTTP/1.1 through the pair on a connection that
// is kept: both proxies, a client that does little, and an application that does
// as much.
func BenchmarkRequest(b *testing.B) {
	const answer = "HTTP/1.1 200 OK\r\ncontent-length: 64\r\ncontent-type: text/plain\r\n\r\n" +
		"0123456789012345678901234567890123456789012345678901234567890123"
	app := serve(b, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			if req, err := http.ReadRequest(r); err != nil || req.Body.Close() != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	p := newPair(b, app, nil, nil)
	var served atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buffer := make([]byte, 4096)
		for pb.Next() {
			if _, err := io.WriteString(c, "GET /hello HTTP/1.1\r\nhost: app.example\r\nuser-agent: bench\r\naccept: */*\r\n\r\n"); err != nil {
				b.Error(err)
				return
			}
			got := 0
			for got < 200 { // the head and the body come together or not
				n, err := c.Read(buffer[got:])
				if err != nil {
					b.Error(err)
					return
				}
				if got += n; got >= 64 && buffer[got-1] == '3' && string(buffer[got-10:got]) == "4567890123" {
					break
				}
			}
			served.Add(1)
		}
	})
}
