package tlsctx

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const rawUnknown = "hallmark/1/raw/unknown"

// refused lets an attacker present the chain in both roles, with or without a
// hallmark token, and expects our side to find the reason: no connection, no
// peer, and the leaf's SPIFFE ID only as claimed.
func (m *mesh) refused(t *testing.T, want Reason, alpn string, chain [][]byte, key any) {
	t.Helper()
	var ids []string
	if alpn != "" {
		ids = []string{alpn}
	}
	check := func(t *testing.T, ours, attacker outcome) {
		t.Helper()
		e := wantReason(t, ours, want)
		if attacker.err == nil {
			t.Error("the attacker's connection works")
		}
		if leaf, err := x509.ParseCertificate(chain[0]); !e.Claimed.IsZero() && (err != nil || len(leaf.URIs) != 1 || leaf.URIs[0].String() != e.Claimed.String()) {
			t.Errorf("claimed %s, which is not in the leaf", e.Claimed)
		}
	}
	t.Run("as client", func(t *testing.T) {
		ours, attacker := m.againstServer(t, peerOf(chain, key, ids...))
		check(t, ours, attacker)
	})
	t.Run("as server", func(t *testing.T) {
		ours, attacker := m.againstClient(t, peerOf(chain, key, ids...))
		check(t, ours, attacker)
	})
}

// member returns an attacker with a good SVID of the mesh, and its chain and key.
func (m *mesh) member(tb testing.TB, options ...ca.SVIDOption) (leaf *x509.Certificate, chain [][]byte, key any) {
	tb.Helper()
	s := m.domain.Snapshot(tb, "/ns/shop/sa/mallory", identity.Attributes{}, options...)
	chain, key = chainOf(s)
	return s.SVID.Certificates[0], chain, key
}

