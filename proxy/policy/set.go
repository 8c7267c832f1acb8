package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Set is the policies in force. It is immutable and safe for concurrent use. A
// nil one denies everything.
type Set struct {
	own         spiffeid.TrustDomain
	deny, allow []*policy
	audits      bool // some policy is in audit mode
}

// policy is a [Policy], made ready.
type policy struct {
	name    string
	audit   bool
	targets []string
	ports   []uint16
	rules   []rule

	unmatched *Denial // where no rule of it, nor of others, allows
}

// rule is a [Rule], made ready.
type rule struct {
	anybody bool // From is empty
	from    source
	when    []condition
	denial  *Denial // where the rule denies
}

// source is all of a rule's [Source] together.
type source struct {
	ids       map[spiffeid.ID]struct{}
	prefixes  []prefix
	domains   []spiffeid.TrustDomain
	plaintext bool
}

// prefix is a SPIFFE ID that others lie below.
type prefix struct {
	domain spiffeid.TrustDomain
	path   string
}

// condition is a [Condition], made ready.
type condition struct {
	attribute         string
	values, notValues []string
	least             tlsctx.Provenance
	domain            spiffeid.TrustDomain
}

// New returns the policies, made ready to be asked, for a workload of the own
// trust domain. It refuses a policy with a mistake, and one with a rule that
// cannot match anybody: a denial that never denies is worse than none.
func New(own spiffeid.TrustDomain, policies []Policy) (*Set, error) {
	if own.IsZero() {
		return nil, errors.New("policy: the own trust domain is not known")
	}
	return compile(own, policies)
}

// Validate refuses what [New] would refuse for any own trust domain, before that
// is known.
func Validate(policies []Policy) error {
	_, err := compile(spiffeid.TrustDomain{}, policies)
	return err
}

// compile makes the policies ready. While the own trust domain is not known it is
// zero, and no rule is refused for what depends on it.
func compile(own spiffeid.TrustDomain, policies []Policy) (*Set, error) {
	s := &Set{own: own}
	for _, given := range policies {
		p, err := s.compile(given)
		if err != nil {
			return nil, fmt.Errorf("policy: %s: %w", given.Name, err)
		}
		s.audits = s.audits || p.audit
		if given.Action == Deny {
			s.deny = append(s.deny, p)
		} else {
			s.allow = append(s.allow, p)
		}
	}
	return s, nil
}

func (s *Set) compile(given Policy) (*policy, error) {
	p := &policy{
		name: given.Name, audit: given.Audit,
		targets: slices.Clone(given.Targets), ports: slices.Clone(given.Ports),
		unmatched: &Denial{Reason: NoAllowingRule, Policy: given.Name},
	}
	if given.Action != Allow && given.Action != Deny {
		return nil, fmt.Errorf("action %d is neither Allow nor Deny", given.Action)
	}
	for i, r := range given.Rules {
		place := fmt.Sprintf("rules[%d]", i)
		compiled, err := s.compileRule(given.Action, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		compiled.denial = &Denial{Reason: DeniedByRule, Policy: given.Name, Rule: place}
		p.rules = append(p.rules, compiled)
	}
	return p, nil
}

func (s *Set) compileRule(action Action, given Rule) (rule, error) {
	r := rule{anybody: len(given.From) == 0}
	for i, from := range given.From {
		if err := r.from.add(from); err != nil {
			return rule{}, fmt.Errorf("from[%d]: %w", i, err)
		}
	}
	for i, when := range given.When {
		c, err := s.compileCondition(action, when)
		if err != nil {
			return rule{}, fmt.Errorf("when[%d]: %w", i, err)
		}
		if i > 0 && c.domain != r.when[0].domain && !c.domain.IsZero() && !r.when[0].domain.IsZero() {
			return rule{}, fmt.Errorf("when[%d]: %s is an attribute of %s and %s one of %s: nobody is a member of both", i, c.attribute, c.domain, r.when[0].attribute, r.when[0].domain)
		}
		if !r.anybody && !c.domain.IsZero() && !r.from.reaches(c.domain) {
			return rule{}, fmt.Errorf("when[%d]: from takes nobody of %s, whose attribute %s is meant: say trustDomain", i, c.domain, c.attribute)
		}
		r.when = append(r.when, c)
	}
	return r, nil
}

func (f *source) add(given Source) error {
	if len(given.IDs)+len(given.PathPrefixes)+len(given.TrustDomains) == 0 && !given.Plaintext {
		return errors.New("takes nobody: name an ID, a path prefix, a trust domain or plaintext")
	}
	for _, id := range given.IDs {
		if id.IsZero() {
			return errors.New("an ID is empty")
		}
		if f.ids == nil {
			f.ids = make(map[spiffeid.ID]struct{})
		}
		f.ids[id] = struct{}{}
	}
	for _, id := range given.PathPrefixes {
		if id.Path() == "" {
			return fmt.Errorf("path prefix %q has no path: name the trust domain as one", id)
		}
		f.prefixes = append(f.prefixes, prefix{id.TrustDomain(), id.Path()})
	}
	if slices.ContainsFunc(given.TrustDomains, spiffeid.TrustDomain.IsZero) {
		return errors.New("a trust domain is empty")
	}
	f.domains = append(f.domains, given.TrustDomains...)
	f.plaintext = f.plaintext || given.Plaintext
	return nil
}

// reaches reports whether some member of the trust domain can match.
func (f *source) reaches(domain spiffeid.TrustDomain) bool {
	for id := range f.ids {
		if id.MemberOf(domain) {
			return true
		}
	}
	return slices.Contains(f.domains, domain) ||
		slices.ContainsFunc(f.prefixes, func(p prefix) bool { return p.domain == domain })
}

func (s *Set) compileCondition(action Action, given Condition) (condition, error) {
	c := condition{
		attribute: given.Attribute, values: slices.Clone(given.Values), notValues: slices.Clone(given.NotValues),
		least: given.MinProvenance, domain: given.TrustDomain,
	}
	if err := identity.ValidateAttributeName(c.attribute); err != nil {
		return condition{}, err
	}
	if len(c.values)+len(c.notValues) == 0 {
		return condition{}, fmt.Errorf("%s has neither values nor notValues", c.attribute)
	}
	for _, v := range slices.Concat(c.values, c.notValues) {
		if err := identity.ValidateAttributeValue(v); err != nil {
			return condition{}, fmt.Errorf("%s: %w", c.attribute, err)
		}
	}
	switch {
	case c.least < 0 || c.least > tlsctx.Attested:
		return condition{}, fmt.Errorf("%s: %d is no provenance", c.attribute, c.least)
	case c.least == 0 && action == Deny:
		c.least = tlsctx.Asserted
	case c.least == 0:
		c.least = tlsctx.Verified
	}
	if c.domain.IsZero() {
		c.domain = s.own
	}
	return c, nil
}

// contains reports whether the ID is the prefix or below it.
func (p prefix) contains(id spiffeid.ID) bool {
	rest, ok := strings.CutPrefix(id.Path(), p.path)
	return ok && id.MemberOf(p.domain) && (rest == "" || rest[0] == '/')
}
