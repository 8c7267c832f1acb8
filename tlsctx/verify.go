package tlsctx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Bounds on a peer's Certificate message, checked before any signature. A chain
// of 250 kB of decoys would otherwise cost a third of a second. What is within
// them is then reduced to a [path].
const (
	maxCertificates     = 6
	maxCertificateBytes = 16 << 10
)

// Policy says how a peer is judged. Its zero value takes plain SPIFFE identities
// of the own trust domain.
type Policy struct {
	// Templates says which attributes the SPIFFE IDs of a trust domain state.
	Templates Templates

	// Attested lists the trust domains whose CA is believed in what it attests
	// inside an SVID. Some CAs copy what a signing request asks for; of a
	// trust domain not listed here, attested attributes are ignored.
	Attested []spiffeid.TrustDomain

	// Authorize decides after everything else has been verified. Nil takes
	// the members of the own trust domain.
	Authorize Authorizer

	// Time is the clock; nil means time.Now.
	Time func() time.Time
}

func (p *Policy) now() time.Time {
	if p.Time == nil {
		return time.Now()
	}
	return p.Time()
}

// Verifier judges a peer's certificates under one snapshot and policy. Both
// ends of a handshake use it, and so can any TLS 1.3 stack that has a
// tls.ConnectionState, QUIC among them. It is safe for concurrent use if its
// fields are not changed.
type Verifier struct {
	Snapshot *identity.Snapshot
	Policy   Policy
}

// Verify decides whether the peer of the given connection state may go on, and
// returns who it is. It is meant for VerifyConnection: never for
// VerifyPeerCertificate, which crypto/tls skips on resumption.
//
// The peer has then not yet proved that it holds its key. Until Handshake has
// returned nil, use the result for nothing but the decision.
//
// Its errors are of type *[Error].
func (v *Verifier) Verify(cs tls.ConnectionState) (*Peer, error) {
	chain, contextCert, err := split(cs)
	if err != nil {
		return nil, err
	}
	peer, err := v.verify(cs, path(chain), contextCert)
	if err != nil {
		e := classify(context.Background(), err)
		if id, idErr := x509svid.IDFromCert(chain[0]); idErr == nil {
			e.Claimed = id
		}
		return nil, e
	}
	return peer, nil
}

func (v *Verifier) verify(cs tls.ConnectionState, chain []*x509.Certificate, contextCert *x509.Certificate) (*Peer, error) {
	id, chains, err := v.verifySVID(chain)
	if err != nil {
		return nil, err
	}
	var stated Context
	if contextCert != nil {
		if stated, err = readContext(chain[0], contextCert); err != nil {
			return nil, err
		}
	}
	attested, err := readAttested(chain[0])
	if err != nil {
		return nil, err
	}
	if !slices.Contains(v.Policy.Attested, id.TrustDomain()) {
		attested = Context{}
	}
	attributes, err := v.Policy.Templates.merge(id, attested.Attributes, stated.Attributes)
	if err != nil {
		return nil, err
	}
	peer := &Peer{
		ID: id, Attributes: attributes, Target: stated.Target, Trace: stated.Trace,
		ALPN: cs.NegotiatedProtocol, Chains: chains, Certificates: chain,
		KeyExchange: cs.CurveID, CipherSuite: cs.CipherSuite,
		Generation: v.Snapshot.Generation, LocalID: v.Snapshot.ID(),
	}
	peer.setSession()
	return peer, v.authorize(peer)
}

// split checks the bounds and tells the SVID's chain from the context
// certificate, which is there if and only if a hallmark token was negotiated.
func split(cs tls.ConnectionState) (chain []*x509.Certificate, contextCert *x509.Certificate, err error) {
	certs := cs.PeerCertificates
	switch {
	case cs.Version < tls.VersionTLS13:
		return nil, nil, failure(ProtocolFailure, "peer negotiated %s, and TLS 1.3 is required", tls.VersionName(cs.Version))
	case cs.DidResume:
		return nil, nil, failure(ProtocolFailure, "session was resumed, and its certificates are not to be believed")
	case len(certs) == 0:
		return nil, nil, failure(InvalidSVID, "peer sent no certificate")
	case len(certs) > maxCertificates:
		return nil, nil, failure(TooLarge, "peer sent %d certificates, more than %d", len(certs), maxCertificates)
	}
	size := 0
	for _, c := range certs {
		size += len(c.Raw)
	}
	if size > maxCertificateBytes {
		return nil, nil, failure(TooLarge, "peer sent %d bytes of certificates, more than %d", size, maxCertificateBytes)
	}
	chain = certs
	if isAware(cs.NegotiatedProtocol) {
		if _, err := ParseToken(cs.NegotiatedProtocol); err != nil {
			return nil, nil, &Error{Reason: MalformedALPN, Err: err}
		}
		last := len(certs) - 1
		if _, ok := findExtension(certs[last], oidContext); !ok || last == 0 {
			return nil, nil, missing(certs)
		}
		chain, contextCert = certs[:last], certs[last]
		if n := len(contextCert.Raw); n > maxContextCertificate {
			return nil, nil, failure(TooLarge, "context certificate has %d bytes, more than %d", n, maxContextCertificate)
		}
	}
	return chain, contextCert, misplaced(chain, contextCert)
}

