package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func checkPolicy(w *written, spec *AuthorizationPolicySpec) {
	for i, name := range spec.Targets {
		if slices.Contains(spec.Targets[:i], name) {
			w.problem(fmt.Sprintf("spec.targets[%d]", i), "%q is given twice", name)
		}
	}
	for i, port := range spec.Ports {
		if slices.Contains(spec.Ports[:i], port) {
			w.problem(fmt.Sprintf("spec.ports[%d]", i), "%d is given twice", port)
		}
	}
	if spec.Action == ActionDeny && len(spec.Rules) == 0 {
		w.problem("spec.rules", "is empty: a DENY policy without rules denies nobody; a rule {} denies everybody")
	}
	for i := range spec.Rules {
		checkRule(w, fmt.Sprintf("spec.rules[%d]", i), &spec.Rules[i])
	}
}

// checkRule checks a rule, and that somebody can match it: a denial that never
// denies is worse than none.
func checkRule(w *written, path string, r *PolicyRule) {
	for i := range r.From {
		checkSource(w, fmt.Sprintf("%s.from[%d]", path, i), &r.From[i])
	}
	for i := range r.When {
		place := fmt.Sprintf("%s.when[%d]", path, i)
		c := &r.When[i]
		checkCondition(w, place, c)
		switch first := r.When[0].TrustDomain; {
		case c.TrustDomain != first:
			w.problem(place+".trustDomain", "differs from that of when[0]: nobody is a member of two trust domains, say the same in both or in neither")
		case !c.TrustDomain.IsZero() && len(r.From) > 0 && !reaches(r.From, c.TrustDomain):
			w.problem(place+".trustDomain", "is %s, of which from takes nobody", c.TrustDomain.Name())
		case len(r.From) > 0 && onlyPlaintext(r.From):
			w.problem(place, "is about an attribute, and from takes only plaintext peers, which have none")
		}
	}
}

func checkSource(w *written, path string, s *PolicySource) {
	if len(s.IDs)+len(s.PathPrefixes)+len(s.TrustDomains) == 0 && !s.Plaintext {
		w.problem(path, "takes nobody: want ids, pathPrefixes, trustDomains or plaintext")
	}
	for i, id := range s.PathPrefixes {
		if id.Path() == "" {
			w.problem(fmt.Sprintf("%s.pathPrefixes[%d]", path, i), "%q has no path: name the trust domain as one", id)
		}
	}
	for i, td := range s.TrustDomains {
		if slices.Contains(s.TrustDomains[:i], td) {
			w.problem(fmt.Sprintf("%s.trustDomains[%d]", path, i), "%q is given twice", td.Name())
		}
	}
}

func checkCondition(w *written, path string, c *PolicyCondition) {
	if len(c.Values)+len(c.NotValues) == 0 {
		w.problem(path, "has neither values nor notValues")
	}
	for i, v := range c.Values {
		if slices.Contains(c.NotValues, v) {
			w.problem(fmt.Sprintf("%s.values[%d]", path, i), "%q is among notValues as well", v)
		}
	}
}

// reaches reports whether the sources take some member of the trust domain.
func reaches(sources []PolicySource, td spiffeid.TrustDomain) bool {
	member := func(id spiffeid.ID) bool { return id.MemberOf(td) }
	return slices.ContainsFunc(sources, func(s PolicySource) bool {
		return slices.Contains(s.TrustDomains, td) || slices.ContainsFunc(s.IDs, member) || slices.ContainsFunc(s.PathPrefixes, member)
	})
}

func onlyPlaintext(sources []PolicySource) bool {
	return !slices.ContainsFunc(sources, func(s PolicySource) bool {
		return len(s.IDs)+len(s.PathPrefixes)+len(s.TrustDomains) > 0
	})
}

