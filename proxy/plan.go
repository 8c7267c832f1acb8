package proxy

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/proxy/accept"
	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/proxy/policy"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// plan is a configuration made ready for use. It is immutable, and in force
// whole or not at all.
type plan struct {
	proxy      *Proxy
	config     *config.Config
	templates  tlsctx.Templates // as configured: see judge for the own trust domain
	attested   []spiffeid.TrustDomain
	disclosure tlsctx.Disclosure
	policies   []policy.Policy
	sides      map[string]*side // by listen address

	judged atomic.Pointer[judge]
}

// judge is what a plan thinks of peers. It depends on the own trust domain, which
// is known only once there is an identity.
type judge struct {
	own       spiffeid.TrustDomain
	templates tlsctx.Templates
	policies  *policy.Set
}

// compile makes a plan of a configuration, without touching anything outside.
func (p *Proxy) compile(c *config.Config) (*plan, error) {
	spec := &c.Proxy.Spec
	pl := &plan{proxy: p, config: c, sides: make(map[string]*side)}
	pl.templates, pl.attested = trustDomains(spec.TrustDomains)
	pl.disclosure = disclosure(spec.Disclosure)
	for i := range c.Policies {
		pl.policies = append(pl.policies, policyOf(&c.Policies[i]))
	}
	// A rule that makes no sense is refused now, not when the identity is there.
	if err := Validate(c); err != nil {
		return nil, err
	}
	if snapshot, err := p.identity.Snapshot(); err == nil {
		if _, err := policy.New(snapshot.ID().TrustDomain(), pl.policies); err != nil {
			return nil, err
		}
	}
	for i := range c.Inbounds {
		s, err := p.inbound(pl, &c.Inbounds[i])
		if err != nil {
			return nil, err
		}
		pl.sides[s.listen] = s
	}
	for i := range c.Outbounds {
		s, err := p.outbound(pl, &c.Outbounds[i])
		if err != nil {
			return nil, err
		}
		pl.sides[s.listen] = s
	}
	return pl, nil
}

// placeholder stands for the own trust domain while it is not known.
func placeholder() spiffeid.TrustDomain {
	return spiffeid.RequireTrustDomainFromString("own.invalid")
}

// judge returns what the plan thinks of peers as a member of the trust domain.
func (pl *plan) judge(own spiffeid.TrustDomain) *judge {
	if j := pl.judged.Load(); j != nil && j.own == own {
		return j
	}
	j := &judge{own: own, templates: pl.templates}
	if len(pl.templates[own]) == 0 {
		j.templates = make(tlsctx.Templates, len(pl.templates)+1)
		maps.Copy(j.templates, pl.templates)
		j.templates[own] = []tlsctx.Template{tlsctx.KubernetesTemplate()}
	}
	set, err := policy.New(own, pl.policies)
	if err != nil && pl.proxy != nil {
		pl.proxy.log.Error("the policies make no sense in our own trust domain: everything is denied",
			zap.Stringer("trust_domain", own), zap.Error(err))
	}
	j.policies = set
	pl.judged.Store(j)
	return j
}

// policy returns how the handshake judges peers as a member of the trust domain.
func (pl *plan) policy(own spiffeid.TrustDomain, authorize tlsctx.Authorizer) tlsctx.Policy {
	return tlsctx.Policy{Templates: pl.judge(own).templates, Attested: pl.attested, Authorize: authorize}
}

// accepting returns how the plan's listeners accept.
func (pl *plan) accepting(from config.AcceptProxyProtocol) accept.Config {
	spec := &pl.config.Proxy.Spec
	return accept.Config{
		MaxConnections: spec.Limits.Connections,
		Socket:         socketOptions(spec.KeepAlive),
		Proxy:          accept.ProxyHeader{Trusted: from.From, Timeout: spec.Timeouts.ProxyHeader},
	}
}

func socketOptions(k config.KeepAlive) accept.SocketOptions {
	return accept.SocketOptions{
		KeepAliveIdle: k.Idle, KeepAliveInterval: k.Interval, KeepAliveCount: k.Count, UserTimeout: k.UserTimeout,
	}
}

func trustDomains(configured []config.TrustDomain) (tlsctx.Templates, []spiffeid.TrustDomain) {
	templates := make(tlsctx.Templates)
	var attested []spiffeid.TrustDomain
	for _, td := range configured {
		templates[td.Name] = td.Templates
		if td.Attested {
			attested = append(attested, td.Name)
		}
	}
	return templates, attested
}

func disclosure(d config.Disclosure) tlsctx.Disclosure {
	out := tlsctx.Disclosure{Public: d.Public}
	for _, to := range d.To {
		if out.To == nil {
			out.To = make(map[spiffeid.TrustDomain][]string)
		}
		out.To[to.TrustDomain] = to.Attributes
	}
	return out
}

// policyOf gives a policy's resource the form that the stage takes.
func policyOf(r *config.AuthorizationPolicy) policy.Policy {
	p := policy.Policy{
		Name: r.Name, Audit: r.Spec.Enforcement == config.Audit,
		Targets: r.Spec.Targets, Ports: r.Spec.Ports,
	}
	if r.Spec.Action == config.ActionDeny {
		p.Action = policy.Deny
	}
	for _, rule := range r.Spec.Rules {
		var out policy.Rule
		for _, from := range rule.From {
			out.From = append(out.From, policy.Source(from))
		}
		for _, when := range rule.When {
			out.When = append(out.When, policy.Condition(when))
		}
		p.Rules = append(p.Rules, out)
	}
	return p
}

// sessions are the kinds that an inbound side takes.
func sessions(configured []config.Session) []tlsctx.Session {
	kinds := make([]tlsctx.Session, 0, len(configured))
	for _, s := range configured {
		switch s {
		case config.H2:
			kinds = append(kinds, tlsctx.H2)
		case config.Mux:
			kinds = append(kinds, tlsctx.Mux)
		case config.Raw:
			kinds = append(kinds, tlsctx.Raw)
		case config.Auto:
			kinds = append(kinds, tlsctx.H2, tlsctx.Mux, tlsctx.Raw)
		}
	}
	return slices.Compact(kinds)
}

func awareness(p config.Peers) tlsctx.Awareness {
	if p == config.Require {
		return tlsctx.Require
	}
	return tlsctx.Prefer
}

// portOf returns the port of an address, or 0 if it has none.
func portOf(address string) uint16 {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// Validate reports what is wrong with a configuration that only shows when it is
// put together, and changes nothing: what [Proxy.Apply] would refuse before it
// opens a socket.
func Validate(c *config.Config) error {
	var policies []policy.Policy
	for i := range c.Policies {
		policies = append(policies, policyOf(&c.Policies[i]))
	}
	return policy.Validate(policies)
}
