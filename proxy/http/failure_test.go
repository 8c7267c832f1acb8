package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestFailures: what the proxy answers itself.
func TestFailures(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	hangs := app(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // or net/http does not notice that the client is gone
		<-r.Context().Done()
	})
	for _, c := range []struct {
		name   string
		config Config
		status int
		grpc   string
		error  string
		reason Reason
	}{
		{"no route", Config{Open: func(context.Context, *Ask) (Choice, error) {
			return Choice{}, &Failure{Reason: NoRoute}
		}}, 404, "12", "destination_not_found", NoRoute},
		{"denied", Config{Open: func(context.Context, *Ask) (Choice, error) {
			return Choice{}, fmt.Errorf("policy: %w", &Failure{Reason: Denied})
		}}, 403, "7", "http_request_denied", Denied},
		{"another error", Config{Open: func(context.Context, *Ask) (Choice, error) {
			return Choice{}, errors.New("no endpoint")
		}}, 503, "14", "connection_refused", UpstreamRefused},
		{"refused", to(plain(t, closed.Addr().String(), tlsctx.HTTP1)), 503, "14", "connection_refused", UpstreamRefused},
		{"refused, h2", to(plain(t, closed.Addr().String(), tlsctx.HTTP2)), 503, "14", "connection_refused", UpstreamRefused},
		{"timeout", with(to(plain(t, hangs, tlsctx.HTTP1)), func(c *Config) { c.Timeouts.Request = time.Millisecond }), 504, "4", "http_response_timeout", Timeout},
		{"timeout of a try, h2", with(to(plain(t, hangs, tlsctx.HTTP2)), func(c *Config) { c.Timeouts.Try = time.Millisecond }), 504, "4", "http_response_timeout", Timeout},
	} {
		for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
			t.Run(fmt.Sprintf("%s %s", c.name, down), func(t *testing.T) {
				p := start(t, down, c.config)
				for i, kind := range []string{"text/html", "application/grpc+proto"} {
					r, _ := http.NewRequest("POST", "http://"+p.address+"/x", strings.NewReader("content"))
					r.Header.Set("Content-Type", kind)
					res, err := client(t, down).Do(r)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err != nil {
						t.Fatal(err)
					}
					want := "hallmark; error=" + c.error + `; details="` + string(c.reason) + `"`
					if got := res.Header.Get("Proxy-Status"); got != want {
						t.Errorf("Proxy-Status %q, want %q", got, want)
					}
					if i == 0 && (res.StatusCode != c.status || len(body) == 0 || res.ContentLength != int64(len(body))) {
						t.Errorf("got %d, %q", res.StatusCode, body)
					}
					if i == 1 && (res.StatusCode != 200 || len(body) != 0 || res.Header.Get("Grpc-Status") != c.grpc || res.Header.Get("Grpc-Message") == "") {
						t.Errorf("got %d, %q, %v", res.StatusCode, body, res.Header)
					}
					p.await("record", func() bool { return len(p.records) == i+1 })
					if r := p.records[i]; r.Reason != c.reason || r.Status != res.StatusCode {
						t.Errorf("recorded %+v", r)
					}
				}
			})
		}
	}
}

func with(c Config, change func(*Config)) Config {
	change(&c)
	return c
}

// misbehaving is a server that answers the n-th connection's requests by a
// script: each entry is what it writes after a request, then it closes.
func misbehaving(t *testing.T, script func(conn, request int) string) string {
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
		for n := 0; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serveScript(conn, func(request int) string { return script(n, request) })
		}
	}()
	return listener.Addr().String()
}