// checkTogether checks what resources say of each other.
func (r *reader) checkTogether() {
	for i, p := range r.proxies {
		if i > 0 {
			p.problem("", "is a second Proxy beside %s: there can be one", r.proxies[0])
		}
	}
	checkNames(r.inbounds, func(in *Inbound) *Metadata { return &in.Metadata })
	checkNames(r.outbounds, func(out *Outbound) *Metadata { return &out.Metadata })
	checkNames(r.policies, func(p *AuthorizationPolicy) *Metadata { return &p.Metadata })
	r.checkListeners()
	for _, p := range r.policies {
		r.checkReach(p)
	}
	for _, in := range r.inbounds {
		r.checkPermissive(in)
	}
}

// checkNames reports resources of one kind with one name.
func checkNames[T any](resources []resource[T], metadata func(*T) *Metadata) {
	first := make(map[string]*written)
	for _, r := range resources {
		m := metadata(r.value)
		key := m.Namespace + "/" + m.Name
		if other := first[key]; other != nil && m.Name != "" {
			r.problem("metadata.name", "%q is the name of %s as well", m.Name, other)
			continue
		}
		first[key] = r.written
	}
}

// listening is something that listens.
type listening struct {
	*written
	path string
	at   listenAddress
}

// checkListeners reports addresses that cannot be listened on together.
func (r *reader) checkListeners() {
	var all []listening
	add := func(w *written, path, address string) {
		at, err := parseListen(address)
		if err != nil {
			return
		}
		for _, other := range all {
			if at.overlaps(other.at) {
				w.problem(path, "%q overlaps with %s of %s", address, other.path, other.written)
				break
			}
		}
		all = append(all, listening{w, path, at})
	}
	for _, p := range r.proxies {
		add(p.written, "spec.metrics.listen", p.value.Spec.Metrics.Listen)
		add(p.written, "spec.admin.listen", p.value.Spec.Admin.Listen)
	}
	for _, in := range r.inbounds {
		add(in.written, "spec.listen", in.value.Spec.Listen)
	}
	for _, out := range r.outbounds {
		add(out.written, "spec.listen", out.value.Spec.Listen)
	}
}

// checkReach reports targets and ports of a policy that there are none of: a
// slip of the pen would leave them open.
func (r *reader) checkReach(p resource[AuthorizationPolicy]) {
	if len(r.inbounds) == 0 {
		p.warning("", "there is no Inbound that the policy could apply to")
		return
	}
	names, ports := make(map[string]bool), make(map[uint16]bool)
	for _, in := range r.inbounds {
		for _, t := range in.value.Spec.Targets {
			names[t.Name] = true
			if port, err := parseDial(t.Address); err == nil {
				ports[port] = true
			}
		}
	}
	for i, name := range p.value.Spec.Targets {
		if !names[name] {
			p.problem(fmt.Sprintf("spec.targets[%d]", i), "no Inbound has a target %q", name)
		}
	}
	for i, port := range p.value.Spec.Ports {
		if !ports[port] {
			p.problem(fmt.Sprintf("spec.ports[%d]", i), "no target's address has the port %d", port)
		}
	}
}

// checkPermissive warns of a target that plaintext peers reach unhindered.
func (r *reader) checkPermissive(in resource[Inbound]) {
	if in.value.Spec.Plaintext != Permissive {
		return
	}
	var open []string
	for _, t := range in.value.Spec.Targets {
		port, err := parseDial(t.Address)
		covers := func(p resource[AuthorizationPolicy]) bool {
			s := &p.value.Spec
			return s.Action == ActionAllow && s.Enforcement == Enforce &&
				(len(s.Targets) == 0 || slices.Contains(s.Targets, t.Name)) && (len(s.Ports) == 0 || slices.Contains(s.Ports, port))
		}
		if err == nil && !slices.ContainsFunc(r.policies, covers) {
			open = append(open, t.Name)
		}
	}
	if len(open) > 0 {
		in.warning("spec.plaintext", "anybody who can connect reaches %s, for which there is no ALLOW policy", strings.Join(open, ", "))
	}
}
