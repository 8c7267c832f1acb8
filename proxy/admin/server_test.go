package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// serve runs a port until the test ends, and returns its address.
func serve(t *testing.T, listener net.Listener, handler http.Handler) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, listener, handler, zap.NewNop()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func dial(t *testing.T, to net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// status sends a request as it is and returns the status of the answer.
func status(t *testing.T, conn net.Conn, request string) int {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.40q: %v", request, err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func TestServe(t *testing.T) {
	for _, test := range []struct{ network, address, host string }{
		{"tcp", "127.0.0.1:0", ""}, {"tcp", "[::1]:0", ""}, {"unix", filepath.Join(t.TempDir(), "admin.sock"), "whatever"},
	} {
		listener := listen(t, test.network, test.address)
		serve(t, listener, Operator(everything()))
		host := test.host
		if host == "" {
			host = listener.Addr().String()
		}
		for request, want := range map[string]int{
			"GET /healthz HTTP/1.1\r\nHost: " + host + "\r\n\r\n":                        200,
			"HEAD /peers HTTP/1.1\r\nHost: " + host + "\r\n\r\n":                         200,
			"OPTIONS * HTTP/1.1\r\nHost: " + host + "\r\n\r\n":                           405,
			"POST /config HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 1\r\n\r\nx":  405,
			"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":        403, // the target's host counts
			"GET /healthz HTTP/1.1\r\n\r\n":                                              400,
			"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n":     400,
			"GET / HTTP/1.1\r\nHost: " + host + "\r\nX: " + big(64<<10) + "\r\n\r\n":     431,
			"GET /" + big(64<<10) + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n":            431,
			"GET /../../etc/passwd HTTP/1.1\r\nHost: " + host + "\r\n\r\n":               307, // to /etc/passwd, which there is not
			"GET /healthz HTTP/1.1\r\nHost: " + host + "\r\nOrigin: http://evil\r\n\r\n": 403,
		} {
			if test.network == "unix" && want == 403 && !strings.Contains(request, "Origin") {
				continue // no browser gets there
			}
			if got := status(t, dial(t, listener.Addr()), request); got != want {
				t.Errorf("%s: %.60q: %d, want %d", test.network, request, got, want)
			}
		}
	}
}

func big(n int) string { return strings.Repeat("x", n) }

// TestLimits has one address take all it can get: another is served all the
// same, and the first again when it lets go.
func TestLimits(t *testing.T) {
	listener := limit(listen(t, "tcp", "127.0.0.1:0"), 3, 2)
	defer listener.Close()
	accepted := make(chan net.Conn)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	from := func(source string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		conn, err := d.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dropped := func(conn net.Conn) {
		t.Helper()
		if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
			t.Error("a connection past the limit is held")
		}
	}
	from("127.0.0.1")
	first := <-accepted
	from("127.0.0.1")
	second := <-accepted
	dropped(from("127.0.0.1")) // past that of the address
	from("127.0.0.2")
	third := <-accepted
	dropped(from("127.0.0.3")) // past that of all
	_ = first.Close()
	_ = first.Close() // gives one place back, not two
	from("127.0.0.3")
	fourth := <-accepted
	dropped(from("127.0.0.4"))
	for _, conn := range []net.Conn{second, third, fourth} {
		_ = conn.Close()
	}
	_ = listener.Close()
	<-done
	if listener.open != 0 || len(listener.sources) != 0 {
		t.Errorf("%d open, sources %v", listener.open, listener.sources)
	}
}

// TestServeEnds ends a port while it answers.
func TestServeEnds(t *testing.T) {
	listener := listen(t, "tcp", "127.0.0.1:0")
	begun := make(chan struct{})
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done() // ends with the port
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Serve(ctx, listener, handler, zap.NewNop()) }()
	conn := dial(t, listener.Addr())
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}

// TestServeFails has the listener taken away.
func TestServeFails(t *testing.T) {
	listener := listen(t, "tcp", "127.0.0.1:0")
	_ = listener.Close()
	if err := Serve(t.Context(), listener, http.NotFoundHandler(), zap.NewNop()); err == nil || !strings.Contains(err.Error(), "admin: serve") {
		t.Errorf("Serve = %v", err)
	}
}
