package config

import (
	"fmt"
	"slices"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func checkInbound(w *written, spec *InboundSpec) {
	if spec.Listen != "" {
		if _, err := parseListen(spec.Listen); err != nil {
			w.problem("spec.listen", "%s", err)
		}
	}
	if len(spec.Sessions) == 0 {
		w.problem("spec.sessions", "is empty: want Raw, Mux or both")
	}
	for i, s := range spec.Sessions {
		path := fmt.Sprintf("spec.sessions[%d]", i)
		switch {
		case s == Auto:
			w.problem(path, "Auto is for an Outbound to choose by: want Raw, Mux or both")
		case slices.Contains(spec.Sessions[:i], s):
			w.problem(path, "%s is given twice", s)
		}
	}
	checkAcceptProxyProtocol(w, spec.AcceptProxyProtocol.From)
	first := make(map[string]int)
	for i, t := range spec.Targets {
		path := fmt.Sprintf("spec.targets[%d]", i)
		checkInboundTarget(w, path, spec.Listen, &t)
		if earlier, twice := first[t.Name]; twice && t.Name != "" {
			w.problem(path+".name", "%q is the name of targets[%d] as well", t.Name, earlier)
		} else {
			first[t.Name] = i
		}
	}
}

func checkInboundTarget(w *written, path, listen string, t *Target) {
	if err := checkTarget(t.Name, tlsctx.MaxTarget); err != nil {
		w.problem(path+".name", "%.80q %s", t.Name, err)
	}
	if t.Address == "" {
		return
	}
	if _, err := parseDial(t.Address); err != nil {
		w.problem(path+".address", "%s", err)
	} else if t.Address == listen {
		w.problem(path+".address", "is the address that this Inbound listens on: it would forward to itself")
	}
}

func checkOutbound(w *written, spec *OutboundSpec) {
	if spec.Listen != "" {
		a, err := parseListen(spec.Listen)
		switch {
		case err != nil:
			w.problem("spec.listen", "%s", err)
		case !a.ip.IsLoopback():
			w.warning("spec.listen", "whoever can connect to %s speaks with this workload's identity: loopback is safer", spec.Listen)
		}
	}
	if spec.To != "" {
		if _, err := parseDial(spec.To); err != nil {
			w.problem("spec.to", "%s", err)
		} else if spec.To == spec.Listen {
			w.problem("spec.to", "is the address that this Outbound listens on: it would forward to itself")
		}
	}
	if err := checkTarget(spec.Target, tlsctx.MaxTarget); err != nil {
		w.problem("spec.target", "%.80q %s", spec.Target, err)
	}
	if spec.SNI != "" {
		if err := checkSNI(spec.SNI); err != nil {
			w.problem("spec.sni", "%s", err)
		}
	}
	checkAcceptProxyProtocol(w, spec.AcceptProxyProtocol.From)
	for i, e := range spec.Expect {
		checkExpectation(w, fmt.Sprintf("spec.expect[%d]", i), e)
		if slices.Contains(spec.Expect[:i], e) {
			w.problem(fmt.Sprintf("spec.expect[%d]", i), "is given twice")
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
	case !e.TrustDomain.IsZero():
		w.warning(path+".trustDomain", "any workload of %s can be the server: expect an ID or a path prefix", e.TrustDomain.Name())
	}
}
