package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

var (
	own     = spiffeid.RequireTrustDomainFromString("own.test")
	partner = spiffeid.RequireTrustDomainFromString("partner.test")
	cart    = spiffeid.RequireFromString("spiffe://own.test/ns/shop/sa/cart")
)

func peer(id string, attributes ...tlsctx.Attribute) *tlsctx.Peer {
	p := &tlsctx.Peer{Attributes: attributes}
	if id != "" {
		p.ID = spiffeid.RequireFromString(id)
	}
	return p
}

func attribute(value string, p tlsctx.Provenance) tlsctx.Attribute {
	return tlsctx.Attribute{Name: "env", Value: value, Provenance: p}
}

func rules(action Action, rules ...Rule) []Policy {
	return []Policy{{Name: "p", Action: action, Rules: rules}}
}

func when(c Condition) Rule {
	c.Attribute = "env"
	return Rule{When: []Condition{c}}
}

func from(s Source) Rule { return Rule{From: []Source{s}} }

const (
	ours   = "spiffe://own.test/ns/shop/sa/cart"
	theirs = "spiffe://partner.test/ns/shop/sa/cart"
)

func TestCheck(t *testing.T) {
	test := Condition{Values: []string{"test"}}
	onlyProd := Condition{NotValues: []string{"prod"}}
	theirTest := Condition{Values: []string{"test"}, TrustDomain: partner}
	for name, c := range map[string]struct {
		policies []Policy
		peer     *tlsctx.Peer
		want     Reason
	}{
		"nothing said, own":            {nil, peer(ours), ""},
		"nothing said, foreign":        {nil, peer(theirs), ForeignTrustDomain},
		"nothing said, plaintext":      {nil, peer(""), ""},
		"no peer":                      {nil, nil, EvaluationFailed},
		"allow without rules":          {rules(Allow), peer(ours), NoAllowingRule},
		"allow {}, own":                {rules(Allow, Rule{}), peer(ours), ""},
		"allow {}, foreign":            {rules(Allow, Rule{}), peer(theirs), NoAllowingRule},
		"allow {}, plaintext":          {rules(Allow, Rule{}), peer(""), NoAllowingRule},
		"deny {}, own":                 {rules(Deny, Rule{}), peer(ours), DeniedByRule},
		"deny {}, foreign":             {rules(Deny, Rule{}), peer(theirs), DeniedByRule},
		"deny {}, plaintext":           {rules(Deny, Rule{}), peer(""), DeniedByRule},
		"allow foreign domain":         {rules(Allow, from(Source{TrustDomains: []spiffeid.TrustDomain{partner}})), peer(theirs), ""},
		"and the own is not meant":     {rules(Allow, from(Source{TrustDomains: []spiffeid.TrustDomain{partner}})), peer(ours), NoAllowingRule},
		"allow plaintext":              {rules(Allow, from(Source{Plaintext: true})), peer(""), ""},
		"and nobody else":              {rules(Allow, from(Source{Plaintext: true})), peer(ours), NoAllowingRule},
		"exact":                        {rules(Allow, from(Source{IDs: []spiffeid.ID{cart}})), peer(ours), ""},
		"exact, longer":                {rules(Allow, from(Source{IDs: []spiffeid.ID{cart}})), peer(ours + "/x"), NoAllowingRule},
		"prefix, itself":               {rules(Allow, from(Source{PathPrefixes: []spiffeid.ID{cart}})), peer(ours), ""},
		"prefix, below":                {rules(Allow, from(Source{PathPrefixes: []spiffeid.ID{cart}})), peer(ours + "/x"), ""},
		"prefix, half a segment":       {rules(Allow, from(Source{PathPrefixes: []spiffeid.ID{cart}})), peer(ours + "s"), NoAllowingRule},
		"prefix, other domain":         {rules(Allow, from(Source{PathPrefixes: []spiffeid.ID{cart}})), peer(theirs), NoAllowingRule},
		"allow, verified":              {rules(Allow, when(test)), peer(ours, attribute("test", tlsctx.Verified)), ""},
		"allow, only asserted":         {rules(Allow, when(test)), peer(ours, attribute("test", tlsctx.Asserted)), NoAllowingRule},
		"allow, unknown":               {rules(Allow, when(test)), peer(ours), NoAllowingRule},
		"allow, foreign attribute":     {rules(Allow, when(test)), peer(theirs, attribute("test", tlsctx.Attested)), NoAllowingRule},
		"allow, foreign by name":       {rules(Allow, when(theirTest)), peer(theirs, attribute("test", tlsctx.Attested)), ""},
		"allow not, unknown":           {rules(Allow, when(onlyProd)), peer(ours), NoAllowingRule},
		"allow not, another":           {rules(Allow, when(onlyProd)), peer(ours, attribute("test", tlsctx.Verified)), ""},
		"deny, asserted":               {rules(Deny, when(test)), peer(ours, attribute("test", tlsctx.Asserted)), DeniedByRule},
		"deny, another":                {rules(Deny, when(test)), peer(ours, attribute("prod", tlsctx.Asserted)), ""},
		"deny, silent":                 {rules(Deny, when(test)), peer(ours), DeniedByRule},
		"deny, plaintext is silent":    {rules(Deny, when(test)), peer(""), DeniedByRule},
		"deny, foreign":                {append(rules(Deny, when(test)), rules(Allow, from(Source{TrustDomains: []spiffeid.TrustDomain{partner}}))...), peer(theirs), ""},
		"deny unless prod":             {rules(Deny, when(onlyProd)), peer(ours, attribute("prod", tlsctx.Asserted)), ""},
		"deny unless prod, else":       {rules(Deny, when(onlyProd)), peer(ours, attribute("x", tlsctx.Attested)), DeniedByRule},
		"deny unless verified":         {rules(Deny, when(Condition{NotValues: []string{"prod"}, MinProvenance: tlsctx.Verified})), peer(ours, attribute("prod", tlsctx.Asserted)), DeniedByRule},
		"deny goes before allow":       {append(rules(Allow, Rule{}), rules(Deny, Rule{})...), peer(ours), DeniedByRule},
		"other target":                 {[]Policy{{Action: Deny, Targets: []string{"web"}, Rules: []Rule{{}}}}, peer(ours), ""},
		"other port":                   {[]Policy{{Action: Deny, Ports: []uint16{1}, Rules: []Rule{{}}}}, peer(ours), ""},
		"this target and port":         {[]Policy{{Action: Deny, Targets: []string{"web", "db"}, Ports: []uint16{1, 5432}, Rules: []Rule{{}}}}, peer(ours), DeniedByRule},
		"allow elsewhere is not here":  {[]Policy{{Targets: []string{"web"}, Rules: []Rule{{}}}}, peer(theirs), ForeignTrustDomain},
		"audited does not deny":        {[]Policy{{Action: Deny, Audit: true, Rules: []Rule{{}}}}, peer(ours), ""},
		"audited allow does not allow": {[]Policy{{Audit: true, Rules: []Rule{from(Source{TrustDomains: []spiffeid.TrustDomain{partner}})}}}, peer(theirs), ForeignTrustDomain},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := New(own, c.policies)
			if err != nil {
				t.Fatal(err)
			}
			got := set.Check(Request{Peer: c.peer, Target: "db", Port: 5432, Permissive: true})
			if reasonOf(got.Denied) != c.want {
				t.Errorf("denied %q, want %q", reasonOf(got.Denied), c.want)
			}
		})
	}
}

