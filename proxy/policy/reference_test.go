package policy

import (
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// reference answers as the documentation reads, sentence by sentence, and with
// no thought of cost. It returns the kind of denial, or "".
type reference struct {
	own      spiffeid.TrustDomain
	policies []Policy
}

func (s reference) check(r Request) (denied, audited Reason) {
	if r.Peer == nil {
		return EvaluationFailed, ""
	}
	if r.Peer.ID.IsZero() && !r.Permissive {
		return PlaintextPeer, ""
	}
	var enforced []Policy
	for _, p := range s.policies {
		if !p.Audit {
			enforced = append(enforced, p)
		}
	}
	denied = s.judge(enforced, r)
	if denied == "" {
		audited = s.judge(s.policies, r)
	}
	return denied, audited
}

func (s reference) judge(policies []Policy, r Request) Reason {
	allowPolicies, allowed := 0, false
	for _, p := range policies {
		forTarget := len(p.Targets) == 0 || slices.Contains(p.Targets, r.Target)
		forPort := len(p.Ports) == 0 || slices.Contains(p.Ports, r.Port)
		if !forTarget || !forPort {
			continue
		}
		if p.Action == Allow {
			allowPolicies++
		}
		for _, rule := range p.Rules {
			if !s.matches(p.Action, rule, r.Peer) {
				continue
			}
			if p.Action == Deny {
				return DeniedByRule
			}
			allowed = true
		}
	}
	if allowPolicies > 0 && !allowed {
		return NoAllowingRule
	}
	if allowPolicies == 0 && !r.Peer.ID.IsZero() && r.Peer.ID.TrustDomain() != s.own {
		return ForeignTrustDomain
	}
	return ""
}

func (s reference) matches(action Action, rule Rule, peer *tlsctx.Peer) bool {
	if len(rule.From) > 0 {
		from := false
		for _, source := range rule.From {
			from = from || taken(source, peer)
		}
		if !from {
			return false
		}
	} else if action == Allow && peer.ID.IsZero() {
		return false // plaintext is never meant unless it is named
	} else if action == Allow && len(rule.When) == 0 && peer.ID.TrustDomain() != s.own {
		return false
	}
	for _, c := range rule.When {
		if !s.condition(action, c, peer) {
			return false
		}
	}
	return true
}

func taken(source Source, peer *tlsctx.Peer) bool {
	if peer.ID.IsZero() {
		return source.Plaintext
	}
	for _, id := range source.IDs {
		if id.String() == peer.ID.String() {
			return true
		}
	}
	for _, id := range source.PathPrefixes {
		if strings.HasPrefix(peer.ID.String()+"/", id.String()+"/") {
			return true
		}
	}
	for _, td := range source.TrustDomains {
		if td.Name() == peer.ID.TrustDomain().Name() {
			return true
		}
	}
	return false
}

func (s reference) condition(action Action, c Condition, peer *tlsctx.Peer) bool {
	domain := c.TrustDomain
	if domain.IsZero() {
		domain = s.own
	}
	plaintext := peer.ID.IsZero()
	if !plaintext && peer.ID.TrustDomain() != domain {
		return false
	}
	least := c.MinProvenance
	if least == 0 && action == Allow {
		least = tlsctx.Verified
	}
	var value string
	var provenance tlsctx.Provenance // 0: not known
	for _, a := range peer.Attributes {
		if a.Name == c.Attribute && !plaintext {
			value, provenance = a.Value, a.Provenance
		}
	}
	known := provenance != 0 && provenance >= least
	as := len(c.Values) == 0 || slices.Contains(c.Values, value)
	not := !slices.Contains(c.NotValues, value)
	if action == Allow {
		return known && as && not
	}
	return !known || as && not
}

// choices makes policies and requests of a small world, in which much collides,
// out of a sequence of numbers.
type choices struct{ next func(n int) int }

func (c choices) domain() spiffeid.TrustDomain {
	return spiffeid.RequireTrustDomainFromString([]string{"own.test", "other.test", "third.test"}[c.next(3)])
}

func (c choices) id() spiffeid.ID {
	path := []string{"/ns", "/ns/a", "/ns/a/sa/x", "/ns/ab", "/ns/a/sa/y"}[c.next(5)]
	return spiffeid.RequireFromPath(c.domain(), path)
}

func pick[T any](c choices, of ...T) T { return of[c.next(len(of))] }

func many[T any](c choices, most int, one func() T) []T {
	var list []T
	for range c.next(most + 1) {
		list = append(list, one())
	}
	return list
}

func (c choices) value() string { return pick(c, "red", "green", "blue") }

func (c choices) attribute() string { return pick(c, "env", "zone") }

func (c choices) source() Source {
	return Source{
		IDs: many(c, 2, c.id), PathPrefixes: many(c, 1, c.id), TrustDomains: many(c, 1, c.domain),
		Plaintext: c.next(4) == 0,
	}
}

func (c choices) condition() Condition {
	return Condition{
		Attribute: c.attribute(), Values: many(c, 2, c.value), NotValues: many(c, 1, c.value),
		MinProvenance: pick(c, 0, tlsctx.Asserted, tlsctx.Verified, tlsctx.Attested),
		TrustDomain:   pick(c, spiffeid.TrustDomain{}, c.domain()),
	}
}

func (c choices) rule() Rule {
	return Rule{From: many(c, 2, c.source), When: many(c, 2, c.condition)}
}

func (c choices) target() string { return pick(c, "db", "web") }

func (c choices) port() uint16 { return pick[uint16](c, 80, 443) }

func (c choices) policy() Policy {
	return Policy{
		Name: pick(c, "one", "two", "three"), Action: pick(c, Allow, Deny), Audit: c.next(3) == 0,
		Targets: many(c, 1, c.target), Ports: many(c, 1, c.port), Rules: many(c, 2, c.rule),
	}
}

// policies leaves out what New would refuse.
func (c choices) policies(own spiffeid.TrustDomain) []Policy {
	var good []Policy
	for _, p := range many(c, 4, c.policy) {
		if _, err := New(own, []Policy{p}); err == nil {
			good = append(good, p)
		}
	}
	return good
}

func (c choices) request() Request {
	peer := &tlsctx.Peer{}
	if c.next(5) > 0 {
		peer.ID = c.id()
		for _, name := range []string{"env", "zone"} { // in order
			if provenance := tlsctx.Provenance(c.next(4)); provenance > 0 {
				peer.Attributes = append(peer.Attributes, tlsctx.Attribute{Name: name, Value: c.value(), Provenance: provenance})
			}
		}
	}
	return Request{Peer: peer, Target: c.target(), Port: c.port(), Permissive: c.next(2) == 0}
}