// serveScript reads requests, of no content or three bytes, and answers them until
// an answer says to close.
func serveScript(conn net.Conn, script func(request int) string) {
	defer conn.Close()
	buf := make([]byte, 1<<16)
	for i := 0; ; i++ {
		for n := 0; ; {
			m, err := conn.Read(buf[n:])
			if err != nil {
				return
			}
			n += m
			head, content, ok := strings.Cut(string(buf[:n]), "\r\n\r\n")
			if ok && (len(content) == 3 || !strings.Contains(head, "content-length: 3")) {
				break
			}
		}
		text, goOn := strings.CutSuffix(script(i), "KEEP")
		io.WriteString(conn, text)
		if !goOn {
			return
		}
	}
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestRetry: a connection that has carried requests may end when the next is
// sent; a request that may be repeated is, once, on another connection.
func TestRetry(t *testing.T) {
	for _, c := range []struct {
		method   string
		status   int
		attempts int
	}{{"GET", 200, 2}, {"PUT", 200, 2}, {"DELETE", 200, 2}, {"POST", 502, 1}, {"PATCH", 502, 1}} {
		t.Run(c.method, func(t *testing.T) {
			address := misbehaving(t, func(conn, request int) string {
				if request == 0 {
					return okay + "KEEP"
				}
				return "" // closes without a byte
			})
			p := start(t, tlsctx.HTTP1, to(plain(t, address, tlsctx.HTTP1)))
			conn := p.dial()
			for i, status := range []int{200, c.status} {
				conn.send(c.method + " / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
				if r, _ := conn.response("GET"); r.StatusCode != status {
					t.Fatalf("request %d: got %d, want %d", i, r.StatusCode, status)
				}
			}
			p.await("records", func() bool { return len(p.records) == 2 })
			if got := p.records[1].Attempts; got != c.attempts {
				t.Errorf("%d attempts, want %d", got, c.attempts)
			}
		})
	}
}

// stale is an upstream whose connections take nothing more when a request comes,
// so many times.
type stale struct {
	Upstream
	left int
}

func (u *stale) attempt(x *exchange) attempt {
	up := u.Upstream.attempt(x)
	if u.left--; u.left >= 0 {
		return &staleAttempt{up}
	}
	return up
}

type staleAttempt struct{ attempt }

func (a *staleAttempt) request(*message.Request, bool) *Failure {
	return failureOf2(h2.ErrUnavailable)
}

// TestUnsentAttempts: connections that end just before a request is sent do not
// count as attempts to send it, within reason.
func TestUnsentAttempts(t *testing.T) {
	address := app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	for times, want := range map[int]int{
		maxUnsent: http.StatusOK, maxUnsent + 2: http.StatusOK, maxUnsent + 3: http.StatusBadGateway,
	} {
		p := start(t, tlsctx.HTTP1, to(&stale{plain(t, address, tlsctx.HTTP2), times}))
		res, err := client(t, tlsctx.HTTP1).Post("http://"+p.address, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("after %d stale connections: got %d, want %d", times, res.StatusCode, want)
		}
	}
}

// TestNoRetry: what has been answered in part is not asked for again, nor is
// what failed on a new connection.
func TestNoRetry(t *testing.T) {
	for name, answer := range map[string]string{"part": "HTTP/1.1 2", "nothing": ""} {
		var requests atomic.Int32
		address := misbehaving(t, func(conn, request int) string {
			requests.Add(1)
			return answer
		})
		p := start(t, tlsctx.HTTP1, to(plain(t, address, tlsctx.HTTP1)))
		c := p.dial()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if r, _ := c.response("GET"); r.StatusCode != 502 || requests.Load() != 1 {
			t.Errorf("%s: got %d after %d requests", name, r.StatusCode, requests.Load())
		}
	}
}

// TestUpstreamMalformed: a response that is none is answered for.
func TestUpstreamMalformed(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
		"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"SSH-2.0-x\r\n\r\n",
		strings.Repeat("HTTP/1.1 103 x\r\n\r\n", 40),
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 1<<16) + "\r\n\r\n",
	} {
		for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
			p := start(t, down, to(plain(t, misbehaving(t, func(int, int) string { return answer }), tlsctx.HTTP1)))
			res, err := client(t, down).Get("http://" + p.address)
			if err != nil {
				if strings.Contains(err.Error(), "too many 1xx") || strings.Contains(err.Error(), "1xx") {
					continue // the client has its own limit
				}
				t.Fatalf("%.60q: %v", answer, err)
			}
			res.Body.Close()
			if res.StatusCode != 502 || !strings.Contains(res.Header.Get("Proxy-Status"), "upstream_malformed") {
				t.Errorf("%.60q to %s: got %d, %v", answer, down, res.StatusCode, res.Header)
			}
		}
	}
}

// TestDrain: a connection ends after the request that it has.
func TestDrain(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-goOn
		io.WriteString(w, "ok")
	})
	for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
		p := start(t, down, to(plain(t, address, tlsctx.HTTP1)))
		idle := p.dial()
		ended := make(chan error, 1)
		go func() {
			res, err := client(t, down).Get("http://" + p.address)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				if down == tlsctx.HTTP1 && !res.Close {
					err = errors.New("not told to close")
				}
			}
			ended <- err
		}()
		<-begun
		p.drain()
		if down == tlsctx.HTTP1 {
			idle.ended()
		}
		goOn <- struct{}{}
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", down, err)
		}
	}
}

// TestCancelParked: a client that goes away while its request waits for a
// connection ends the waiting.
func TestCancelParked(t *testing.T) {
	waiting, gone := make(chan struct{}), make(chan struct{})
	for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
		p := start(t, down, Config{Open: func(ctx context.Context, _ *Ask) (Choice, error) {
			waiting <- struct{}{}
			<-ctx.Done()
			gone <- struct{}{}
			return Choice{}, ctx.Err()
		}})
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+p.address, nil)
		ended := make(chan error, 1)
		go func() {
			_, err := client(t, down).Do(r)
			ended <- err
		}()
		<-waiting
		cancel()
		<-gone
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", down, err)
		}
		p.await("record", func() bool { return len(p.records) == 1 })
		if r := p.records[0]; r.Reason != ClientGone || r.Attempts != 0 {
			t.Errorf("%s: recorded %+v", down, r)
		}
	}
}

// TestForced: when the context of a connection ends, so do its requests.
func TestForced(t *testing.T) {
	begun, gone := make(chan struct{}), make(chan struct{})
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
		relay := New(to(plain(t, address, tlsctx.HTTP1)))
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			conn, err := listener.Accept()
			if err == nil {
				err = relay.Serve(ctx, Connection{Conn: conn, Protocol: down, Source: &Source{}})
			}
			served <- err
		}()
		ended := make(chan error, 1)
		go func() {
			_, err := client(t, down).Get("http://" + listener.Addr().String())
			ended <- err
		}()
		<-begun
		cancel()
		<-gone
		if err := <-served; err == nil {
			t.Errorf("%s: ended in order", down)
		}
		listener.Close() // net/http tries again otherwise
		if err := <-ended; err == nil {
			t.Errorf("%s: was answered", down)
		}
	}
}
