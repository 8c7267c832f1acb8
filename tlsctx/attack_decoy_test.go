package tlsctx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
)

// decoyCA makes CA certificates that only take time, of the key that takes most
// of it.
type decoyCA struct {
	tb   testing.TB
	made int64
}

// decoy says what a certificate claims, and who signs it.
type decoy struct {
	subject, issuer pkix.Name
	key, signer     *ecdsa.PrivateKey
	id              string // of a leaf
	keyID           []byte
	padding         int // bytes of an extension that nobody knows
}

func (d *decoyCA) certificate(of decoy) []byte {
	d.tb.Helper()
	d.made++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(d.made), Subject: of.subject,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true, SubjectKeyId: of.keyID,
		DNSNames: []string{fmt.Sprintf("decoy%d.example", d.made)}, // else x509 takes equal ones for one
	}
	if of.id != "" {
		template.URIs = parseURI(d.tb, of.id)
		template.IsCA, template.KeyUsage, template.DNSNames = false, x509.KeyUsageDigitalSignature, nil
	}
	if of.padding > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: make([]byte, of.padding)}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: of.issuer}, of.key.Public(), of.signer)
	if err != nil {
		d.tb.Fatal(err)
	}
	return der
}

// attackChain is a chain that costs as much as TLS and the bounds let it.
type attackChain struct {
	chain [][]byte
	key   any
	want  Reason
}

func decoys(tb testing.TB, m *mesh) map[string]attackChain {
	tb.Helper()
	root := m.domain.Bundle().X509Authorities()[0].Subject
	d := &decoyCA{tb: tb}
	one, leafKey := randomKey(tb, elliptic.P521()), randomKey(tb, elliptic.P521())
	leaf := func(issuer pkix.Name) []byte {
		return d.certificate(decoy{subject: root, issuer: issuer, key: leafKey, signer: one, id: "spiffe://example.org" + clientPath})
	}
	name := func(i int) pkix.Name { return pkix.Name{CommonName: fmt.Sprint("intermediate ", i)} }

	sameName, manyKeys, keyIDs, noWhere := [][]byte{leaf(root)}, [][]byte{leaf(root)}, [][]byte{leaf(root)}, [][]byte{leaf(name(0))}
	for i := range maxCertificates - 1 {
		same := decoy{subject: root, issuer: root, key: one, signer: one}
		sameName = append(sameName, d.certificate(same))
		same.keyID = []byte{byte(i), 1}
		keyIDs = append(keyIDs, d.certificate(same))
		manyKeys = append(manyKeys, d.certificate(decoy{subject: root, issuer: root, key: randomKey(tb, elliptic.P521()), signer: one}))
		above := name(i + 1)
		if i == maxCertificates-2 {
			above = root
		}
		noWhere = append(noWhere, d.certificate(decoy{subject: name(i), issuer: above, key: one, signer: one}))
	}
	large := d.certificate(decoy{subject: root, issuer: root, key: one, signer: one, padding: maxCertificateBytes / 2})
	thousand := slices.Repeat([][]byte{sameName[1]}, 250_000/len(sameName[1]))
	return map[string]attackChain{
		"one name and key, every order": {sameName, leafKey, Untrusted},
		"one name, many keys":           {manyKeys, leafKey, Untrusted},
		"one name, many key ids":        {keyIDs, leafKey, Untrusted},
		"a good chain to nowhere":       {noWhere, leafKey, Untrusted},
		"250 kB":                        {append([][]byte{leaf(root)}, thousand...), leafKey, TooLarge},
		"two of 8 KiB":                  {[][]byte{leaf(root), large, large}, leafKey, TooLarge},
		"seven":                         {append(slices.Clone(sameName), sameName[1]), leafKey, TooLarge},
	}
}

// countingCurve counts the signatures verified with the keys that are on it.
// Its parameters are at an address of their own, so that crypto/ecdsa does not
// take it for one of those of which it knows a faster way.
type countingCurve struct {
	elliptic.Curve
	params elliptic.CurveParams
	checks int
}

func (c *countingCurve) Params() *elliptic.CurveParams { return &c.params }

func (c *countingCurve) ScalarMult(x, y *big.Int, k []byte) (*big.Int, *big.Int) {
	c.checks++
	return c.Curve.ScalarMult(x, y, k) //nolint:staticcheck // crypto/ecdsa calls it, of a curve that it does not know
}

// signatureCounter puts the public keys of certificates onto counting curves.
type signatureCounter map[elliptic.Curve]*countingCurve

func (s signatureCounter) watch(certs ...*x509.Certificate) {
	for _, c := range certs {
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok {
			continue
		}
		if s[key.Curve] == nil {
			s[key.Curve] = &countingCurve{Curve: key.Curve, params: *key.Params()}
		}
		watched := *key
		watched.Curve = s[key.Curve]
		c.PublicKey = &watched
	}
}

