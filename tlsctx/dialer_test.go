package tlsctx

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
)

// countingServer answers every connection by serve and counts them.
func countingServer(t *testing.T, serve func(net.Conn)) (address string, dialled *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dialled = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return listener.Addr().String(), dialled
}

// byTLS serves one handshake of crypto/tls and waits for the client to close.
func byTLS(config *tls.Config) func(net.Conn) {
	return func(raw net.Conn) {
		conn := tls.Server(raw, config)
		if conn.Handshake() == nil {
			_, _ = conn.Read(make([]byte, 1))
		}
	}
}

// TestDialerGoesWithoutALPNInOneCaseOnly counts the connections: a second one
// only after alert 120, for a protocol without a registered identifier, where an
// unaware server will do.
func TestDialerGoesWithoutALPNInOneCaseOnly(t *testing.T) {
	m := newMesh(t)
	chain, key := chainOf(snapshotIn(t, m.server.Source))
	onlyFTP := peerOf(chain, key, "ftp")
	alert := func(description byte) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte{21, 3, 3, 0, 2, 2, description})
		}
	}
	for _, test := range []struct {
		name    string
		change  func(*ClientConfig)
		serve   func(net.Conn)
		dialled int32
		want    Reason // "" if it succeeds
	}{
		{"alert 120 to an opaque protocol", func(c *ClientConfig) { c.Detected = Redis }, byTLS(onlyFTP), 2, ""},
		{"alert 120 to an unknown protocol", func(*ClientConfig) {}, byTLS(onlyFTP), 2, ""},
		{"alert 120 to HTTP/2", func(c *ClientConfig) { c.Detected = HTTP2 }, byTLS(onlyFTP), 1, NoOverlap},
		{"alert 120 to HTTP/1.1", func(c *ClientConfig) { c.Detected = HTTP1 }, byTLS(onlyFTP), 1, NoOverlap},
		{"alert 120 and awareness required", func(c *ClientConfig) { c.Awareness = Require }, byTLS(onlyFTP), 1, NoOverlap},
		{"alert 120 to nothing", func(c *ClientConfig) { c.Sessions = []Session{} }, alert(120), 1, NoOverlap},
		{"alert 120 twice", func(*ClientConfig) {}, alert(120), 2, NoOverlap},
		{"alert 40, handshake_failure", func(*ClientConfig) {}, alert(40), 1, RefusedByPeer},
		{"alert 80, internal_error", func(*ClientConfig) {}, alert(80), 1, RefusedByPeer},
		{"alert 112, unrecognized_name", func(*ClientConfig) {}, alert(112), 1, RefusedByPeer},
		{"closed", func(*ClientConfig) {}, func(net.Conn) {}, 1, ClosedByPeer},
		{"no TLS at all", func(*ClientConfig) {}, func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-x\r\n")) }, 1, ProtocolFailure},
		{"unauthorised", func(c *ClientConfig) { c.Policy.Authorize = AuthorizeID() }, byTLS(peerOf(chain, key)), 1, Unauthorized},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, dialled := countingServer(t, test.serve)
			d := Dialer{Config: m.client}
			test.change(&d.Config)
			conn, err := d.DialContext(t.Context(), "tcp", address)
			if err == nil {
				defer conn.Close()
				if p := conn.Peer(); p.Aware || p.ALPN != "" || p.Session != Raw || p.ID.Path() != serverPath {
					t.Errorf("peer %+v", p)
				}
			}
			// A reset may overtake the alert of a server that closes at once.
			if got := ReasonOf(err); got != test.want && (got != ClosedByPeer || test.want == "") {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if n := dialled.Load(); n != test.dialled {
				t.Errorf("dialled %d times, want %d", n, test.dialled)
			}
		})
	}
}

// TestDialerDialsAsTold and gives the network's error as it is.
func TestDialerDialsAsTold(t *testing.T) {
	broken := errors.New("no route")
	d := Dialer{Config: newMesh(t).client, Dial: func(_ context.Context, network, address string) (net.Conn, error) {
		if network != "tcp" || address != "db:5432" {
			t.Errorf("dial %s %s", network, address)
		}
		return nil, broken
	}}
	conn, err := d.DialContext(t.Context(), "tcp", "db:5432")
	if conn != nil || !errors.Is(err, broken) || ReasonOf(err) != "" {
		t.Errorf("%v, %v", conn, err)
	}
}

// TestDialerReachesAListener with nothing but defaults.
func TestDialerReachesAListener(t *testing.T) {
	m := newMesh(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(inner, &m.server, ListenerOptions{})
	defer l.Close()
	d := Dialer{Config: m.client}
	client, server := together(t,
		func() (*Conn, error) { return d.DialContext(t.Context(), "tcp", l.Addr().String()) },
		func() (*Conn, error) {
			conn, err := l.Accept()
			if err != nil {
				return nil, err
			}
			return conn.(*Conn), nil
		},
	)
	if client.err != nil || server.err != nil || !client.conn.Peer().Aware || server.conn.Peer().ID.Path() != clientPath {
		t.Errorf("client: %v\nserver: %v", client.err, server.err)
	}
}