func minted(tb testing.TB, leaf *x509.Certificate, c Context) []byte {
	tb.Helper()
	der, err := Mint(leaf, c)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// TestAttackersAreAcceptedWhenTheyBehave: the harness itself refuses nothing.
func TestAttackersAreAcceptedWhenTheyBehave(t *testing.T) {
	m := newMesh(t)
	leaf, chain, key := m.member(t)
	attacker := peerOf(append(chain, minted(t, leaf, Context{})), key, rawUnknown)
	for _, run := range []func(testing.TB, *tls.Config) (outcome, outcome){m.againstServer, m.againstClient} {
		ours, theirs := run(t, attacker)
		if ours.err != nil || theirs.err != nil || ours.conn.Peer().ID.Path() != "/ns/shop/sa/mallory" {
			t.Errorf("ours: %v\ntheirs: %v", ours.err, theirs.err)
		}
	}
}

// TestAttackReplayWithoutTheKey presents exactly the certificates that a victim
// sent in an earlier handshake, with another key.
func TestAttackReplayWithoutTheKey(t *testing.T) {
	m := newMesh(t)
	m.server.Disclosure.Public = []string{AllAttributes}
	_, server := m.shake(t)
	var recorded [][]byte
	for _, c := range server.conn.ConnectionState().PeerCertificates {
		recorded = append(recorded, c.Raw)
	}
	victim := server.conn.Peer().ID
	_, _, key := m.member(t)
	judged := 0
	taking := func(p *Peer) error { judged++; return nil }
	m.server.Policy.Authorize, m.client.Policy.Authorize = taking, taking
	m.refused(t, ProtocolFailure, rawUnknown, recorded, key)
	if judged != 2 {
		t.Fatalf("the replayed certificates were judged %d times, want 2", judged)
	}
	ours, _ := m.againstServer(t, peerOf(recorded, key, rawUnknown))
	if e := wantReason(t, ours, ProtocolFailure); e.Claimed != victim || !strings.Contains(e.Error(), "claimed "+victim.String()) {
		t.Errorf("claimed %s: %v", e.Claimed, e)
	}
}

// TestAttackCopiedContext puts the victim's context beside the attacker's own
// leaf.
func TestAttackCopiedContext(t *testing.T) {
	m := newMesh(t)
	victim := snapshotIn(t, m.client.Source).SVID.Certificates[0]
	_, chain, key := m.member(t)
	m.refused(t, ContradictingContext, rawUnknown, append(chain, minted(t, victim, Context{})), key)
}

// TestAttackStaleContext presents the context of the leaf before rotation,
// beside one for the same name and even the same key.
func TestAttackStaleContext(t *testing.T) {
	m := newMesh(t)
	before := m.domain.SVID(t, clientPath)
	after := m.domain.SVID(t, clientPath, ca.WithKey(before.PrivateKey))
	stale := minted(t, before.Certificates[0], Context{})
	m.refused(t, ContradictingContext, rawUnknown, [][]byte{after.Certificates[0].Raw, stale}, after.PrivateKey)
}

// TestAttackPosition: two contexts, none, one unasked for, one out of place.
func TestAttackPosition(t *testing.T) {
	m := newMesh(t)
	domain := ca.New(t, "example.org", ca.WithIntermediates(1))
	s := domain.Snapshot(t, "/ns/shop/sa/mallory", identity.Attributes{})
	m.client.Source, m.server.Source = static(s), static(s)
	leaf, intermediate := s.SVID.Certificates[0], s.SVID.Certificates[1].Raw
	context, other := minted(t, leaf, Context{}), minted(t, leaf, Context{Target: "x"})
	for _, test := range []struct {
		name  string
		want  Reason
		alpn  string
		chain [][]byte
	}{
		{"none", MissingContext, rawUnknown, [][]byte{leaf.Raw, intermediate}},
		{"two", UnexpectedContext, rawUnknown, [][]byte{leaf.Raw, intermediate, context, other}},
		{"one twice", UnexpectedContext, rawUnknown, [][]byte{leaf.Raw, intermediate, context, context}},
		{"before the intermediate", UnexpectedContext, rawUnknown, [][]byte{leaf.Raw, context, intermediate}},
		{"before the leaf", UnexpectedContext, rawUnknown, [][]byte{context, leaf.Raw, intermediate}},
		{"alone", UnexpectedContext, rawUnknown, [][]byte{context}},
		{"unasked for", UnexpectedContext, "", [][]byte{leaf.Raw, intermediate, context}},
		{"unasked for, alone", UnexpectedContext, "", [][]byte{context}},
	} {
		t.Run(test.name, func(t *testing.T) { m.refused(t, test.want, test.alpn, test.chain, s.SVID.PrivateKey) })
	}
}

// TestAttackExchangedExtensions: a context in the leaf, attested attributes in
// the context certificate or in a CA's.
func TestAttackExchangedExtensions(t *testing.T) {
	m := newMesh(t)
	attested := attestedIn(t, ca.Attributes(t, "host.name", "h"))
	plain, _, _ := m.member(t)
	inLeaf := contextFieldsOf(plain).encode()
	leaf, chain, key := m.member(t, ca.WithExtension(pkix.Extension{Id: oidContext, Value: inLeaf}))
	t.Run(".1 in the leaf, unaware", func(t *testing.T) { m.refused(t, UnexpectedContext, "", chain, key) })
	t.Run(".1 in the leaf, alone", func(t *testing.T) { m.refused(t, UnexpectedContext, rawUnknown, chain, key) })
	t.Run(".1 in the leaf and a context", func(t *testing.T) {
		m.refused(t, UnexpectedContext, rawUnknown, append(chain, minted(t, leaf, Context{})), key)
	})

	leaf, chain, key = m.member(t)
	instead := profileOf(leaf, attested)
	instead.extensions[2].Id = oidAttested
	t.Run(".2 instead of .1", func(t *testing.T) { m.refused(t, MissingContext, rawUnknown, append(chain, instead.encode()), key) })
	both := profileOf(leaf, contextFieldsOf(leaf).encode())
	both.extensions = append(both.extensions, pkix.Extension{Id: oidAttested, Value: attested})
	t.Run(".2 beside .1", func(t *testing.T) { m.refused(t, UnexpectedContext, rawUnknown, append(chain, both.encode()), key) })
	t.Run(".2 further up", func(t *testing.T) {
		above := m.domain.SVID(t, "/x", ca.WithExtension(pkix.Extension{Id: oidAttested, Value: attested})).Certificates[0].Raw
		m.refused(t, UnexpectedContext, "", append(chain, above), key)
	})
	t.Run("the content of .2 under .1", func(t *testing.T) {
		m.refused(t, MalformedContext, rawUnknown, append(chain, profileOf(leaf, attested).encode()), key)
	})
	for name, value := range map[string][]byte{"the content of .1 under .2": inLeaf, "garbage under .2": {0x30, 0x01}} {
		_, chain, key := m.member(t, ca.WithExtension(pkix.Extension{Id: oidAttested, Value: value}))
		t.Run(name, func(t *testing.T) { m.refused(t, MalformedContext, "", chain, key) })
	}
	leaf, chain, key = m.member(t, ca.WithExtension(pkix.Extension{Id: oidAttested, Critical: true, Value: attested}))
	t.Run("critical .2", func(t *testing.T) {
		m.refused(t, Untrusted, "", chain, key) // crypto/x509 does not know it
		_, err := readAttested(leaf)
		wantReason(t, outcome{err: err}, MalformedContext)
	})
}

// TestAttackContradictingAttributes: a context against the SPIFFE ID, in the
// name of templates, and against what the CA attests.
func TestAttackContradictingAttributes(t *testing.T) {
	m := newMesh(t)
	for _, p := range []*Policy{&m.client.Policy, &m.server.Policy} {
		p.Attested = []spiffeid.TrustDomain{m.domain.TrustDomain()}
	}
	attested := pkix.Extension{Id: oidAttested, Value: attestedIn(t, ca.Attributes(t, "cloud.availability_zone", "eu-1a"))}
	against := pkix.Extension{Id: oidAttested, Value: attestedIn(t, ca.Attributes(t, "k8s.namespace.name", "admin"))}
	for _, test := range []struct {
		name, path string
		extensions []pkix.Extension
		asserted   []string
	}{
		{"against the ID", "/ns/shop/sa/mallory", nil, []string{"k8s.namespace.name", "admin"}},
		{"against the ID, by case", "/ns/shop/sa/mallory", nil, []string{"k8s.namespace.name", "Shop"}},
		{"governed, and no template matches", "/vm/mallory", nil, []string{"k8s.namespace.name", "admin"}},
		{"governed, and a template matches in part", "/ns/shop/sa/mallory/x", nil, []string{"k8s.namespace.name", "shop"}},
		{"against the CA", "/ns/shop/sa/mallory", []pkix.Extension{attested}, []string{"cloud.availability_zone", "us-1a"}},
		{"the CA against the ID", "/ns/shop/sa/mallory", []pkix.Extension{against}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := m.domain.Snapshot(t, test.path, identity.Attributes{}, ca.WithExtension(test.extensions...))
			chain, key := chainOf(s)
			context := minted(t, s.SVID.Certificates[0], Context{Attributes: ca.Attributes(t, test.asserted...)})
			m.refused(t, ContradictingContext, rawUnknown, append(chain, context), key)
		})
	}
}

