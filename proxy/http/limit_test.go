package http

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestSlow: a head or a body that does not come in time is answered with 408 and
// the connection ends; one without a request just ends.
func TestSlow(t *testing.T) {
	p := start(t, tlsctx.HTTP1, with(to(plain(t, app(t, echo), tlsctx.HTTP1)), func(c *Config) {
		c.Timeouts.Header, c.Timeouts.Body = time.Millisecond, time.Millisecond
	}))
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\nA:",
		"GE", "\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA",
	} {
		c := p.dial()
		c.send(text)
		r, _ := c.response("GET")
		if r.StatusCode != 408 || !strings.Contains(r.Header.Get("Proxy-Status"), "request_timeout") {
			t.Errorf("%q: got %d, %v", text, r.StatusCode, r.Header)
		}
		c.ended()
	}
	idle := start(t, tlsctx.HTTP1, with(to(plain(t, app(t, echo), tlsctx.HTTP1)), func(c *Config) { c.Timeouts.Idle = time.Millisecond }))
	idle.dial().ended()
}

// TestNeverRead: clients that never read their responses stop themselves, and
// neither the fast ones on the same session nor the memory of the proxies.
func TestNeverRead(t *testing.T) {
	const size = 32 << 20
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			io.WriteString(w, "small")
			return
		}
		piece := make([]byte, 1<<20)
		for range size >> 20 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
		t.Run(string(down), func(t *testing.T) {
			outbound, _ := pair(t, down, address)
			c := client(t, down)
			var stalled []*http.Response
			defer func() {
				for _, r := range stalled {
					r.Body.Close()
				}
			}()
			for range stalledReaders {
				r, err := c.Get("http://" + outbound.address + "/large")
				if err != nil {
					t.Fatal(err)
				}
				stalled = append(stalled, r)
			}
			for range 200 {
				r, err := c.Get("http://" + outbound.address + "/small")
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(r.Body); err != nil || string(body) != "small" {
					t.Fatalf("got %q, %v", body, err)
				}
				r.Body.Close()
			}
			// Those that begin to read after all get everything.
			if n, err := io.Copy(io.Discard, stalled[0].Body); err != nil || n != size {
				t.Errorf("got %d bytes, %v", n, err)
			}
		})
	}
}

// TestNeverAnswered: the same in the other direction, a server that does not
// read.
func TestNeverAnswered(t *testing.T) {
	release := make(chan struct{})
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			return
		}
		<-release
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
		t.Run(string(down), func(t *testing.T) {
			outbound, _ := pair(t, down, address)
			c := client(t, down)
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					r, err := c.Post("http://"+outbound.address+"/large", "", io.LimitReader(zeros{}, 8<<20))
					if err != nil {
						t.Error(err)
						return
					}
					defer r.Body.Close()
					if body, err := io.ReadAll(r.Body); err != nil || string(body) != "8388608 <nil>" {
						t.Errorf("got %q, %v", body, err)
					}
				})
			}
			for range 100 {
				r, err := c.Get("http://" + outbound.address + "/small")
				if err != nil {
					t.Fatal(err)
				}
				r.Body.Close()
			}
			for range 10 {
				release <- struct{}{}
			}
			wg.Wait()
		})
	}
}

// stalledReaders is how many clients do not read, on one session.
const stalledReaders = 10

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestClosingBackend: a server that closes connections whenever it likes between
// requests costs no request that may be repeated.
func TestClosingBackend(t *testing.T) {
	var n atomic.Int64
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%7 == 0 { // closes without saying so
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			conn.Close()
			return
		}
		io.WriteString(w, "ok")
	})
	outbound, _ := pair(t, tlsctx.HTTP1, address)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := outbound.dial()
			for range 200 {
				c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				if r, body := c.response("GET"); r.StatusCode != 200 || body != "ok" {
					t.Errorf("got %d %v %q", r.StatusCode, r.Header, body)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestOverload: no more connections to the application than allowed.
func TestOverload(t *testing.T) {
	block := make(chan struct{})
	begun := make(chan struct{}, 2)
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-block
	})
	up := NewPlain(PlainConfig{Max: 1, Dial: plain(t, address, tlsctx.HTTP1).config.Dial})
	t.Cleanup(up.Close)
	p := start(t, tlsctx.HTTP1, to(up))
	first := p.dial()
	first.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-begun
	second := p.dial()
	second.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if r, _ := second.response("GET"); r.StatusCode != 503 || !strings.Contains(r.Header.Get("Proxy-Status"), "overload") {
		t.Errorf("got %d, %v", r.StatusCode, r.Header)
	}
	close(block)
	if r, _ := first.response("GET"); r.StatusCode != 200 {
		t.Errorf("got %d", r.StatusCode)
	}
}
