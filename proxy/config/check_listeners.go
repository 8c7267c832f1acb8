package config

import (
	"fmt"
	"slices"
)

func checkInbound(w *written, spec *InboundSpec) {
	for i, s := range spec.Sessions {
		if slices.Contains(spec.Sessions[:i], s) {
			w.problem(fmt.Sprintf("spec.sessions[%d]", i), "%s is given twice", s)
		}
	}
	checkAcceptProxyProtocol(w, spec.AcceptProxyProtocol.From)
	first := make(map[string]int)
	for i, t := range spec.Targets {
		path := fmt.Sprintf("spec.targets[%d]", i)
		if t.Address == spec.Listen {
			w.problem(path+".address", "is the address that this Inbound listens on: it would forward to itself")
		}
		if earlier, twice := first[t.Name]; twice && t.Name != "" {
			w.problem(path+".name", "%q is the name of targets[%d] as well", t.Name, earlier)
		} else {
			first[t.Name] = i
		}
	}
}

func checkOutbound(w *written, spec *OutboundSpec) {
	if a, err := parseListen(spec.Listen); err == nil && !a.ip.IsLoopback() {
		w.warning("spec.listen", "whoever can connect to %s speaks with this workload's identity: loopback is safer", spec.Listen)
	}
	if spec.To == spec.Listen {
		w.problem("spec.to", "is the address that this Outbound listens on: it would forward to itself")
	}
	checkAcceptProxyProtocol(w, spec.AcceptProxyProtocol.From)
	for i, e := range spec.Expect {
		path := fmt.Sprintf("spec.expect[%d]", i)
		checkExpectation(w, path, e)
		if slices.Contains(spec.Expect[:i], e) {
			w.problem(path, "is given twice")
		}
		if !e.TrustDomain.IsZero() {
			w.warning(path+".trustDomain", "any workload of %s can be the server: expect an ID or a path prefix", e.TrustDomain.Name())
		}
	}
}

func checkExpectation(w *written, path string, e Expectation) {
	given := 0
	for _, set := range []bool{!e.ID.IsZero(), !e.PathPrefix.IsZero(), !e.TrustDomain.IsZero()} {
		if set {
			given++
		}
	}
	switch {
	case given != 1:
		w.problem(path, "has %d of id, pathPrefix and trustDomain: want exactly one", given)
	case !e.PathPrefix.IsZero() && e.PathPrefix.Path() == "":
		w.problem(path+".pathPrefix", "%q has no path: name the trust domain as one", e.PathPrefix)
	}
}