// missing says why the last certificate is no context.
func missing(certs []*x509.Certificate) error {
	for i, c := range certs {
		if _, ok := findExtension(c, oidContext); ok {
			return failure(UnexpectedContext, "context extension is in certificate %d of %d, and belongs into the last of at least two", i+1, len(certs))
		}
	}
	return failure(MissingContext, "a hallmark token was negotiated and no context certificate sent")
}

// misplaced refuses our extensions anywhere but in their own place.
func misplaced(chain []*x509.Certificate, contextCert *x509.Certificate) error {
	for i, c := range chain {
		if _, ok := findExtension(c, oidContext); ok {
			return failure(UnexpectedContext, "certificate %d of the chain is a context certificate that nobody asked for", i+1)
		}
		if _, ok := findExtension(c, oidAttested); ok && i > 0 {
			return failure(UnexpectedContext, "certificate %d of the chain attests attributes, which only a leaf may", i+1)
		}
	}
	if contextCert != nil {
		if _, ok := findExtension(contextCert, oidAttested); ok {
			return failure(UnexpectedContext, "context certificate holds attested attributes, which only a leaf may")
		}
	}
	return nil
}

func (v *Verifier) verifySVID(chain []*x509.Certificate) (spiffeid.ID, [][]*x509.Certificate, error) {
	return v.verifySVIDAt(chain, v.Policy.now())
}

func (v *Verifier) verifySVIDAt(chain []*x509.Certificate, now time.Time) (spiffeid.ID, [][]*x509.Certificate, error) {
	leaf := chain[0]
	id, err := x509svid.IDFromCert(leaf)
	switch {
	case err != nil:
		return id, nil, failure(InvalidSVID, "leaf is no X.509-SVID: %w", err)
	case leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return id, nil, failure(InvalidSVID, "leaf is a CA certificate, not an X.509-SVID")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return id, nil, failure(InvalidSVID, "leaf's keyUsage lacks digitalSignature")
	}
	id, chains, err := x509svid.Verify(chain, v.Snapshot.Bundles, x509svid.WithTime(now))
	if err != nil {
		return id, nil, &Error{Reason: untrusted(err), Err: err}
	}
	return id, chains, nil
}

func (v *Verifier) authorize(p *Peer) error {
	authorize := v.Policy.Authorize
	if authorize == nil {
		authorize = AuthorizeMemberOf(v.Snapshot.ID().TrustDomain())
	}
	if err := authorize(p); err != nil {
		return &Error{Reason: Unauthorized, Err: err}
	}
	return nil
}

// Reverify asks again, under the verifier's snapshot and policy, whether a peer
// of an earlier handshake would still be taken: its chain good for the current
// bundles, the peer authorised, and its chain within its validity. A session that
// lives long is resumption by another name; ask before every new stream, and
// when policy or trust changes. A plaintext peer is only authorised.
//
// The reason [Expired] means that nothing but time speaks against the peer: it
// proved its identity while that was valid, so that what is open may go on, and
// nothing new may begin.
func (v *Verifier) Reverify(p *Peer) error {
	if !p.Secured() {
		return v.authorize(p)
	}
	now, ends := v.Policy.now(), p.NotAfter()
	at := now
	if at.After(ends) {
		at = ends
	}
	if _, _, err := v.verifySVIDAt(p.Certificates, at); err != nil {
		return err
	}
	if err := v.authorize(p); err != nil {
		return err
	}
	if now.After(ends) {
		return failure(Expired, "peer's X.509-SVID was valid until %s", ends.Format(time.RFC3339))
	}
	return nil
}

// merge joins what the SPIFFE ID implies, what the CA attests and what the peer
// asserts. Where two of them state one name they must agree, and nobody may
// assert what a template of the trust domain governs unless the ID or the CA
// says the same.
func (ts Templates) merge(id spiffeid.ID, attested, asserted identity.Attributes) (Attributes, error) {
	templates := ts[id.TrustDomain()]
	derived := derive(templates, id)
	merged := make(Attributes, 0, attested.Len()+len(derived)+asserted.Len())
	add := func(a identity.Attribute, p Provenance) error {
		known, ok := merged.find(a.Name)
		switch {
		case ok && known.Value != a.Value:
			return failure(ContradictingContext, "%s is %s as %q and %s as %q", a.Name, known.Provenance, known.Value, p, a.Value)
		case ok:
			return nil
		case p == Asserted && governs(templates, a.Name):
			return failure(ContradictingContext, "%s=%q is asserted, and the SPIFFE ID, which has to say it, does not", a.Name, a.Value)
		}
		merged = append(merged, Attribute{a.Name, a.Value, p})
		return nil
	}
	for a := range attested.All() {
		if err := add(a, Attested); err != nil {
			return nil, err
		}
	}
	for _, a := range derived {
		if err := add(a, Verified); err != nil {
			return nil, err
		}
	}
	for a := range asserted.All() {
		if err := add(a, Asserted); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(merged, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
	return merged, nil
}

// find is Get for a list that is not sorted yet.
func (as Attributes) find(name string) (Attribute, bool) {
	for _, a := range as {
		if a.Name == name {
			return a, true
		}
	}
	return Attribute{}, false
}

// setSession fills in what the negotiated identifier says.
func (p *Peer) setSession() {
	if t, err := ParseToken(p.ALPN); err == nil {
		p.Aware, p.Session, p.Detected = true, t.Session, t.Detected
		return
	}
	p.Session, p.Detected = Raw, ofRegistered(p.ALPN)
	if p.Detected == HTTP2 {
		p.Session = H2
	}
}
