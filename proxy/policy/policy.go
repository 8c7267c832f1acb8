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

// Rule matches a peer that From matches and that all of When hold for.
type Rule struct {
	// From says who the peer is; nil means anybody, which Allow limits to the
	// own trust domain, or the one that When names.
	From []Source

	// When are conditions on the peer's attributes.
	When []Condition
}

// Source matches peers that any of its fields matches.
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
	// the own.
	TrustDomain spiffeid.TrustDomain
}

// Request is what a peer wants.
type Request struct {
	// Peer is who asks. A zero [tlsctx.Peer.ID] is a plaintext peer.
	Peer *tlsctx.Peer

	// Target is the name of the target that was selected, not what the peer
	// asked for.
	Target string

	// Port is the target's, or 0 if it has none.
	Port uint16

	// Permissive says that the listener takes plaintext peers.
	Permissive bool
}

// Reason says in a word why a request is denied; use it as a metric's label.
type Reason string

// The reasons.
const (
	// DeniedByRule: a rule of a Deny policy matches.
	DeniedByRule Reason = "denied_by_rule"

	// NoAllowingRule: Allow policies apply, and no rule of theirs matches.
	NoAllowingRule Reason = "no_allowing_rule"

	// ForeignTrustDomain: no Allow policy applies, and the peer is of another
	// trust domain.
	ForeignTrustDomain Reason = "foreign_trust_domain"

	// PlaintextPeer: the peer has no identity, and the listener takes none
	// such.
	PlaintextPeer Reason = "plaintext_peer"

	// EvaluationFailed: the question could not be answered.
	EvaluationFailed Reason = "evaluation_failed"
)

// Denial is why a request is refused. It does not name the peer: who asked
// knows it.
type Denial struct {
	// Reason is the kind of denial.
	Reason Reason

	// Policy is the name of the policy that denied, or "".
	Policy string

	// Detail says more, such as which rule of the policy.
	Detail string
}

// Decision is the answer. The zero value allows.
type Decision struct {
	// Denied is why the request is refused, or nil.
	Denied *Denial

	// Audited is why it would have been refused if the policies in audit mode
	// took effect, or nil. It is nil if the request is refused anyway.
	Audited *Denial

	// Policy is the name of the policy that allowed it, or "" where none
	// applied.
	Policy string
}

// Set is the policies in force. It is immutable and safe for concurrent use.
type Set struct {
	own      spiffeid.TrustDomain
	policies []Policy
}
