package policy

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Check answers the request. It allocates nothing.
//
// Denials come first. Then, if any Allow policy applies to the target and port,
// one of those that apply must have a rule that matches. If none applies, peers
// of the own trust domain may, and plaintext peers where the listener takes
// them. Policies in audit mode count only for [Decision.Audited].
//
// A plaintext peer matches an Allow rule only if the rule names plaintext; it
// matches a Deny rule that is about anybody, and then has no attribute that
// would speak for it.
func (s *Set) Check(r Request) Decision {
	if s == nil || r.Peer == nil {
		return Decision{Denied: &Denial{Reason: EvaluationFailed}}
	}
	if !r.Peer.Secured() && !r.Permissive {
		return Decision{Denied: &Denial{Reason: PlaintextPeer}}
	}
	d := s.evaluate(&r, false)
	if d.Denied == nil && s.audits {
		d.Audited = s.evaluate(&r, true).Denied
	}
	return d
}

// evaluate answers with the policies in force, or, if audit is set, as if those
// in audit mode were in force too.
func (s *Set) evaluate(r *Request, audit bool) Decision {
	for _, p := range s.deny {
		if !p.applies(r, audit) {
			continue
		}
		for i := range p.rules {
			if p.rules[i].denies(r.Peer) {
				return Decision{Denied: p.rules[i].denial}
			}
		}
	}
	var applied *policy
	for _, p := range s.allow {
		if !p.applies(r, audit) {
			continue
		}
		for i := range p.rules {
			if p.rules[i].allows(r.Peer, s.own) {
				return Decision{Policy: p.name}
			}
		}
		if applied == nil {
			applied = p
		}
	}
	switch {
	case applied != nil:
		return Decision{Denied: applied.unmatched}
	case r.Peer.Secured() && !r.Peer.ID.MemberOf(s.own):
		return Decision{Denied: &Denial{Reason: ForeignTrustDomain}}
	default:
		return Decision{}
	}
}

// applies reports whether the policy is for the target and port.
func (p *policy) applies(r *Request, audit bool) bool {
	return (audit || !p.audit) &&
		(len(p.targets) == 0 || slices.Contains(p.targets, r.Target)) &&
		(len(p.ports) == 0 || slices.Contains(p.ports, r.Port))
}

// allows reports whether an Allow rule matches: all is known that it asks for.
func (r *rule) allows(peer *tlsctx.Peer, own spiffeid.TrustDomain) bool {
	switch {
	case !r.anybody && !r.from.contains(peer.ID):
		return false
	case r.anybody && len(r.when) == 0 && !peer.ID.MemberOf(own):
		return false
	}
	for i := range r.when {
		if !r.when[i].holds(peer) {
			return false
		}
	}
	return true
}

// denies reports whether a Deny rule matches: nothing is known that excludes it.
func (r *rule) denies(peer *tlsctx.Peer) bool {
	if !r.anybody && !r.from.contains(peer.ID) {
		return false
	}
	for i := range r.when {
		if r.when[i].cleared(peer) {
			return false
		}
	}
	return true
}

// contains reports whether any of the sources takes the ID; the zero ID is a
// plaintext peer's.
func (f *source) contains(id spiffeid.ID) bool {
	if id.IsZero() {
		return f.plaintext
	}
	if _, ok := f.ids[id]; ok {
		return true
	}
	if slices.Contains(f.domains, id.TrustDomain()) {
		return true
	}
	for i := range f.prefixes {
		if f.prefixes[i].contains(id) {
			return true
		}
	}
	return false
}

// holds reports whether the peer's attribute is known, and is as it must be.
func (c *condition) holds(peer *tlsctx.Peer) bool {
	if !peer.ID.MemberOf(c.domain) {
		return false
	}
	a, known := peer.Attributes.Get(c.attribute)
	return known && a.Provenance >= c.least && c.matches(a.Value)
}

// cleared reports whether the condition of a Deny rule does not concern the
// peer: because it is of another trust domain, or because its attribute is
// known and is another. A plaintext peer is cleared of nothing.
func (c *condition) cleared(peer *tlsctx.Peer) bool {
	if !peer.Secured() {
		return false
	}
	if !peer.ID.MemberOf(c.domain) {
		return true
	}
	a, known := peer.Attributes.Get(c.attribute)
	return known && a.Provenance >= c.least && !c.matches(a.Value)
}

// matches reports whether the value is one of those, and none of these.
func (c *condition) matches(value string) bool {
	return (len(c.values) == 0 || slices.Contains(c.values, value)) && !slices.Contains(c.notValues, value)
}
