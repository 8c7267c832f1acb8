package tlsctx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// TestHandshakeFillsEveryFieldOfPeer looks at both sides of one handshake that
// carries all there is.
func TestHandshakeFillsEveryFieldOfPeer(t *testing.T) {
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) { checkEveryField(t, transport) })
	}
}

func checkEveryField(t *testing.T, transport func(testing.TB) (client, server net.Conn)) {
	m := newMesh(t)
	clientSVID, serverSVID := snapshotIn(t, m.client.Source), snapshotIn(t, m.server.Source)
	clientSVID.Generation, serverSVID.Generation = 7, 9
	trace := Traceparent{TraceID: [16]byte{1, 2}, SpanID: [8]byte{3, 4}, Flags: 1}
	m.client.Sessions, m.client.Detected, m.client.Target, m.client.Trace = []Session{H2, Mux}, PostgreSQL, "orders-db", trace
	m.server.Sessions = []Session{Mux, Raw}
	m.server.Disclosure.Public = []string{"service.version"}
	client, server := m.shakeOver(t, transport)
	if client.err != nil || server.err != nil {
		t.Fatalf("client: %v\nserver: %v", client.err, server.err)
	}
	for _, side := range []struct {
		name       string
		peer       *Peer
		id, local  string
		attributes map[string]string
		target     string
		trace      Traceparent
		generation uint64
		svid       *identity.Snapshot
	}{
		{
			"what the server knows", server.conn.Peer(), "spiffe://example.org" + clientPath, "spiffe://example.org" + serverPath,
			map[string]string{
				"k8s.namespace.name": "shop verified", "k8s.service_account.name": "web verified",
				"k8s.pod.name": "web-0 asserted", "service.version": "1.2.3 asserted",
			},
			"orders-db", trace, 9, clientSVID,
		},
		{
			"what the client knows", client.conn.Peer(), "spiffe://example.org" + serverPath, "spiffe://example.org" + clientPath,
			map[string]string{
				"k8s.namespace.name": "data verified", "k8s.service_account.name": "db verified",
				"service.version": "1.2.3 asserted",
			},
			"",
			Traceparent{},
			7, serverSVID,
		},
	} {
		t.Run(side.name, func(t *testing.T) {
			p := side.peer
			if p.ID.String() != side.id || p.LocalID.String() != side.local || p.Generation != side.generation {
				t.Errorf("ID %s, local %s, generation %d", p.ID, p.LocalID, p.Generation)
			}
			if got := attributesOf(p); !maps.Equal(got, side.attributes) {
				t.Errorf("attributes %v, want %v", got, side.attributes)
			}
			if !p.Aware || !p.Secured() || p.Session != Mux || p.Detected != PostgreSQL || p.ALPN != "hallmark/1/mux/postgres" {
				t.Errorf("aware %t, secured %t, session %s, detected %s, ALPN %q", p.Aware, p.Secured(), p.Session, p.Detected, p.ALPN)
			}
			if p.Target != side.target || p.Trace != side.trace {
				t.Errorf("target %q, trace %s", p.Target, p.Trace)
			}
			if p.KeyExchange != tls.X25519MLKEM768 || p.CipherSuite == 0 {
				t.Errorf("key exchange %s, cipher suite %s", p.KeyExchange, tls.CipherSuiteName(p.CipherSuite))
			}
			if len(p.Certificates) != 1 || !p.Certificates[0].Equal(side.svid.SVID.Certificates[0]) {
				t.Errorf("%d certificates, want the leaf alone", len(p.Certificates))
			}
			if len(p.Chains) != 1 || len(p.Chains[0]) != 2 || !p.Chains[0][1].IsCA {
				t.Errorf("chains %v, want leaf and root", p.Chains)
			}
			if !p.NotAfter().Equal(side.svid.NotAfter()) {
				t.Errorf("NotAfter %s, want %s", p.NotAfter(), side.svid.NotAfter())
			}
		})
	}
}

// TestHandshakeWorksWithEveryKeyAndIntermediates crosses SVID keys with a chain
// of two intermediates.
func TestHandshakeWorksWithEveryKeyAndIntermediates(t *testing.T) {
	for _, kind := range ca.KeyTypes() {
		t.Run(kind.String(), func(t *testing.T) {
			m := newMesh(t)
			domain := ca.New(t, "example.org", ca.WithIntermediates(2), ca.WithCAKey(kind))
			m.client.Source = static(domain.Snapshot(t, clientPath, identity.Attributes{}, ca.WithKeyType(kind)))
			m.server.Source = static(domain.Snapshot(t, serverPath, identity.Attributes{}, ca.WithKeyType(kind)))
			server, client := m.peers(t)
			for _, p := range []*Peer{server, client} {
				if !p.Aware || len(p.Certificates) != 3 || len(p.Chains[0]) != 4 {
					t.Errorf("aware %t, %d certificates, chain of %d", p.Aware, len(p.Certificates), len(p.Chains[0]))
				}
			}
		})
	}
}

