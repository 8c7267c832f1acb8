package metrics

import (
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// known is what was known of the peer that a series has met last: what labels do
// not tell. Peers of one series have the same labels, and may differ in the rest.
type known struct {
	attributes tlsctx.Attributes
	aware      bool
	plain      bool // it came in plaintext
}

// is reports whether it is what is known of the peer. Whoever has the same list
// of attributes is the same peer.
func (k *known) is(p *tlsctx.Peer) bool {
	if k == nil || k.aware != p.Aware || k.plain == p.Secured() || len(k.attributes) != len(p.Attributes) {
		return false
	}
	return len(k.attributes) == 0 || &k.attributes[0] == &p.Attributes[0]
}

// meet remembers the peer, for who looks. It keeps none of its certificates.
func (s *series) meet(p *tlsctx.Peer) {
	if p == nil || s.peer.principal == overflow || s.known.Load().is(p) {
		return
	}
	s.known.Store(&known{attributes: p.Attributes, aware: p.Aware, plain: !p.Secured()})
}

// speak remembers what was detected last.
func (s *series) speak(protocol tlsctx.Protocol) {
	if protocol == "" || protocol == tlsctx.Unknown {
		return
	}
	if last := s.spoken.Load(); last != nil && *last == protocol {
		return
	}
	spoken := protocol
	s.spoken.Store(&spoken)
}

// Names are those of a workload, as labels have them. What is not known is empty.
type Names struct {
	Workload, Namespace, App, Version, Cluster string

	// Provenance says how far the workload's name is to be believed; where no
	// attribute names it, it is the best of what is known at all. 0 is nothing.
	Provenance tlsctx.Provenance
}

// Names returns the names of a peer, or of ourselves, under the rules in force.
func (r *Recorder) Names(p *tlsctx.Peer) Names {
	own := r.own.current(r.rules.Load())
	if p == nil {
		return Names{}
	}
	labels := own.rules.resolve(p, own.rules.believes(p, own))
	if own.peer != nil && p.Secured() && own.peer.ID.TrustDomain() == p.ID.TrustDomain() {
		labels.settle(own.rules.Cluster)
	}
	return own.rules.names(labels, p.Attributes)
}

// Own returns who we are, judged as a peer would judge us, or nil.
func (r *Recorder) Own() *tlsctx.Peer { return r.own.current(r.rules.Load()).peer }

// names turns labels into names.
func (r *rules) names(l identityLabels, attributes tlsctx.Attributes) Names {
	for i, value := range l.values {
		if value == unknown {
			l.values[i] = ""
		}
	}
	const workload, app, version = 0, 2, 3
	return Names{
		Workload: l.values[workload], Namespace: l.values[namespaceSlot], App: l.values[app],
		Version: l.values[version], Cluster: l.values[clusterSlot],
		Provenance: r.provenance(l.values[workload] != "", attributes),
	}
}

// provenance returns that of the attribute which names the workload, or the best
// there is.
func (r *rules) provenance(named bool, attributes tlsctx.Attributes) (best tlsctx.Provenance) {
	rank := -1
	for _, a := range attributes {
		if !named {
			best = max(best, a.Provenance)
			continue
		}
		for _, u := range r.uses[a.Name] {
			if u.slot == 0 && a.Provenance >= r.MinProvenance && (rank < 0 || u.rank < rank) {
				rank, best = u.rank, a.Provenance
			}
		}
	}
	return best
}