// TestAttackAttestedByACAThatIsNotBelieved: its word is ignored, not honoured,
// and the same words in a context are an assertion and no more.
func TestAttackAttestedByACAThatIsNotBelieved(t *testing.T) {
	m := newMesh(t)
	zone := ca.Attributes(t, "cloud.availability_zone", "eu-1a")
	leaf, chain, key := m.member(t, ca.WithExtension(pkix.Extension{Id: oidAttested, Value: attestedIn(t, zone)}))
	for _, run := range []func(testing.TB, *tls.Config) (outcome, outcome){m.againstServer, m.againstClient} {
		ours, _ := run(t, peerOf(chain, key))
		if ours.err != nil {
			t.Fatal(ours.err)
		}
		if a, known := ours.conn.Peer().Attributes.Get("cloud.availability_zone"); known {
			t.Errorf("%v is honoured", a)
		}
		ours, _ = run(t, peerOf(append(chain, minted(t, leaf, Context{Attributes: zone})), key, rawUnknown))
		if ours.err != nil {
			t.Fatal(ours.err)
		}
		if a, _ := ours.conn.Peer().Attributes.Get("cloud.availability_zone"); a.Provenance != Asserted {
			t.Errorf("%v is more than asserted", a)
		}
	}
}

// TestAttackForeignTrustDomain: a federated authority signs an ID of ours, and a
// federated workload states attributes as ours have them.
func TestAttackForeignTrustDomain(t *testing.T) {
	m := newMesh(t)
	foreign := ca.New(t, "other.net")
	ca.Federate(m.domain, foreign)
	for _, source := range []identity.Source{m.client.Source, m.server.Source} {
		snapshotIn(t, source).Bundles = m.domain.Bundles()
	}
	anybody := AuthorizeAny()
	m.client.Policy.Authorize, m.server.Policy.Authorize = anybody, anybody
	t.Run("signs our ID", func(t *testing.T) {
		svid := foreign.SVID(t, "/x", ca.WithURIs(t, "spiffe://example.org"+clientPath))
		context := minted(t, svid.Certificates[0], Context{})
		m.refused(t, Untrusted, rawUnknown, [][]byte{svid.Certificates[0].Raw, context}, svid.PrivateKey)
	})
	t.Run("asserts our attributes", func(t *testing.T) {
		own := m.domain.TrustDomain()
		m.server.Policy.Authorize = AuthorizeAll(AuthorizeMemberOf(own), AuthorizeAny())
		m.client.Policy.Authorize = AuthorizePath(own, "/ns/shop")
		svid := foreign.SVID(t, clientPath)
		context := minted(t, svid.Certificates[0], Context{Attributes: ca.Attributes(t, "k8s.namespace.name", "shop")})
		m.refused(t, Unauthorized, rawUnknown, [][]byte{svid.Certificates[0].Raw, context}, svid.PrivateKey)
	})
	t.Run("is never verified by our templates", func(t *testing.T) {
		m.server.Policy.Authorize, m.client.Policy.Authorize = anybody, anybody
		svid := foreign.SVID(t, clientPath)
		ours, _ := m.againstServer(t, peerOf([][]byte{svid.Certificates[0].Raw}, svid.PrivateKey))
		if ours.err != nil || len(ours.conn.Peer().Attributes) != 0 {
			t.Errorf("%v", ours.err)
		}
	})
}