// TestHandshakeHasOneContextLastOnTheWire looks at the raw certificates that an
// aware peer is sent.
func TestHandshakeHasOneContextLastOnTheWire(t *testing.T) {
	m := newMesh(t)
	leaf := snapshotIn(t, m.client.Source).SVID.Certificates[0]
	client, server := m.shake(t)
	if client.err != nil || server.err != nil {
		t.Fatalf("client: %v\nserver: %v", client.err, server.err)
	}
	sent := server.conn.ConnectionState().PeerCertificates
	if len(sent) != 2 || !sent[0].Equal(leaf) {
		t.Fatalf("client sent %d certificates, want leaf and context", len(sent))
	}
	if _, err := readContext(sent[0], sent[1]); err != nil {
		t.Error(err)
	}
	if len(sent[1].Signature) != 0 || sent[1].SignatureAlgorithm != 0 {
		t.Errorf("context has a signature of %d bytes", len(sent[1].Signature))
	}
}

// TestUnawarePeersGetNoContext runs each side against crypto/tls alone, with
// every ALPN that an unaware peer can have, and looks at what it was sent.
func TestUnawarePeersGetNoContext(t *testing.T) {
	for _, alpn := range [][]string{nil, {"h2"}, {"http/1.1"}, {"http/1.1", "h2"}} {
		m := newMesh(t)
		m.client.Detected, m.client.Sessions = HTTP2, []Session{H2}
		m.server.Registered = []string{"h2", "http/1.1"}
		wantSession, wantDetected := Raw, Unknown
		if len(alpn) > 0 {
			wantDetected = ofRegistered(alpn[len(alpn)-1])
		}
		if wantDetected == HTTP2 {
			wantSession = H2
		}
		checkUnaware := func(t *testing.T, ours, theirs outcome, own identity.Source) {
			t.Helper()
			if ours.err != nil || theirs.err != nil {
				t.Fatalf("ours: %v\ntheirs: %v", ours.err, theirs.err)
			}
			sent := theirs.conn.ConnectionState().PeerCertificates
			if len(sent) != 1 || !sent[0].Equal(snapshotIn(t, own).SVID.Certificates[0]) {
				t.Errorf("an unaware peer was sent %d certificates", len(sent))
			}
			p := ours.conn.Peer()
			if p.Aware || p.Session != wantSession || p.Detected != wantDetected || p.Target != "" || !p.Trace.IsZero() {
				t.Errorf("aware %t, session %s, detected %s, want %s and %s", p.Aware, p.Session, p.Detected, wantSession, wantDetected)
			}
			if len(p.Attributes) != 2 || p.Attributes.Value("k8s.namespace.name", Verified) == "" {
				t.Errorf("attributes %v, want the two that the SPIFFE ID implies", p.Attributes)
			}
		}
		t.Run("client "+alpnName(alpn), func(t *testing.T) {
			chain, key := chainOf(snapshotIn(t, m.client.Source))
			server, client := m.againstServer(t, peerOf(chain, key, alpn...))
			checkUnaware(t, server, client, m.server.Source)
		})
		if len(alpn) == 1 && alpn[0] == "http/1.1" {
			continue // our client offers h2 alone: no overlap
		}
		t.Run("server "+alpnName(alpn), func(t *testing.T) {
			chain, key := chainOf(snapshotIn(t, m.server.Source))
			client, server := m.againstClient(t, peerOf(chain, key, alpn...))
			checkUnaware(t, client, server, m.client.Source)
		})
	}
}

func alpnName(alpn []string) string {
	if len(alpn) == 0 {
		return "without ALPN"
	}
	return "with " + alpn[0]
}

// TestHandshakeSendsNoTargetOrTraceToTheClient: a client has no use for them.
func TestHandshakeSendsNoTargetOrTraceToTheClient(t *testing.T) {
	m := newMesh(t)
	m.client.Target, m.client.Trace = "db", Traceparent{TraceID: [16]byte{1}, SpanID: [8]byte{1}}
	server, _ := m.peers(t)
	if server.Target != "" || !server.Trace.IsZero() {
		t.Errorf("target %q, trace %s", server.Target, server.Trace)
	}
}