func (s signatureCounter) checks() int {
	n := 0
	for _, c := range s {
		n += c.checks
	}
	return n
}

// countChecks returns how many signatures it takes to judge the chain.
func (m *mesh) countChecks(tb testing.TB, alpn string, chain [][]byte) (int, error) {
	tb.Helper()
	counter := signatureCounter{}
	authority := mustParse(tb, m.domain.Bundle().X509Authorities()[0].Raw)
	cs := stateOf(tb, alpn, chain...)
	counter.watch(append(slices.Clone(cs.PeerCertificates), authority)...)
	s := *snapshotIn(tb, m.server.Source)
	s.Bundles = x509bundle.NewSet(x509bundle.FromX509Authorities(m.domain.TrustDomain(), []*x509.Certificate{authority}))
	v := Verifier{Snapshot: &s, Policy: m.server.Policy}
	_, err := v.Verify(cs)
	return counter.checks(), err
}

// TestAttackDecoys counts the signatures that a server verifies to refuse the
// costliest chains: at most one for each certificate, and one for an authority
// of theirs by name. None if they are too many or too large.
func TestAttackDecoys(t *testing.T) {
	m := newMesh(t)
	for name, attack := range decoys(t, m) {
		t.Run(name, func(t *testing.T) {
			m.refused(t, attack.want, "", attack.chain, attack.key)
			limit := maxCertificates + 1
			if attack.want == TooLarge {
				limit = 0
			}
			checks, err := m.countChecks(t, "", attack.chain)
			if ReasonOf(err) != attack.want || checks > limit {
				t.Errorf("refusing costs %d signatures, more than %d: %v", checks, limit, err)
			}
			if attack.want == Untrusted && checks == 0 {
				t.Error("no signature was counted: the measure is broken")
			}
		})
	}
}

// countingConn counts what is read from it.
type countingConn struct {
	net.Conn
	read int
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read += n
	return n, err
}

// TestAttackEndlessCertificates: 250 kB of certificates are within what
// crypto/tls parses, and not within what is read.
func TestAttackEndlessCertificates(t *testing.T) {
	m := newMesh(t)
	attack := decoys(t, m)["250 kB"]
	for name, run := range map[string]func(ours, theirs net.Conn) (outcome, outcome){
		"as client": func(ours, theirs net.Conn) (outcome, outcome) {
			return together(t,
				func() (*Conn, error) { return Server(t.Context(), ours, &m.server) },
				func() (*Conn, error) { return bare(t, theirs, tls.Client(theirs, peerOf(attack.chain, attack.key))) })
		},
		"as server": func(ours, theirs net.Conn) (outcome, outcome) {
			return together(t,
				func() (*Conn, error) { return Client(t.Context(), ours, &m.client) },
				func() (*Conn, error) { return bare(t, theirs, tls.Server(theirs, peerOf(attack.chain, attack.key))) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := tcpPair(t)
			counted := &countingConn{Conn: far}
			ours, _ := run(counted, near)
			wantReason(t, ours, TooLarge)
			if counted.read > maxHandshakeBytes {
				t.Errorf("%d bytes were read, more than %d", counted.read, maxHandshakeBytes)
			}
		})
	}
}

// TestBoundEndsWithTheHandshake: what the application sends right behind it does
// not count, however much it is.
func TestBoundEndsWithTheHandshake(t *testing.T) {
	const size = 16 * maxHandshakeBytes
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			near, far := transport(t)
			sent := make(chan error, 1)
			go func() {
				conn, err := Client(t.Context(), near, &m.client)
				if err == nil {
					_, err = conn.Write(make([]byte, size))
				}
				sent <- err
			}()
			conn, err := Server(t.Context(), far, &m.server)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.ReadFull(conn, make([]byte, size))
			if err != nil {
				_ = near.Close() // or the client waits for somebody who reads
			}
			if sendErr := <-sent; err != nil || sendErr != nil || n != size {
				t.Errorf("read %d bytes, %v; sent %v", n, err, sendErr)
			}
			_, _ = near.Close(), far.Close()
		})
	}
}

// TestContextCostsNoSignature: the same chain with and without one takes as many
// as it has certificates.
func TestContextCostsNoSignature(t *testing.T) {
	m := newMesh(t)
	m.domain = ca.New(t, "example.org", ca.WithIntermediates(2))
	leaf, chain, _ := m.member(t)
	for alpn, sent := range map[string][][]byte{"": chain, rawUnknown: append(slices.Clone(chain), minted(t, leaf, Context{}))} {
		if checks, err := m.countChecks(t, alpn, sent); err != nil || checks != 3 {
			t.Errorf("ALPN %q: %d signatures, %v, want 3", alpn, checks, err)
		}
	}
}

