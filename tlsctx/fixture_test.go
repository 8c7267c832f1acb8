package tlsctx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Paths of the two workloads of a mesh.
const (
	clientPath = "/ns/shop/sa/web"
	serverPath = "/ns/data/sa/db"
)

// patience only stops a hang: nothing here is measured against it.
const patience = time.Minute

// mesh is a trust domain with a client and a server in it, each with attributes
// of its own. A test changes the configurations as it likes.
type mesh struct {
	domain *ca.Domain
	client ClientConfig
	server ServerConfig
}

func newMesh(tb testing.TB) *mesh {
	tb.Helper()
	domain := ca.New(tb, "example.org")
	policy := Policy{Templates: Templates{domain.TrustDomain(): {KubernetesTemplate()}}}
	source := func(path, pod string) identity.Source {
		return static(domain.Snapshot(tb, path, ca.Attributes(tb, "k8s.pod.name", pod, "service.version", "1.2.3")))
	}
	return &mesh{
		domain: domain,
		client: ClientConfig{Source: source(clientPath, "web-0"), Policy: policy, Timeout: patience},
		server: ServerConfig{Source: source(serverPath, "db-0"), Policy: policy, Timeout: patience},
	}
}

func static(s *identity.Snapshot) identity.Source { return identity.Static{Current: s} }

// transports are the kinds of connection that handshakes are tested over.
var transports = map[string]func(testing.TB) (client, server net.Conn){
	"tcp":  tcpPair,
	"pipe": func(testing.TB) (client, server net.Conn) { return net.Pipe() },
}

// tcpPair returns both ends of a connection over loopback.
func tcpPair(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		tb.Fatal(err)
	}
	return client, server
}

// outcome is how a handshake ended at one side. Its error is that of the
// handshake, or of the first byte that each side then sends the other.
type outcome struct {
	conn *Conn
	err  error
}

// shake runs both sides over loopback.
func (m *mesh) shake(tb testing.TB) (client, server outcome) {
	tb.Helper()
	return m.shakeOver(tb, tcpPair)
}

func (m *mesh) shakeOver(tb testing.TB, transport func(testing.TB) (client, server net.Conn)) (client, server outcome) {
	tb.Helper()
	near, far := transport(tb)
	return together(tb,
		func() (*Conn, error) { return Client(tb.Context(), near, &m.client) },
		func() (*Conn, error) { return Server(tb.Context(), far, &m.server) },
	)
}

// together runs two sides at once, lets each send the other a byte, and closes
// them when the test ends.
func together(tb testing.TB, first, second func() (*Conn, error)) (a, b outcome) {
	tb.Helper()
	done := make(chan outcome)
	go func() { done <- attempt(second) }()
	a = attempt(first)
	b = <-done
	for _, o := range []outcome{a, b} {
		if o.conn != nil {
			tb.Cleanup(func() { _ = o.conn.NetConn().Close() }) // without goodbye: nobody reads it from a pipe
		}
	}
	return a, b
}

func attempt(side func() (*Conn, error)) outcome {
	conn, err := side()
	if err != nil {
		return outcome{conn, err}
	}
	return outcome{conn, exchangeByte(conn)}
}

// exchangeByte sends a byte and receives one: then each side has judged the
// other. The read's error is the one that says why.
func exchangeByte(conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(patience))
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write([]byte{1})
		sent <- err
	}()
	_, err := io.ReadFull(conn, make([]byte, 1))
	if err != nil {
		_ = conn.Close()
	}
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	return err
}

// peers returns who the server and the client found at the other end, and fails
// the test if the handshake failed.
func (m *mesh) peers(tb testing.TB) (server, client *Peer) {
	tb.Helper()
	c, s := m.shake(tb)
	if c.err != nil || s.err != nil {
		tb.Fatalf("client: %v\nserver: %v", c.err, s.err)
	}
	return c.conn.Peer(), s.conn.Peer()
}

// againstServer runs Server against a client of crypto/tls alone.
func (m *mesh) againstServer(tb testing.TB, attacker *tls.Config) (server, client outcome) {
	tb.Helper()
	near, far := tcpPair(tb)
	return together(tb,
		func() (*Conn, error) { return Server(tb.Context(), far, &m.server) },
		func() (*Conn, error) { return bare(tb, near, tls.Client(near, attacker)) },
	)
}

// againstClient runs Client against a server of crypto/tls alone.
func (m *mesh) againstClient(tb testing.TB, attacker *tls.Config) (client, server outcome) {
	tb.Helper()
	near, far := tcpPair(tb)
	return together(tb,
		func() (*Conn, error) { return Client(tb.Context(), near, &m.client) },
		func() (*Conn, error) { return bare(tb, far, tls.Server(far, attacker)) },
	)
}

// bare wraps a connection of crypto/tls, which knows nothing of contexts.
func bare(tb testing.TB, raw net.Conn, conn *tls.Conn) (*Conn, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return &Conn{tls: conn, raw: raw}, nil
}

// peerOf is a tls.Config for the other side that presents the given chain and
// offers or takes the given ALPN identifiers.
func peerOf(chain [][]byte, key any, alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		Certificates:       []tls.Certificate{{Certificate: chain, PrivateKey: key}},
		ClientAuth:         tls.RequireAnyClientCert,
		NextProtos:         alpn,
		InsecureSkipVerify: true,
	}
}

// chainOf is what the workload would send of its SVID, and its key.
func chainOf(s *identity.Snapshot) (chain [][]byte, key any) {
	for _, c := range s.SVID.Certificates {
		chain = append(chain, c.Raw)
	}
	return chain, s.SVID.PrivateKey
}

func snapshotIn(tb testing.TB, source identity.Source) *identity.Snapshot {
	tb.Helper()
	s, err := source.Snapshot()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// wantReason fails the test unless err is an *Error of that reason, whose text
// is fit for a log.
func wantReason(tb testing.TB, o outcome, want Reason) *Error {
	tb.Helper()
	var e *Error
	switch {
	case o.err == nil:
		tb.Fatalf("succeeded, want %s", want)
	case !errors.As(o.err, &e):
		tb.Fatalf("error of type %T: %v", o.err, o.err)
	case e.Reason != want || !errors.Is(o.err, want) || ReasonOf(o.err) != want:
		tb.Fatalf("reason %s, want %s: %v", e.Reason, want, o.err)
	case o.conn != nil && want != RefusedByPeer:
		tb.Fatalf("a connection with peer %v came with the error %v", o.conn.Peer(), o.err)
	}
	checkText(tb, e)
	return e
}

// checkText holds an error's text to what [Error.Error] promises.
func checkText(tb testing.TB, err error) {
	tb.Helper()
	text := err.Error()
	if len(text) > maxErrorText+8 {
		tb.Errorf("error text of %d bytes", len(text))
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		tb.Errorf("error text holds an unprintable character at %d: %q", i, text)
	}
}

func attributesOf(p *Peer) map[string]string {
	all := map[string]string{}
	for _, a := range p.Attributes {
		all[a.Name] = a.Value + " " + a.Provenance.String()
	}
	return all
}

func mustID(tb testing.TB, id string) spiffeid.ID {
	tb.Helper()
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		tb.Fatal(err)
	}
	return parsed
}

// stateOf is a connection state in which the peer sent the given certificates.
func stateOf(tb testing.TB, alpn string, chain ...[]byte) tls.ConnectionState {
	tb.Helper()
	cs := tls.ConnectionState{Version: tls.VersionTLS13, NegotiatedProtocol: alpn}
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			tb.Fatal(err)
		}
		cs.PeerCertificates = append(cs.PeerCertificates, c)
	}
	return cs
}
