package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// plainSPIFFE is a TLS server with an SVID that knows nothing of contexts.
func plainSPIFFE(t *testing.T, domain *ca.Domain, path string, protocols ...string) string {
	t.Helper()
	config := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.TLSCertificate(domain.SVID(t, path))},
		ClientAuth:   tls.RequireAnyClientCert,
		NextProtos:   protocols,
	}
	return serve(t, func(c net.Conn) {
		secured := tls.Server(c, config)
		_, _ = io.Copy(secured, secured)
		_ = secured.CloseWrite()
	})
}

// TestUnawareServer: outbound falls back to a plain SPIFFE server, and goes on
// without the detour for later connections.
func TestUnawareServer(t *testing.T) {
	for name, protocols := range map[string][]string{"without ALPN": nil, "with other protocols": {"h2", "http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			domain := ca.New(t, "example.org")
			client := newWorkload(t, domain, "/ns/shop/sa/cart")
			client.apply(outboundYAML(plainSPIFFE(t, domain, "/ns/data/sa/db", protocols...), "spiffe://example.org/ns/data/sa/db"))
			for range 3 {
				conn := connect(t, client.address("127.0.0.1:0"))
				if got := say(t, conn, "\x01\x02 hello"); got != "\x01\x02 hello" {
					t.Errorf("got %q", got)
				}
				_ = conn.Close()
			}
			eventually(t, "all are recorded", func() bool { return len(client.events.all()) == 3 })
			for _, e := range client.events.all() {
				if e.Peer.Aware || e.Session != tlsctx.Raw || e.Outcome.Reason != metrics.ReasonOK {
					t.Errorf("recorded %+v, aware=%t", e.Outcome, e.Peer.Aware)
				}
			}
		})
	}
}

// TestUnawareServerIsRefusedWhereContextIsRequired.
func TestUnawareServerIsRefusedWhereContextIsRequired(t *testing.T) {
	domain := ca.New(t, "example.org")
	client := newWorkload(t, domain, "/ns/shop/sa/cart")
	client.apply(outboundYAML(plainSPIFFE(t, domain, "/ns/data/sa/db"), "spiffe://example.org/ns/data/sa/db", "  peers: Require"))
	if got, err := ask(client.address("127.0.0.1:0"), "hello\n"); err == nil {
		t.Errorf("it is taken, and answers %q", got)
	}
}

// shake returns a connection to a sidecar by tlsctx's own client.
func shake(t *testing.T, domain *ca.Domain, path, address string, config tlsctx.ClientConfig) (*tlsctx.Conn, error) {
	t.Helper()
	config.Source = identity.Static{Current: domain.Snapshot(t, path, ca.Attributes(t))}
	d := tlsctx.Dialer{Config: config}
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
	}
	return conn, err
}