// TestConnHalfCloses: CloseWrite ends one direction, and the other goes on.
func TestConnHalfCloses(t *testing.T) {
	client, server := newMesh(t).shake(t)
	if err := client.conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(server.conn); err != nil || len(rest) != 0 {
		t.Fatalf("server read %q, %v", rest, err)
	}
	if _, err := io.WriteString(server.conn, "still here"); err != nil {
		t.Fatal(err)
	}
	_ = server.conn.Close()
	if rest, err := io.ReadAll(client.conn); err != nil || string(rest) != "still here" {
		t.Errorf("client read %q, %v", rest, err)
	}
}

// TestConnIsANetConnOverItsOwn checks the accessors.
func TestConnIsANetConnOverItsOwn(t *testing.T) {
	client, server := newMesh(t).shake(t)
	if client.conn.LocalAddr().String() != server.conn.RemoteAddr().String() {
		t.Error("addresses do not match")
	}
	if client.conn.NetConn() == nil || client.conn.ConnectionState().Version != tls.VersionTLS13 {
		t.Error("no network connection, or not TLS 1.3")
	}
	past := time.Unix(1, 0)
	for name, set := range map[string]func(time.Time) error{
		"SetDeadline": client.conn.SetDeadline, "SetReadDeadline": client.conn.SetReadDeadline,
	} {
		if err := set(past); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var timeout net.Error
		if _, err := client.conn.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("after %s, Read = %v", name, err)
		}
	}
	if err := client.conn.SetWriteDeadline(past); err != nil {
		t.Error(err)
	}
}

// TestHandshakerIsEitherSideOrNone runs the three implementations.
func TestHandshakerIsEitherSideOrNone(t *testing.T) {
	m := newMesh(t)
	near, far := tcpPair(t)
	type result struct {
		conn net.Conn
		peer *Peer
		err  error
	}
	done := make(chan result)
	go func() {
		conn, peer, err := m.server.Handshaker().Handshake(t.Context(), far)
		done <- result{conn, peer, err}
	}()
	conn, peer, err := m.client.Handshaker().Handshake(t.Context(), near)
	server := <-done
	if err != nil || server.err != nil {
		t.Fatal(err, server.err)
	}
	defer conn.Close()
	defer server.conn.Close()
	if peer.ID.Path() != serverPath || server.peer.ID.Path() != clientPath {
		t.Errorf("peers %s and %s", peer.ID, server.peer.ID)
	}
	a, b := net.Pipe()
	_ = b.Close()
	if conn, peer, err := m.client.Handshaker().Handshake(t.Context(), a); conn != nil || peer != nil || err == nil {
		t.Errorf("on failure: %v, %v, %v", conn, peer, err)
	}
}

// TestPlainKnowsNobody: the handshake that is none.
func TestPlainKnowsNobody(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for detected, want := range map[Protocol]Protocol{"": Unknown, Redis: Redis} {
		conn, peer, err := Plain{Detected: detected}.Handshake(t.Context(), a)
		if err != nil || conn != a {
			t.Fatalf("%v, %v", conn, err)
		}
		if peer.Secured() || peer.Aware || !peer.ID.IsZero() || peer.Session != Raw || peer.Detected != want || !peer.NotAfter().IsZero() {
			t.Errorf("peer %+v", peer)
		}
	}
	v := Verifier{Snapshot: snapshotIn(t, newMesh(t).server.Source)}
	if err := v.Reverify(&Peer{}); ReasonOf(err) != Unauthorized {
		t.Errorf("a plaintext peer under the default policy: %v", err)
	}
	v.Policy.Authorize = AuthorizeAny()
	if err := v.Reverify(&Peer{}); err != nil {
		t.Error(err)
	}
}

// TestTLSConfigsAreFullPeers runs the tls.Configs that users of crypto/tls get,
// with Verifier after the handshake.
func TestTLSConfigsAreFullPeers(t *testing.T) {
	m := newMesh(t)
	m.client.Target = "db"
	clientTLS, err := m.client.TLS()
	if err != nil {
		t.Fatal(err)
	}
	near, far := tcpPair(t)
	client, server := together(t,
		func() (*Conn, error) { return bare(t, near, tls.Client(near, clientTLS)) },
		func() (*Conn, error) { return bare(t, far, tls.Server(far, m.server.TLS())) },
	)
	if client.err != nil || server.err != nil {
		t.Fatal(client.err, server.err)
	}
	for _, side := range []struct {
		conn   *Conn
		source identity.Source
		policy Policy
		path   string
		target string
	}{
		{client.conn, m.client.Source, m.client.Policy, serverPath, ""},
		{server.conn, m.server.Source, m.server.Policy, clientPath, "db"},
	} {
		v := Verifier{Snapshot: snapshotIn(t, side.source), Policy: side.policy}
		p, err := v.Verify(side.conn.ConnectionState())
		if err != nil || !p.Aware || p.ID.Path() != side.path || p.Target != side.target {
			t.Errorf("Verify = %+v, %v", p, err)
		}
	}
}