func TestPlaintextNeedsAPermissiveListener(t *testing.T) {
	set, err := New(own, rules(Allow, from(Source{Plaintext: true})))
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Check(Request{Peer: peer("")}); reasonOf(got.Denied) != PlaintextPeer {
		t.Errorf("denied %v, want %s", got.Denied, PlaintextPeer)
	}
}

func TestNoPolicyDenies(t *testing.T) {
	var set *Set
	if got := set.Check(Request{Peer: peer(ours)}); reasonOf(got.Denied) != EvaluationFailed {
		t.Errorf("denied %v, want %s", got.Denied, EvaluationFailed)
	}
}

func TestDecisionNamesItsPolicy(t *testing.T) {
	set, err := New(own, []Policy{
		{Name: "no-test", Action: Deny, Rules: []Rule{from(Source{TrustDomains: []spiffeid.TrustDomain{partner}}), when(Condition{Values: []string{"test"}})}},
		{Name: "carts", Rules: []Rule{from(Source{IDs: []spiffeid.ID{cart}})}},
		{Name: "soon", Audit: true, Action: Deny, Rules: []Rule{when(Condition{NotValues: []string{"prod"}})}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := set.Check(Request{Peer: peer(ours, attribute("test", tlsctx.Asserted))})
	if want := (Denial{DeniedByRule, "no-test", "rules[1]"}); got.Denied == nil || *got.Denied != want {
		t.Errorf("denied %+v, want %+v", got.Denied, want)
	}
	var denial *Denial
	if err := got.Err(); !errors.As(err, &denial) || err.Error() != "policy: denied by rules[1] of policy no-test" {
		t.Errorf("error %v", err)
	}
	got = set.Check(Request{Peer: peer(ours, attribute("dev", tlsctx.Verified))})
	if want := (Denial{DeniedByRule, "soon", "rules[0]"}); got.Denied != nil || got.Policy != "carts" || *got.Audited != want {
		t.Errorf("got %+v, audited %+v, want allowed by carts, audited %+v", got, got.Audited, want)
	}
	got = set.Check(Request{Peer: peer("spiffe://own.test/x", attribute("prod", tlsctx.Verified))})
	if want := (Denial{NoAllowingRule, "carts", ""}); got.Denied == nil || *got.Denied != want {
		t.Errorf("denied %+v, want %+v", got.Denied, want)
	}
}

func TestAuditOfAllowPolicies(t *testing.T) {
	set, err := New(own, []Policy{
		{Name: "all", Rules: []Rule{{}}},
		{Name: "carts", Audit: true, Rules: []Rule{from(Source{IDs: []spiffeid.ID{cart}})}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Check(Request{Peer: peer("spiffe://own.test/x")}); got.Denied != nil || got.Audited != nil {
		t.Errorf("got %+v: another policy allows it in force as well", got)
	}
	set, err = New(own, []Policy{{Name: "carts", Audit: true, Rules: []Rule{from(Source{IDs: []spiffeid.ID{cart}})}}})
	if err != nil {
		t.Fatal(err)
	}
	got := set.Check(Request{Peer: peer("spiffe://own.test/x")})
	if want := (Denial{NoAllowingRule, "carts", ""}); got.Denied != nil || got.Audited == nil || *got.Audited != want {
		t.Errorf("got %+v, want allowed and audited %+v", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	env := Condition{Attribute: "env", Values: []string{"x"}}
	theirEnv := Condition{Attribute: "env", Values: []string{"x"}, TrustDomain: partner}
	for want, p := range map[string]Policy{
		"action 7":                        {Action: 7},
		"from[0]: takes nobody":           {Rules: []Rule{from(Source{})}},
		"an ID is empty":                  {Rules: []Rule{from(Source{IDs: []spiffeid.ID{{}}})}},
		"has no path":                     {Rules: []Rule{from(Source{PathPrefixes: []spiffeid.ID{partner.ID()}})}},
		"a trust domain is empty":         {Rules: []Rule{from(Source{TrustDomains: []spiffeid.TrustDomain{{}}})}},
		"is no attribute name":            {Rules: []Rule{{When: []Condition{{Attribute: "Env", Values: []string{"x"}}}}}},
		"neither values nor notValues":    {Rules: []Rule{{When: []Condition{{Attribute: "env"}}}}},
		"outside 1 to 255":                {Rules: []Rule{{When: []Condition{{Attribute: "env", Values: []string{""}}}}}},
		"is no provenance":                {Rules: []Rule{{When: []Condition{{Attribute: "env", Values: []string{"x"}, MinProvenance: 4}}}}},
		"rules[1]: when[1]: env":          {Rules: []Rule{{}, {When: []Condition{env, theirEnv}}}},
		"from takes nobody of own.test":   {Action: Deny, Rules: []Rule{{From: []Source{{TrustDomains: []spiffeid.TrustDomain{partner}}}, When: []Condition{env}}}},
		"from takes nobody of partner.te": {Rules: []Rule{{From: []Source{{IDs: []spiffeid.ID{cart}}}, When: []Condition{theirEnv}}}},
	} {
		if _, err := New(own, []Policy{p}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", p, err, want)
		}
	}
	if _, err := New(spiffeid.TrustDomain{}, nil); err == nil {
		t.Error("took no trust domain for the own")
	}
}

// Before the own trust domain is known, what depends on it is not judged.
func TestValidate(t *testing.T) {
	env := Condition{Attribute: "env", Values: []string{"x"}}
	theirEnv := Condition{Attribute: "env", Values: []string{"x"}, TrustDomain: partner}
	fromCart := []Source{{IDs: []spiffeid.ID{cart}}}
	for _, good := range []Rule{{From: fromCart, When: []Condition{env}}, {When: []Condition{env, theirEnv}}} {
		if err := Validate([]Policy{{Rules: []Rule{good}}}); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []Rule{{From: fromCart, When: []Condition{theirEnv}}, {From: []Source{{}}}, {When: []Condition{{Attribute: "env"}}}} {
		if err := Validate([]Policy{{Rules: []Rule{bad}}}); err == nil {
			t.Errorf("took %+v", bad)
		}
	}
}

// What New was given is not what it keeps.
func TestSetIsImmutable(t *testing.T) {
	p := Policy{Name: "p", Action: Deny, Targets: []string{"db"}, Rules: []Rule{when(Condition{Values: []string{"test"}})}}
	set, err := New(own, []Policy{p})
	if err != nil {
		t.Fatal(err)
	}
	p.Targets[0], p.Rules[0].When[0].Values[0] = "web", "prod"
	got := set.Check(Request{Peer: peer(ours, attribute("test", tlsctx.Verified)), Target: "db"})
	if reasonOf(got.Denied) != DeniedByRule {
		t.Errorf("denied %v after the caller changed its slices", got.Denied)
	}
}