// TestUnawareClient: inbound takes a plain SPIFFE client, and says so.
func TestUnawareClient(t *testing.T) {
	domain := ca.New(t, "example.org")
	server := newWorkload(t, domain, "/ns/data/sa/db")
	server.apply(inboundYAML(echo(t)))
	conn, err := shake(t, domain, "/ns/shop/sa/legacy", server.address("127.0.0.1:0"), tlsctx.ClientConfig{Sessions: []tlsctx.Session{}})
	if err != nil {
		t.Fatal(err)
	}
	if got := say(t, conn, "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	_ = conn.Close()
	eventually(t, "it is recorded", func() bool { return len(server.events.all()) == 1 })
	e := server.events.all()[0]
	if e.Peer.Aware || e.Peer.ID.Path() != "/ns/shop/sa/legacy" || e.Peer.Attributes.Value("k8s.namespace.name", tlsctx.Verified) != "shop" {
		t.Errorf("recorded %+v", e.Peer)
	}
}

// TestPermissivePort takes handshakes of ours, plaintext of clients that speak
// first, and of those that wait; and with a policy, none that it does not name.
func TestPermissivePort(t *testing.T) {
	for name, app := range map[string]func(testing.TB) string{"echo": echo, "greeter": greeter} {
		t.Run(name, func(t *testing.T) {
			domain := ca.New(t, "example.org")
			server := newWorkload(t, domain, "/ns/data/sa/db")
			server.apply(strings.Replace(inboundYAML(app(t)), "spec:", "spec:\n  plaintext: Permissive", 1))
			address := server.address("127.0.0.1:0")
			client := newWorkload(t, domain, "/ns/shop/sa/cart")
			client.apply(outboundYAML(address, "spiffe://example.org/ns/data/sa/db"))
			for _, to := range []string{address, client.address("127.0.0.1:0"), address} {
				conn := connect(t, to)
				r := bufio.NewReader(conn)
				if name == "greeter" {
					if line, err := r.ReadString('\n'); line != "220 mail.example.org ESMTP\n" {
						t.Errorf("got %q, %v", line, err)
					}
				}
				if _, err := io.WriteString(conn, "hello\n"); err != nil {
					t.Fatal(err)
				}
				if line, err := r.ReadString('\n'); line != "hello\n" {
					t.Errorf("got %q, %v", line, err)
				}
				_ = conn.Close()
			}
			eventually(t, "all are recorded", func() bool { return len(server.events.all()) == 3 })
			secured := 0
			for _, e := range server.events.all() {
				if e.Peer.Secured() {
					secured++
				}
			}
			if secured != 1 {
				t.Errorf("%d of 3 were secured", secured)
			}
			if n := server.metric(`istio_tcp_connections_opened_total\{connection_security_policy="none".*source_principal="unknown"`); n != 2 {
				t.Errorf("%v are counted as plaintext", n)
			}
		})
	}
}

// TestPlaintextIsRefusedWhereNotConfigured, and where no rule names it.
func TestPlaintextIsRefusedWhereNotConfigured(t *testing.T) {
	for name, yaml := range map[string]string{
		"strict": inboundYAML(echo(t)),
		"no rule": strings.Replace(inboundYAML(echo(t), authorization("ALLOW", "Enforce", onlyShop)),
			"spec:", "spec:\n  plaintext: Permissive", 1),
	} {
		t.Run(name, func(t *testing.T) {
			server := newWorkload(t, ca.New(t, "example.org"), "/ns/data/sa/db")
			server.apply(yaml)
			conn := connect(t, server.address("127.0.0.1:0"))
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if got, _ := io.ReadAll(conn); strings.Contains(string(got), "GET") {
				t.Errorf("the application answered: %q", got)
			}
			eventually(t, "the failure is counted", func() bool {
				return server.metric(`hallmark_handshake_failures_total\{.*reason="protocol_failure"`) == 1
			})
		})
	}
}

// TestApplicationIsDown: the client sees a reset, and both ends know why.
func TestApplicationIsDown(t *testing.T) {
	for kind, reason := range map[string]string{"Raw": "upstream_reset", "Mux": "peer_upstream_failed"} {
		t.Run(kind, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
			p := newPair(t, l.Addr().String(), []string{"  session: " + kind, "  protocol: opaque"}, nil)
			if err := outcomeAt(p.address); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client sees %v", err)
			}
			eventually(t, "both ends are recorded", func() bool {
				return len(p.client.events.all()) == 1 && len(p.server.events.all()) == 1
			})
			if got := p.server.events.all()[0].Outcome; got.Reason != "connection_refused" || got.Flag != metrics.FlagUpstreamFailure {
				t.Errorf("inbound recorded %+v", got)
			}
			if got := p.client.events.all()[0].Outcome; got.Reason != reason {
				t.Errorf("outbound recorded %+v", got)
			}
		})
	}
}

// TestResetIsPassedOn, both ways, as a reset.
func TestResetIsPassedOn(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			ended := make(chan error, 1)
			app := serve(t, func(c net.Conn) {
				line, _ := bufio.NewReader(c).ReadString('\n')
				if line == "reset me\n" {
					_ = c.(*net.TCPConn).SetLinger(0)
					return
				}
				_, err := c.Read(make([]byte, 1))
				ended <- err
			})
			p := newPair(t, app, []string{"  session: " + kind}, nil)
			conn := connect(t, p.address)
			_, _ = io.WriteString(conn, "reset me\n")
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client sees %v", err)
			}
			conn = connect(t, p.address)
			_, _ = io.WriteString(conn, "wait\n")
			eventually(t, "the application is reached", func() bool {
				return p.server.metric(`istio_tcp_sent_bytes_total\{|istio_tcp_received_bytes_total\{`) >= 14
			})
			_ = conn.SetLinger(0)
			_ = conn.Close()
			if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the application sees %v", err)
			}
		})
	}
}

// TestApplicationIsToldWhoCalls by PROXY protocol.
func TestApplicationIsToldWhoCalls(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			headers := make(chan *proxyproto.Header, 1)
			app := serve(t, func(c net.Conn) {
				r := bufio.NewReader(c)
				h, err := proxyproto.Read(r)
				if err != nil {
					t.Error(err)
					return
				}
				headers <- h
				_, _ = io.Copy(c, r)
			})
			p := newPair(t, app, []string{"  session: " + kind}, []string{"    proxyProtocol: V2"})
			conn := connect(t, p.address)
			if got := say(t, conn, "hello"); got != "hello" {
				t.Errorf("got %q", got)
			}
			h := <-headers
			tlvs, err := h.TLVs()
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, tlv := range tlvs {
				found = found || string(tlv.Value) == "spiffe://example.org/ns/shop/sa/cart"
			}
			if !found {
				t.Errorf("no TLV says who calls: %v", tlvs)
			}
			if kind == "Mux" && h.SourceAddr.String() != conn.LocalAddr().String() {
				t.Errorf("the client is said to be %s, and is %s", h.SourceAddr, conn.LocalAddr())
			}
		})
	}
}

