package policy

import (
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Action says whether the rules of a policy allow or deny.
type Action int

// The actions.
const (
	Allow Action = iota
	Deny
)

// Policy is rules with one action, for some targets and ports.
type Policy struct {
	// Name is how decisions name the policy, such as its resource's name.
	Name string

	// Action says whether the rules allow or deny.
	Action Action

	// Audit says that the policy takes no effect: [Decision.Audited] tells
	// what it would have refused.
	Audit bool

	// Targets are the names of the targets that the policy is for; empty means
	// all.
	Targets []string

	// Ports are those that the policy is for; empty means all.
	Ports []uint16

	// Rules say whom the policy is about: the peers that any of them matches.
	// Allow without rules allows nobody.
	Rules []Rule
}

// Rule matches a peer that From matches and that all of When hold for. The zero
// value matches as From says of being empty.
type Rule struct {
	// From says who the peer is: one of them matches. Empty means, for Deny,
	// anybody, plaintext peers too; for Allow, the own trust domain, or the one
	// that When names.
	From []Source

	// When are conditions on the peer's attributes, all of the same trust
	// domain, one from which From takes somebody.
	When []Condition
}

// Source matches peers that any of its fields matches; the zero value is refused.
type Source struct {
	// IDs are whole SPIFFE IDs.
	IDs []spiffeid.ID

	// PathPrefixes are SPIFFE IDs with a path that the peer's has or begins
	// with, by whole segments.
	PathPrefixes []spiffeid.ID

	// TrustDomains take all of a trust domain.
	TrustDomains []spiffeid.TrustDomain

	// Plaintext takes peers without identity.
	Plaintext bool
}

// Condition is one on an attribute. At least one of Values and NotValues is
// given.
type Condition struct {
	// Attribute is the attribute's name.
	Attribute string

	// Values are those that the attribute must have one of, NotValues those
	// that it must not have.
	Values, NotValues []string

	// MinProvenance is from which provenance on the attribute counts as known;
	// 0 means [tlsctx.Verified] for Allow and [tlsctx.Asserted] for Deny. Deny
	// matches a denied value at any provenance, and a peer of which the
	// attribute is not known.
	MinProvenance tlsctx.Provenance

	// TrustDomain is the trust domain whose attributes these are; zero means
	// the own. Attributes of another one never match.
	TrustDomain spiffeid.TrustDomain
}