// TestAttackSilentUnderADenyRule: who says nothing is denied, aware or not.
func TestAttackSilentUnderADenyRule(t *testing.T) {
	m := newMesh(t)
	deny := AuthorizeAll(AuthorizeMemberOf(m.domain.TrustDomain()), DenyAttribute(m.domain.TrustDomain(), "deployment.environment", "test"))
	m.client.Policy.Authorize, m.server.Policy.Authorize = deny, deny
	leaf, chain, key := m.member(t)
	for name, attributes := range map[string]identity.Attributes{
		"silent": {}, "about something else": ca.Attributes(t, "deployment.environment2", "production"), "outspoken": ca.Attributes(t, "deployment.environment", "test"),
	} {
		t.Run(name, func(t *testing.T) {
			m.refused(t, Unauthorized, rawUnknown, append(slices.Clone(chain), minted(t, leaf, Context{Attributes: attributes})), key)
		})
	}
	t.Run("unaware", func(t *testing.T) { m.refused(t, Unauthorized, "", chain, key) })
}

// TestAttackInvalidSVID: what chains to our authority and is no X.509-SVID.
func TestAttackInvalidSVID(t *testing.T) {
	m := newMesh(t)
	uris := func(texts ...string) ca.SVIDOption {
		return ca.WithTemplate(func(c *x509.Certificate) {
			c.URIs = nil
			for _, text := range texts {
				u, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		})
	}
	usage := func(usage x509.KeyUsage) ca.SVIDOption {
		return ca.WithTemplate(func(c *x509.Certificate) { c.KeyUsage = usage })
	}
	for name, option := range map[string]ca.SVIDOption{
		"two SPIFFE URIs":        uris("spiffe://example.org/a", "spiffe://example.org/b"),
		"a SPIFFE and a web URI": uris("spiffe://example.org/a", "https://example.org"),
		"the same URI twice":     uris("spiffe://example.org/a", "spiffe://example.org/a"),
		"no URI":                 uris(),
		"a web URI":              uris("https://example.org/a"),
		"dots in the path":       uris("spiffe://example.org/a/../b"),
		"an escape in the path":  uris("spiffe://example.org/%61"),
		"a port":                 uris("spiffe://example.org:443/a"),
		"a query":                uris("spiffe://example.org/a?b"),
		"a CA":                   ca.AsCA(),
		"keyCertSign":            usage(x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign),
		"cRLSign":                usage(x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign),
		"no digitalSignature":    usage(x509.KeyUsageKeyEncipherment),
		"no key usage":           usage(0),
	} {
		leaf, chain, key := m.member(t, option)
		t.Run(name, func(t *testing.T) {
			m.refused(t, InvalidSVID, "", chain, key)
			m.refused(t, InvalidSVID, rawUnknown, append(chain, minted(t, leaf, Context{})), key)
		})
	}
}

// TestAttackUntrustedSVID: unknown trust domain, another authority under our
// name, a leaf that signs a leaf, and none of them by way of our context.
func TestAttackUntrustedSVID(t *testing.T) {
	m := newMesh(t)
	present := func(name string, want Reason, certs []*x509.Certificate, key any) {
		var chain [][]byte
		for _, c := range certs {
			chain = append(chain, c.Raw)
		}
		t.Run(name, func(t *testing.T) {
			m.refused(t, want, "", chain, key)
			m.refused(t, want, rawUnknown, append(chain, minted(t, certs[0], Context{})), key)
		})
	}
	for name, td := range map[string]string{"unknown trust domain": "nobody.example", "our name": "example.org", "a name below ours": "x.example.org"} {
		s := ca.New(t, td).SVID(t, clientPath)
		present(name, Untrusted, s.Certificates, s.PrivateKey)
	}
	for name, option := range map[string]ca.SVIDOption{"expired": ca.Expired(), "not yet valid": ca.NotYetValid()} {
		s := m.domain.SVID(t, clientPath, option)
		present(name, Expired, s.Certificates, s.PrivateKey)
	}
	own := m.domain.SVID(t, "/ns/shop/sa/mallory")
	forged := signedBy(t, own, "spiffe://example.org"+serverPath)
	present("a leaf that signs", Untrusted, append(forged.Certificates, own.Certificates...), forged.PrivateKey)
}

// TestAttackTLS12: in neither role, whatever the certificates.
func TestAttackTLS12(t *testing.T) {
	m := newMesh(t)
	leaf, chain, key := m.member(t)
	for _, test := range []struct {
		alpn  string
		chain [][]byte
	}{{"", chain}, {rawUnknown, append(slices.Clone(chain), minted(t, leaf, Context{}))}} {
		var ids []string
		if test.alpn != "" {
			ids = []string{test.alpn}
		}
		attacker := peerOf(test.chain, key, ids...)
		attacker.MaxVersion = tls.VersionTLS12
		ours, _ := m.againstServer(t, attacker)
		wantReason(t, ours, ProtocolFailure)
		ours, _ = m.againstClient(t, attacker)
		if got := ReasonOf(ours.err); got != RefusedByPeer && got != ProtocolFailure || ours.conn != nil {
			t.Errorf("against a server of TLS 1.2: %v", ours.err)
		}
	}
	v := Verifier{Snapshot: snapshotIn(t, m.server.Source)}
	cs := stateOf(t, "", chain...)
	cs.Version = tls.VersionTLS12
	_, err := v.Verify(cs)
	wantReason(t, outcome{err: err}, ProtocolFailure)
}

// TestAttackALPN offers control characters, and 255-byte identifiers by the
// hundred; what it offers never shows in an error.
func TestAttackALPN(t *testing.T) {
	m := newMesh(t)
	_, chain, key := m.member(t)
	hundreds := make([]string, 200)
	for i := range hundreds {
		hundreds[i] = strings.Repeat("\x1b[31m", 50) + strings.Repeat("x", i%5)
	}
	for name, test := range map[string]struct {
		offered []string
		want    Reason
	}{
		"controls":                    {[]string{"\x1b]0;owned\x07", "\r\nlevel=info", "\x00"}, NoOverlap},
		"controls in a token":         {[]string{"hallmark/1/raw/\x1b[31m"}, MalformedALPN},
		"an endless token":            {[]string{"hallmark/1/raw/" + strings.Repeat("a", 240)}, MalformedALPN},
		"255 bytes by the hundred":    {hundreds, TooLarge},
		"tokens by the hundred":       {slices.Repeat([]string{rawUnknown}, 300), TooLarge},
		"two detected protocols":      {[]string{rawUnknown, "hallmark/1/raw/redis"}, MalformedALPN},
		"a good token after bad ones": {[]string{"hallmark/1/raw/\u202e", rawUnknown}, MalformedALPN},
	} {
		t.Run(name, func(t *testing.T) {
			ours, attacker := m.againstServer(t, peerOf(chain, key, test.offered...))
			e := wantReason(t, ours, test.want)
			if attacker.err == nil || len(e.Error()) > 400 {
				t.Errorf("attacker %v, and an error of %d bytes", attacker.err, len(e.Error()))
			}
		})
	}
	t.Run("as server", func(t *testing.T) { // selects what was not offered
		client, _ := m.againstClient(t, peerOf(chain, key, "hallmark/1/raw/\x1b[31m"))
		wantReason(t, client, NoOverlap)
	})
}

// TestAttackServerAsksForNoCertificate: an aware server that does not want to
// know the client is not mutual.
func TestAttackServerAsksForNoCertificate(t *testing.T) {
	m := newMesh(t)
	leaf, chain, key := m.member(t)
	attacker := peerOf(append(chain, minted(t, leaf, Context{})), key, rawUnknown)
	attacker.ClientAuth = tls.NoClientCert
	client, _ := m.againstClient(t, attacker)
	wantReason(t, client, MissingContext)
}

// TestAttackServerStatesATarget: only a client's context holds one.
func TestAttackServerStatesATarget(t *testing.T) {
	m := newMesh(t)
	leaf, chain, key := m.member(t)
	for _, c := range []Context{{Target: "x"}, {Trace: Traceparent{TraceID: [16]byte{1}, SpanID: [8]byte{1}}}} {
		client, _ := m.againstClient(t, peerOf(append(slices.Clone(chain), minted(t, leaf, c)), key, rawUnknown))
		wantReason(t, client, MalformedContext)
	}
}
