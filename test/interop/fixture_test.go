package interop

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long one exchange may take on a loaded machine.
const limit = time.Minute

// greeting is what our server sends first.
const greeting = "hallmark greets\n"

// mesh is a trust domain with two workloads, one of them also as PEM files for
// programs that know nothing else.
type mesh struct {
	domain      *ca.Domain
	ours, other *identity.Snapshot
	files       ca.Files // other's
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	domain := ca.New(t, "example.org", ca.WithIntermediates(1))
	// The DNS name is for peers that insist on checking one.
	m := &mesh{
		domain: domain,
		ours:   domain.Snapshot(t, "/ns/shop/sa/ours", ca.Attributes(t, "k8s.pod.name", "ours-0"), ca.WithDNSNames("localhost")),
		other:  domain.Snapshot(t, "/ns/shop/sa/other", identity.Attributes{}, ca.WithDNSNames("localhost")),
	}
	m.files = ca.WritePEM(t, t.TempDir(), m.other)
	return m
}

// met is what our end learnt of the other and what it sent.
type met struct {
	peer *tlsctx.Peer
	sent []*x509.Certificate
	got  string // the first line from the peer
	err  error
}

// serve accepts one connection with our server, greets, and reads a line.
func (m *mesh) serve(t *testing.T, config tlsctx.ServerConfig) (address string, result <-chan met) {
	t.Helper()
	return m.serveThat(t, config, greet)
}

// talk is what our server does with a connection after the handshake. It returns
// the first that the client said.
type talk func(conn net.Conn, peer *tlsctx.Peer) (got string, err error)

// greet speaks first.
func greet(conn net.Conn, _ *tlsctx.Peer) (got string, err error) {
	if _, err := io.WriteString(conn, greeting); err != nil {
		return "", err
	}
	line := make([]byte, 256)
	n, err := conn.Read(line)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return string(line[:n]), err
}

// answerHTTP answers one request with who asks.
func answerHTTP(conn net.Conn, peer *tlsctx.Peer) (got string, err error) {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("%s aware=%t", peer.ID, peer.Aware)
	_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(said), said)
	return request.Method, err
}

// serveThat accepts one connection with our server, and talks.
func (m *mesh) serveThat(t *testing.T, config tlsctx.ServerConfig, then talk) (address string, result <-chan met) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	config.Source = identity.Static{Current: m.ours}
	done := make(chan met, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			done <- met{err: err}
			return
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(limit))
		r := m.exchange(t, &wiretap{Conn: raw}, config, then)
		if r.err != nil {
			t.Logf("our server: %v", r.err)
		}
		done <- r
		_, _ = io.Copy(io.Discard, raw) // until the client leaves
	}()
	return listener.Addr().String(), done
}

func (m *mesh) exchange(t *testing.T, tap *wiretap, config tlsctx.ServerConfig, then talk) met {
	outer := config.TLS()
	inner := outer.GetConfigForClient
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := inner(hello)
		if c != nil {
			c.KeyLogWriter = keyLog{tap}
		}
		return c, err
	}
	conn := tls.Server(tap, outer)
	if err := conn.Handshake(); err != nil {
		return met{err: err}
	}
	peer, err := (&tlsctx.Verifier{Snapshot: m.ours, Policy: config.Policy}).Verify(conn.ConnectionState())
	if err != nil {
		return met{err: err}
	}
	sent := tap.certificates(t, "SERVER", conn.ConnectionState().CipherSuite)
	got, err := then(conn, peer)
	return met{peer: peer, sent: sent, got: got, err: err}
}

// dial shakes hands with a server, sends a line and reads what comes back until
// it holds want.
func (m *mesh) dial(t *testing.T, address string, config tlsctx.ClientConfig, send, want string) met {
	t.Helper()
	config.Source = identity.Static{Current: m.ours}
	cfg, err := config.TLS()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(limit))
	tap := &wiretap{Conn: raw}
	cfg.KeyLogWriter = keyLog{tap}
	conn := tls.Client(tap, cfg)
	if err := conn.HandshakeContext(context.Background()); err != nil {
		return met{err: err}
	}
	peer, err := (&tlsctx.Verifier{Snapshot: m.ours, Policy: config.Policy}).Verify(conn.ConnectionState())
	if err != nil {
		return met{err: err}
	}
	sent := tap.certificates(t, "CLIENT", conn.ConnectionState().CipherSuite)
	if _, err := io.WriteString(conn, send); err != nil {
		return met{err: err}
	}
	var got strings.Builder
	buffer := make([]byte, 4096)
	for !strings.Contains(got.String(), want) {
		n, err := conn.Read(buffer)
		got.Write(buffer[:n])
		if err != nil {
			return met{peer: peer, sent: sent, got: got.String(), err: fmt.Errorf("waiting for %q: %w", want, err)}
		}
	}
	return met{peer: peer, sent: sent, got: got.String()}
}

// check asserts what holds for every unaware peer: who it is, that it is not
// aware, and that it was sent our chain and nothing more.
func (m *mesh) check(t *testing.T, r met, alpn string) {
	t.Helper()
	if r.err != nil {
		t.Fatal(r.err)
	}
	if r.peer.ID != m.other.ID() || r.peer.Aware || r.peer.ALPN != alpn {
		t.Errorf("met %s, aware=%t, ALPN %q; want %s, unaware, %q", r.peer.ID, r.peer.Aware, r.peer.ALPN, m.other.ID(), alpn)
	}
	if len(r.sent) != len(m.ours.SVID.Certificates) {
		t.Errorf("we sent %d certificates, want the %d of our chain", len(r.sent), len(m.ours.SVID.Certificates))
	}
	if hasContext(r.sent) {
		t.Error("we sent a context certificate to a peer that did not ask for one")
	}
}

// hasContext looks for an extension under the documentation arc.
func hasContext(certs []*x509.Certificate) bool {
	arc := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473}
	for _, c := range certs {
		for _, e := range c.Extensions {
			if len(e.Id) > len(arc) && arc.Equal(e.Id[:len(arc)]) {
				return true
			}
		}
	}
	return false
}

// TestWiretapSeesContexts is the proof that the tap could see one: between two
// aware ends it does, both ways.
func TestWiretapSeesContexts(t *testing.T) {
	m := newMesh(t)
	address, served := m.serve(t, tlsctx.ServerConfig{})
	client := m.dial(t, address, tlsctx.ClientConfig{}, "hello\n", greeting)
	server := <-served
	if client.err != nil || server.err != nil {
		t.Fatal(client.err, server.err)
	}
	if !hasContext(client.sent) || !hasContext(server.sent) {
		t.Error("the wiretap does not see the context certificates of aware ends")
	}
}
