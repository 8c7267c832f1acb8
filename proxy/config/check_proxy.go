package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// maxStreams is how many streams a session can be allowed to have.
const maxStreams = 1 << 20

// checkProxy checks the settings of the process.
func checkProxy(w *written, spec *ProxySpec) {
	checkIdentity(w, &spec.Identity)
	checkAttributes(w, spec.Attributes)
	checkTrustDomains(w, spec.TrustDomains)
	checkDisclosure(w, &spec.Disclosure)
	checkTracing(w, &spec.Tracing)
	if n := spec.Limits.StreamsPerSession; n > maxStreams {
		w.problem("spec.limits.streamsPerSession", "%d are more than the %d allowed", n, maxStreams)
	}
	if spec.Metrics.MinProvenance == tlsctx.Asserted {
		w.warning("spec.metrics.minProvenance", "labels are any peer's own word with asserted")
	}
	checkAdmin(w, &spec.Admin)
}

// checkAdmin lets the port be reached from elsewhere only by those who are named.
func checkAdmin(w *written, a *Admin) {
	address, err := parseListen(a.Listen)
	if err == nil && !address.ip.IsLoopback() && len(a.Allow) == 0 {
		w.problem("spec.admin.listen", "%q is not on loopback, and spec.admin.allow names nobody: what is served there is the operator's alone. Want an IP address such as 127.0.0.1, or in allow the SPIFFE IDs that may look, by mutual TLS", a.Listen)
	}
	for i, e := range a.Allow {
		path := fmt.Sprintf("spec.admin.allow[%d]", i)
		checkExpectation(w, path, e)
		if slices.Contains(a.Allow[:i], e) {
			w.problem(path, "is given twice")
		}
		if !e.TrustDomain.IsZero() {
			w.warning(path+".trustDomain", "any workload of %s may look: name an ID or a path prefix", e.TrustDomain.Name())
		}
	}
}

func checkIdentity(w *written, i *Identity) {
	f := &i.Files
	given := f.Certificate != "" || f.Key != "" || f.Bundle != "" || len(f.Federated) > 0
	if given && i.WorkloadAPI != "" {
		w.problem("spec.identity.files", "is given beside workloadAPI: an identity comes from one of them")
	}
	for name, file := range map[string]string{"certificate": f.Certificate, "key": f.Key, "bundle": f.Bundle} {
		if given && file == "" {
			w.problem("spec.identity.files."+name, "is required: an identity is a certificate, a key and a bundle")
		}
	}
	var seen []spiffeid.TrustDomain
	for n, b := range f.Federated {
		if slices.Contains(seen, b.TrustDomain) {
			w.problem(fmt.Sprintf("spec.identity.files.federated[%d].trustDomain", n), "%q is given twice", b.TrustDomain.Name())
		}
		seen = append(seen, b.TrustDomain)
	}
}

func checkAttributes(w *written, attributes map[string]string) {
	if n := len(attributes); n > identity.MaxAttributes {
		w.problem("spec.attributes", "%d are more than the %d allowed", n, identity.MaxAttributes)
	}
	for name := range attributes {
		if err := checkAttributeName(name); err != nil {
			w.problem(fmt.Sprintf("spec.attributes[%q]", name), "%s", err)
		}
	}
}

func checkTrustDomains(w *written, domains []TrustDomain) {
	var seen []spiffeid.TrustDomain
	for i, td := range domains {
		path := fmt.Sprintf("spec.trustDomains[%d]", i)
		if slices.Contains(seen, td.Name) {
			w.problem(path+".name", "%q is given twice", td.Name.Name())
		}
		seen = append(seen, td.Name)
		var templates []string
		for j, t := range td.Templates {
			if slices.Contains(templates, t.String()) {
				w.problem(fmt.Sprintf("%s.templates[%d]", path, j), "%q is given twice", t)
			}
			templates = append(templates, t.String())
		}
	}
}

func checkDisclosure(w *written, d *Disclosure) {
	var seen []spiffeid.TrustDomain
	for i, to := range d.To {
		if slices.Contains(seen, to.TrustDomain) {
			w.problem(fmt.Sprintf("spec.disclosure.to[%d].trustDomain", i), "%q is given twice", to.TrustDomain.Name())
		}
		seen = append(seen, to.TrustDomain)
	}
}

func checkAcceptProxyProtocol(w *written, from []netip.Prefix) {
	for i, network := range from {
		path := fmt.Sprintf("spec.acceptProxyProtocol.from[%d]", i)
		switch {
		case slices.Contains(from[:i], network):
			w.problem(path, "%s is given twice", network)
		case network.Bits() == 0:
			w.warning(path, "anybody may say where a connection comes from with %s", network)
		}
	}
}