// TestIdleStreamsEnd where a time is configured.
func TestIdleStreamsEnd(t *testing.T) {
	p := newPair(t, echo(t), nil, []string{`
---
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: p}
spec: {timeouts: {idle: 30ms}}
`})
	conn := connect(t, p.address)
	say(t, conn, "hello")
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v", err)
	}
	eventually(t, "it is recorded", func() bool { return len(p.server.events.all()) == 1 })
	if got := p.server.events.all()[0].Outcome; got.Flag != metrics.FlagIdleTimeout {
		t.Errorf("recorded %+v", got)
	}
}

// TestBulkGetsConnectionsOfItsOwn, where the kind of session is not pinned.
func TestBulkGetsConnectionsOfItsOwn(t *testing.T) {
	app := serve(t, func(c net.Conn) { _, _ = io.Copy(c, io.LimitReader(zeros{}, 64<<20)) })
	p := newPair(t, app, []string{"  protocol: opaque"}, nil)
	for i := range 2 {
		conn := connect(t, p.address)
		if n, err := io.Copy(io.Discard, conn); n != 64<<20 || err != nil {
			t.Fatalf("got %d bytes, %v", n, err)
		}
		_ = conn.Close()
		eventually(t, "it is recorded", func() bool { return len(p.client.events.all()) == i+1 })
	}
	all := p.client.events.all()
	if all[0].Session != tlsctx.Mux || all[1].Session != tlsctx.Raw {
		t.Errorf("sessions were %s and %s", all[0].Session, all[1].Session)
	}
}

// outcomeAt connects to an address and returns how that ends: connecting itself
// may be what a reset ends.
func outcomeAt(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, err = c.Read(make([]byte, 1))
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestGateBoundsHandshakes: a source that begins handshakes and says nothing
// keeps others out of neither the listener nor its own established sessions.
func TestGateBoundsHandshakes(t *testing.T) {
	domain := ca.New(t, "example.org")
	server := newWorkload(t, domain, "/ns/data/sa/db")
	server.apply(inboundYAML(echo(t)) + `
---
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: p}
spec: {limits: {handshakes: 4, handshakesPerSource: 4}, timeouts: {handshake: 1s}}
`)
	client := newWorkload(t, domain, "/ns/shop/sa/cart")
	client.apply(outboundYAML(server.address("127.0.0.1:0"), "spiffe://example.org/ns/data/sa/db"))
	say(t, connect(t, client.address("127.0.0.1:0")), "warm")
	for range 8 {
		if c, err := net.Dial("tcp", server.address("127.0.0.1:0")); err == nil { // else it was reset already
			defer c.Close()
		}
	}
	eventually(t, "the limit is met", func() bool { return server.metric(`hallmark_limits_met_total\{limit="handshakes`) >= 4 })
	if got := say(t, connect(t, client.address("127.0.0.1:0")), "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	eventually(t, "the silent ones time out", func() bool {
		return server.metric(`hallmark_handshake_failures_total\{.*reason="timed_out"`) == 4
	})
}

// TestUnknownNameIsAClearError: a name that does not exist.
func TestUnknownNameIsAClearError(t *testing.T) {
	client := newWorkload(t, ca.New(t, "example.org"), "/ns/shop/sa/cart")
	client.apply(outboundYAML("does-not-exist.invalid:8443", "spiffe://example.org/ns/data/sa/db", "  protocol: opaque"))
	if err := outcomeAt(client.address("127.0.0.1:0")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v", err)
	}
	eventually(t, "it is recorded", func() bool { return len(client.events.all()) == 1 })
	got := client.events.all()[0].Outcome
	if got.Reason != "no_endpoint" || !strings.Contains(got.Err.Error(), "does-not-exist.invalid") {
		t.Errorf("recorded %+v", got)
	}
}

// plainSPIFFEWeb is the same for HTTP, of a version.
func plainSPIFFEWeb(t *testing.T, domain *ca.Domain, path string, version int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(whoami), Protocols: new(http.Protocols),
		TLSConfig: &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{ca.TLSCertificate(domain.SVID(t, path))},
			ClientAuth:   tls.RequireAnyClientCert,
		},
	}
	server.Protocols.SetHTTP1(version == 1)
	server.Protocols.SetHTTP2(version == 2)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return l.Addr().String()
}