// TestReverifyFollowsBundlesPolicyAndTime asks again, long after the handshake.
func TestReverifyFollowsBundlesPolicyAndTime(t *testing.T) {
	m := newMesh(t)
	_, client := m.peers(t)
	now := Verifier{Snapshot: snapshotIn(t, m.server.Source), Policy: m.server.Policy}
	if err := now.Reverify(client); err != nil {
		t.Fatal(err)
	}
	late := now
	late.Policy.Time = func() time.Time { return client.NotAfter().Add(time.Second) }
	if err := late.Reverify(client); ReasonOf(err) != Expired {
		t.Errorf("after the SVID's end: %v", err)
	}
	m.domain.Rotate(t)
	m.domain.Retire()
	untrusting := Verifier{Snapshot: m.domain.Snapshot(t, serverPath, identity.Attributes{})}
	if err := untrusting.Reverify(client); ReasonOf(err) != Untrusted {
		t.Errorf("after the authority was retired: %v", err)
	}
	untrusting.Policy.Time = late.Policy.Time
	if err := untrusting.Reverify(client); ReasonOf(err) != Untrusted {
		t.Errorf("after the authority was retired and the SVID has ended: %v", err)
	}
	denying := now
	denying.Policy.Authorize = AuthorizeID()
	if err := denying.Reverify(client); ReasonOf(err) != Unauthorized {
		t.Errorf("after the policy changed: %v", err)
	}
	denying.Policy.Time = late.Policy.Time
	if err := denying.Reverify(client); ReasonOf(err) != Unauthorized {
		t.Errorf("after the policy changed and the SVID has ended: %v", err)
	}
}

// TestServerNameIsSentOnlyIfSet looks at the ClientHello.
func TestServerNameIsSentOnlyIfSet(t *testing.T) {
	for _, name := range []string{"", "db.example.org"} {
		m := newMesh(t)
		m.client.ServerName, m.client.Target = name, "secret-target"
		chain, key := chainOf(snapshotIn(t, m.server.Source))
		attacker := peerOf(chain, key)
		var sni string
		attacker.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			sni = hello.ServerName
			return nil, nil
		}
		if client, _ := m.againstClient(t, attacker); client.err != nil {
			t.Fatal(client.err)
		}
		if sni != name {
			t.Errorf("SNI %q, want %q", sni, name)
		}
	}
}

// TestFederatedPeersShakeHands: the other trust domain's bundle, and a policy
// that takes it.
func TestFederatedPeersShakeHands(t *testing.T) {
	m := newMesh(t)
	other := ca.New(t, "other.net")
	ca.Federate(m.domain, other)
	m.client.Source = static(other.Snapshot(t, "/ns/x/sa/y", identity.Attributes{}))
	m.server.Source = static(m.domain.Snapshot(t, serverPath, identity.Attributes{}))
	takes := func(td spiffeid.TrustDomain) Authorizer { return AuthorizeMemberOf(td) }
	m.client.Policy.Authorize, m.server.Policy.Authorize = takes(m.domain.TrustDomain()), takes(other.TrustDomain())
	server, client := m.peers(t)
	if server.ID.TrustDomain() != m.domain.TrustDomain() || client.ID.TrustDomain() != other.TrustDomain() {
		t.Errorf("peers %s and %s", server.ID, client.ID)
	}
	m.server.Policy.Authorize = nil // the own trust domain only
	c, s := m.shake(t)
	wantReason(t, s, Unauthorized)
	wantReason(t, c, RefusedByPeer)
}

// TestNotAfterIsThatOfTheVerifiedChain, not of what else a peer has sent.
func TestNotAfterIsThatOfTheVerifiedChain(t *testing.T) {
	until := func(hours ...int) []*x509.Certificate {
		var chain []*x509.Certificate
		for _, h := range hours {
			chain = append(chain, &x509.Certificate{NotAfter: time.Unix(int64(h), 0)})
		}
		return chain
	}
	p := &Peer{Certificates: until(5, 1), Chains: [][]*x509.Certificate{until(5, 3, 9), until(5, 4, 9), until(5, 2)}}
	if got := p.NotAfter(); !got.Equal(time.Unix(4, 0)) {
		t.Errorf("NotAfter is %d, want 4", got.Unix())
	}
}
