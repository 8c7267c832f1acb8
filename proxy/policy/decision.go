package policy

import (
	"fmt"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

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

	// EvaluationFailed: the question could not be answered, for want of a
	// policy or of a peer.
	EvaluationFailed Reason = "evaluation_failed"
)

// Denial is why a request is refused. It does not name the peer: who asked
// knows it. It is immutable.
type Denial struct {
	// Reason is the kind of denial.
	Reason Reason

	// Policy is the name of the policy that denied: for [NoAllowingRule] the
	// first that applied. Otherwise it is "".
	Policy string

	// Rule is the place of the rule in its policy, such as rules[0], or "".
	Rule string
}

// Error says which policy and rule, and why.
func (d *Denial) Error() string {
	switch d.Reason {
	case DeniedByRule:
		return fmt.Sprintf("policy: denied by %s of policy %s", d.Rule, d.Policy)
	case NoAllowingRule:
		return fmt.Sprintf("policy: no rule allows it, of policy %s or any other that applies", d.Policy)
	case ForeignTrustDomain:
		return "policy: the peer is of another trust domain, and no policy applies that allows it"
	case PlaintextPeer:
		return "policy: the peer has no identity, and this listener takes no plaintext"
	default:
		return "policy: there is no policy, or no peer, to ask about"
	}
}

// Decision is the answer.
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

// Err returns the denial as an error, and nil if there is none.
func (d Decision) Err() error {
	if d.Denied == nil {
		return nil
	}
	return d.Denied
}
