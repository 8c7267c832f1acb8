package detect_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/detect"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// socketPair returns both ends of a connection of real sockets.
func socketPair(t *testing.T, network string) (near, far detect.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return c.(detect.Conn), s.(detect.Conn)
}

// overSockets returns a race whose server's ends come out of the channel.
func overSockets(t *testing.T, network string) (detect.Race, chan detect.Conn) {
	servers := make(chan detect.Conn, 4)
	return detect.Race{
		Settle: time.Hour, // nothing here may depend on it
		Open: func(context.Context, tlsctx.Protocol) (detect.Conn, error) {
			near, far := socketPair(t, network)
			servers <- far
			return near, nil
		},
	}, servers
}

// eachNetwork runs a test over both kinds of sockets.
func eachNetwork(t *testing.T, test func(t *testing.T, network string)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) { test(t, network) })
	}
}

// bare fails the test if a connection is not the socket itself.
func bare(t *testing.T, c net.Conn) {
	t.Helper()
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		if runtime.GOOS == "linux" {
			t.Errorf("the connection to go on with is a %T, want the socket itself", c)
		}
	}
}

// TestSocketsStayAsTheyWere sends every example byte by byte.
func TestSocketsStayAsTheyWere(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network string) {
		for name, c := range clientFirst {
			r, servers := overSockets(t, network)
			client, down := socketPair(t, network)
			go func() {
				for i := range len(c.bytes) {
					_, _ = io.WriteString(client, c.bytes[i:i+1])
					runtime.Gosched()
				}
				_ = client.CloseWrite()
			}()
			res, err := r.Run(t.Context(), down)
			if err != nil || res.Protocol != c.protocol {
				t.Errorf("%s: %s, %v; want %s", name, res.Protocol, err, c.protocol)
				continue
			}
			bare(t, res.Down)
			bare(t, res.Up)
			if got := all(t, res.Down); got != c.bytes {
				t.Errorf("%s: %q is left to read of %q", name, got, c.bytes)
			}
			for range len(servers) {
				_ = (<-servers).Close()
			}
			_ = res.Up.Close()
		}
	})
}

func TestServerSpeaksFirstOnSockets(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network string) {
		for name, c := range serverFirst {
			r, servers := overSockets(t, network)
			client, down := socketPair(t, network)
			go func() {
				server := <-servers
				for i := range len(c.bytes) {
					_, _ = io.WriteString(server, c.bytes[i:i+1])
					runtime.Gosched()
				}
				_ = server.CloseWrite()
			}()
			res, err := r.Run(t.Context(), down)
			if err != nil || res.Protocol != c.protocol || res.How != detect.ByServer || !res.Adopted {
				t.Errorf("%s: %+v, %v; want %s", name, res, err, c.protocol)
				continue
			}
			bare(t, res.Down)
			bare(t, res.Up)
			if got := all(t, res.Up); got != c.bytes {
				t.Errorf("%s: %q is left to read of %q", name, got, c.bytes)
			}
			_, _ = client.Close(), res.Up.Close()
		}
	})
}

// TestHalfCloseBeforeAByte ends the client's half before, and in the middle of,
// anything that decides.
func TestHalfCloseBeforeAByte(t *testing.T) {
	eachNetwork(t, func(t *testing.T, network string) {
		for _, sent := range []string{"", "GE", "\x16\x03", hello("")[:100]} {
			r, servers := overSockets(t, network)
			client, down := socketPair(t, network)
			_, _ = io.WriteString(client, sent)
			_ = client.CloseWrite()
			res, err := r.Run(t.Context(), down)
			if err != nil || res.How != detect.ByEnd {
				t.Fatalf("%q: %+v, %v", sent, res, err)
			}
			if got := all(t, res.Down); got != sent {
				t.Errorf("%q is left to read of %q", got, sent)
			}
			server := <-servers
			go func() {
				_, _ = io.WriteString(res.Up, sent)
				_ = res.Up.CloseWrite()
			}()
			if got := all(t, server); got != sent {
				t.Errorf("the server got %q, want %q and the end", got, sent)
			}
			_, _ = server.Close(), res.Up.Close()
		}
	})
}

// TestResetIsAnError resets the client's connection, and the server's: the other
// side is to be reset too, and peeking has taken the reset off the socket.
func TestResetIsAnError(t *testing.T) {
	for _, who := range []string{"client", "server"} {
		r, servers := overSockets(t, "tcp")
		client, down := socketPair(t, "tcp")
		ended := make(chan error, 1)
		go func() {
			_, err := r.Run(t.Context(), down)
			ended <- err
		}()
		broken := <-servers
		if who == "client" {
			broken = client
		}
		_ = broken.(*net.TCPConn).SetLinger(0)
		_ = broken.Close()
		if err := <-ended; !errors.Is(err, syscall.ECONNRESET) || !strings.Contains(err.Error(), who) {
			t.Errorf("the %s reset: %v", who, err)
		}
	}
}

// TestOverTLS races where both sides are TLS, whose bytes must be read.
func TestOverTLS(t *testing.T) {
	certificate := selfSigned(t)
	secure := func() (near, far detect.Conn) {
		a, b := socketPair(t, "tcp")
		server := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{certificate}})
		done := make(chan error, 1)
		go func() { done <- server.Handshake() }()
		client := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
		if err := errors.Join(client.Handshake(), <-done); err != nil {
			t.Fatal(err)
		}
		return client, server
	}
	client, down := secure()
	servers := make(chan detect.Conn, 1)
	r := detect.Race{Open: func(context.Context, tlsctx.Protocol) (detect.Conn, error) {
		near, far := secure()
		servers <- far
		return near, nil
	}}
	go func() {
		server := <-servers // the grace is over: it was opened on speculation
		_, _ = io.WriteString(server, mysqlGreeting)
		_ = server.CloseWrite()
	}()
	res, err := r.Run(t.Context(), down)
	if err != nil || res.Protocol != tlsctx.MySQL || res.How != detect.ByServer {
		t.Fatalf("%+v, %v", res, err)
	}
	go func() {
		_, _ = io.WriteString(client, "and the client later")
		_ = client.CloseWrite()
	}()
	if got := all(t, res.Down); got != "and the client later" {
		t.Errorf("the client's: %q is left to read", got)
	}
	if got := all(t, res.Up); got != mysqlGreeting {
		t.Errorf("the server's: %q is left to read", got)
	}
	if err := res.Up.CloseWrite(); err != nil {
		t.Errorf("close the writing half: %v", err)
	}
}

// TestHandshakeAfterTheRace completes a handshake on what a race says is ours.
func TestHandshakeAfterTheRace(t *testing.T) {
	client, down := socketPair(t, "tcp")
	r := detect.Race{Ours: func(h detect.Hello) bool { return h.Aware() }}
	done := make(chan error, 1)
	go func() {
		c := tls.Client(client, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"hallmark/1/raw/unknown"}})
		done <- c.Handshake()
	}()
	res, err := r.Run(t.Context(), down)
	if err != nil || !res.Ours || res.Hello.ServerName != "" {
		t.Fatalf("%+v, %v", res, err)
	}
	bare(t, res.Down)
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, NextProtos: res.Hello.Protocols}
	if err := errors.Join(tls.Server(res.Down, config).Handshake(), <-done); err != nil {
		t.Error(err)
	}
}