// TestPathLeavesOutWhatDoesNotBelong: a peer that sends more than its chain is
// taken by its chain, and one that sends it in disorder is not.
func TestPathLeavesOutWhatDoesNotBelong(t *testing.T) {
	m := newMesh(t)
	domain := ca.New(t, "example.org", ca.WithIntermediates(2))
	s := domain.Snapshot(t, "/ns/shop/sa/mallory", identity.Attributes{})
	m.client.Source, m.server.Source = static(s), static(s)
	sent, key := chainOf(s)
	leaf, lower, upper := sent[0], sent[1], sent[2]
	root, other := domain.Bundle().X509Authorities()[0].Raw, ca.New(t, "other.net").Bundle().X509Authorities()[0].Raw
	d, key521 := &decoyCA{tb: t}, randomKey(t, elliptic.P521())
	lowerName := s.SVID.Certificates[1].Subject
	another := d.certificate(decoy{subject: lowerName, issuer: lowerName, key: key521, signer: key521, keyID: []byte{1}})
	for name, test := range map[string]struct {
		chain [][]byte
		kept  int
	}{
		"the chain":         {[][]byte{leaf, lower, upper}, 3},
		"with the root":     {[][]byte{leaf, lower, upper, root}, 4},
		"twice the root":    {[][]byte{leaf, lower, upper, root, root}, 4},
		"a foreign root":    {[][]byte{leaf, lower, upper, other}, 3},
		"something between": {[][]byte{leaf, other, lower, lower, upper}, 3},
		"the leaf again":    {[][]byte{leaf, leaf, lower, upper}, 3},
		"one of its name":   {[][]byte{leaf, another, lower, upper}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			for alpn, chain := range map[string][][]byte{"": test.chain, rawUnknown: append(slices.Clone(test.chain), minted(t, s.SVID.Certificates[0], Context{}))} {
				var ids []string
				if alpn != "" {
					ids = []string{alpn}
				}
				ours, _ := m.againstServer(t, peerOf(chain, key, ids...))
				if ours.err != nil {
					t.Fatal(ours.err)
				}
				if got := ours.conn.Peer().Certificates; len(got) != test.kept || !bytes.Equal(got[0].Raw, leaf) {
					t.Errorf("%d certificates kept, want %d", len(got), test.kept)
				}
			}
		})
	}
	t.Run("in disorder", func(t *testing.T) { m.refused(t, Untrusted, "", [][]byte{leaf, upper, lower}, key) })
}

// BenchmarkDecoys is what Verify takes to refuse each chain, and as ratio how
// many times as much as to accept a good one.
func BenchmarkDecoys(b *testing.B) {
	m := newMesh(b)
	v := Verifier{Snapshot: snapshotIn(b, m.server.Source), Policy: m.server.Policy}
	_, plain, _ := m.member(b)
	good := stateOf(b, "", plain...)
	for name, attack := range decoys(b, m) {
		cs := stateOf(b, "", attack.chain...)
		b.Run(name, func(b *testing.B) {
			var spent [2]time.Duration
			for b.Loop() {
				for i, state := range []tls.ConnectionState{good, cs} {
					start := time.Now()
					_, _ = v.Verify(state)
					spent[i] += time.Since(start)
				}
			}
			b.ReportMetric(float64(spent[1])/float64(spent[0]), "ratio")
		})
	}
}

// TestContextCarriesAsMuchAsItMay: the largest context that Mint makes is taken,
// beside a chain as long as it may be.
func TestContextCarriesAsMuchAsItMay(t *testing.T) {
	m := newMesh(t)
	domain := ca.New(t, "example.org", ca.WithIntermediates(maxCertificates-2))
	var list []identity.Attribute
	for i := range 12 {
		list = append(list, identity.Attribute{Name: fmt.Sprintf("a%02d", i), Value: string(bytes.Repeat([]byte{'x'}, identity.MaxAttributeValue))})
	}
	attributes, err := identity.NewAttributes(list...)
	if err != nil {
		t.Fatal(err)
	}
	m.client.Source = static(domain.Snapshot(t, clientPath, attributes, ca.WithKeyType(ca.RSA2048)))
	m.server.Source = static(domain.Snapshot(t, serverPath, identity.Attributes{}))
	_, client := m.peers(t)
	if len(client.Certificates) != maxCertificates-1 || len(client.Attributes) != 14 {
		t.Errorf("%d certificates, %d attributes", len(client.Certificates), len(client.Attributes))
	}
}
