package tlsctx

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Provenance says how far an attribute is to be believed. Higher is further.
type Provenance int

const (
	// Asserted: the workload's own word. Any holder of an SVID can assert
	// anything here.
	Asserted Provenance = iota + 1

	// Verified: derived from the SPIFFE ID by a template.
	Verified

	// Attested: signed by the CA inside the SVID.
	Attested
)

// String returns the provenance's name in lower case, as metrics and rules
// spell it.
func (p Provenance) String() string {
	switch p {
	case Asserted:
		return "asserted"
	case Verified:
		return "verified"
	case Attested:
		return "attested"
	default:
		return "none"
	}
}

// ParseProvenance is the inverse of [Provenance.String]; it reports false for
// any other text.
func ParseProvenance(text string) (Provenance, bool) {
	for p := Asserted; p <= Attested; p++ {
		if p.String() == text {
			return p, true
		}
	}
	return 0, false
}

// Attribute is one fact about a peer, and how far it is to be believed.
type Attribute struct {
	Name       string
	Value      string
	Provenance Provenance
}

// Attributes are a peer's attributes, sorted by name, each name once.
type Attributes []Attribute

// Get returns the named attribute and whether there is one.
func (as Attributes) Get(name string) (Attribute, bool) {
	i, found := slices.BinarySearchFunc(as, name, func(a Attribute, name string) int {
		return strings.Compare(a.Name, name)
	})
	if !found {
		return Attribute{}, false
	}
	return as[i], true
}

// Value returns the value of the named attribute if its provenance is at least
// least, and "" otherwise.
func (as Attributes) Value(name string, least Provenance) string {
	if a, ok := as.Get(name); ok && a.Provenance >= least {
		return a.Value
	}
	return ""
}

// Peer is what a completed handshake has established about the other end. It is
// immutable.
type Peer struct {
	// ID is the peer's SPIFFE ID, from its X.509-SVID alone. It is zero for a
	// plaintext peer.
	ID spiffeid.ID

	// Attributes are the peer's, with their provenance.
	Attributes Attributes

	// Aware says that a hallmark token was negotiated, and a context
	// exchanged.
	Aware bool

	// Session is how bytes are framed: [Raw] for an unaware peer, unless it
	// negotiated h2.
	Session Session

	// Detected is what the source detected: from the token; from the
	// registered ALPN identifier of an unaware peer; else [Unknown].
	Detected Protocol

	// Target is what a client asked for, or "". It selects among what the
	// server has configured and is never an address to dial.
	Target string

	// Trace is the trace context that a client sent, or zero.
	Trace Traceparent

	// ALPN is the negotiated identifier, or "".
	ALPN string

	// Chains are the verified chains, leaf first, root last.
	Chains [][]*x509.Certificate

	// Certificates is the SVID's chain as the peer sent it, leaf first,
	// without the context certificate and what does not certify the one before.
	Certificates []*x509.Certificate

	// KeyExchange is the TLS key exchange group (RFC 8446, section 4.2.7).
	KeyExchange tls.CurveID

	// CipherSuite is the TLS cipher suite.
	CipherSuite uint16

	// Generation is that of our own snapshot under which the peer was
	// verified; see [identity.Snapshot].
	Generation uint64

	// LocalID is our own SPIFFE ID in this handshake.
	LocalID spiffeid.ID
}

// Secured says whether the peer was authenticated by mutual TLS at all.
func (p *Peer) Secured() bool { return !p.ID.IsZero() }

// NotAfter returns when the first certificate of the peer's verified chain
// expires, of several chains the one that lasts longest, or the zero time for a
// plaintext peer. No new stream belongs on a session after it.
func (p *Peer) NotAfter() time.Time {
	var last time.Time
	for _, chain := range p.Chains {
		first := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		if first.After(last) {
			last = first
		}
	}
	return last
}
