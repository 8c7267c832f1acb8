package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// checkProxy checks the settings of the process.
func checkProxy(w *written, spec *ProxySpec) {
	checkIdentity(w, &spec.Identity)
	checkAttributes(w, spec.Attributes)
	checkTrustDomains(w, spec.TrustDomains)
	checkDisclosure(w, &spec.Disclosure)
	checkLabels(w, &spec.Metrics.Labels)
	if spec.Metrics.MinProvenance == tlsctx.Asserted {
		w.warning("spec.metrics.minProvenance", "labels are any peer's own word with asserted")
	}
	if spec.AccessLog.Output == "" {
		w.problem("spec.accessLog.output", "is empty: want stdout, stderr, none or a file")
	}
	checkLocal(w, spec.Metrics.Listen, "spec.metrics.listen", false)
	checkLocal(w, spec.Admin.Listen, "spec.admin.listen", true)
}

// checkLocal checks an address to listen on that may be left out.
func checkLocal(w *written, address, path string, loopback bool) {
	if address == "" {
		return
	}
	a, err := parseListen(address)
	switch {
	case err != nil:
		w.problem(path, "%s", err)
	case loopback && !a.ip.IsLoopback():
		w.problem(path, "%q is not on loopback: what is served there is the operator's alone, want an IP address such as 127.0.0.1", address)
	}
}

func checkIdentity(w *written, i *Identity) {
	f := &i.Files
	given := f.Certificate != "" || f.Key != "" || f.Bundle != "" || len(f.Federated) > 0
	if i.WorkloadAPI != "" {
		if err := checkWorkloadAPI(i.WorkloadAPI); err != nil {
			w.problem("spec.identity.workloadAPI", "%s", err)
		}
		if given {
			w.problem("spec.identity.files", "is given beside workloadAPI: an identity comes from one of them")
		}
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
	for name, value := range attributes {
		path := fmt.Sprintf("spec.attributes[%q]", name)
		checkAttributeName(w, path, name)
		if err := identity.ValidateAttributeValue(value); err != nil {
			w.problem(path, "%s", err)
		}
	}
}

func checkAttributeName(w *written, path, name string) {
	if err := identity.ValidateAttributeName(name); err != nil {
		w.problem(path, "%s", strings.TrimPrefix(err.Error(), "identity: "))
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
	names := func(path string, list []string) {
		for i, name := range list {
			if name != tlsctx.AllAttributes {
				checkAttributeName(w, path+"["+strconv.Itoa(i)+"]", name)
			}
		}
	}
	names("spec.disclosure.public", d.Public)
	var seen []spiffeid.TrustDomain
	for i, to := range d.To {
		path := fmt.Sprintf("spec.disclosure.to[%d]", i)
		if slices.Contains(seen, to.TrustDomain) {
			w.problem(path+".trustDomain", "%q is given twice", to.TrustDomain.Name())
		}
		seen = append(seen, to.TrustDomain)
		names(path+".attributes", to.Attributes)
	}
}

func checkLabels(w *written, l *Labels) {
	for label, names := range l.byName() {
		for i, name := range names {
			checkAttributeName(w, fmt.Sprintf("spec.metrics.labels.%s[%d]", label, i), name)
		}
	}
}

// byName returns the lists by the names of their fields.
func (l *Labels) byName() map[string][]string {
	return map[string][]string{
		"workload": l.Workload, "namespace": l.Namespace,
		"canonicalService": l.CanonicalService, "canonicalRevision": l.CanonicalRevision,
		"app": l.App, "version": l.Version, "cluster": l.Cluster,
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
