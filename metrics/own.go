package metrics

import (
	"crypto/tls"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// ownEnd knows how our own end is labelled, and judges every snapshot once.
type ownEnd struct {
	source identity.Source
	last   atomic.Pointer[own]
}

// own is our own end under one snapshot and one set of rules.
type own struct {
	snapshot *identity.Snapshot
	rules    *rules
	peer     *tlsctx.Peer // nil without an identity
	labels   identityLabels
}

// current returns our own end now.
func (e *ownEnd) current(r *rules) *own {
	var snapshot *identity.Snapshot
	if e.source != nil {
		snapshot, _ = e.source.Snapshot() // without one, we are nobody
	}
	last := e.last.Load()
	if last != nil && last.snapshot == snapshot && last.rules == r {
		return last
	}
	next := &own{snapshot: snapshot, rules: r, labels: allLabels(unknown)}
	if snapshot != nil {
		next.peer = judge(snapshot, tlsctx.Policy{
			Templates: r.Templates, Attested: r.Attested, Authorize: tlsctx.AuthorizeAny(),
		})
		next.labels = r.resolve(next.peer, true)
		next.labels.settle(r.Cluster)
	}
	e.last.Store(next)
	return next
}

// judge looks at ourselves as a peer would, with what we would assert.
func judge(snapshot *identity.Snapshot, policy tlsctx.Policy) *tlsctx.Peer {
	verifier := tlsctx.Verifier{Snapshot: snapshot, Policy: policy}
	peer, err := verifier.Verify(tls.ConnectionState{
		Version: tls.VersionTLS13, PeerCertificates: snapshot.SVID.Certificates,
	})
	if err != nil { // expired, most likely: the ID is still ours, and says what it says
		peer = &tlsctx.Peer{ID: snapshot.ID()}
		for _, template := range policy.Templates[snapshot.ID().TrustDomain()] {
			if stated, ok := template.Match(snapshot.ID()); ok {
				peer.Attributes = withAttributes(nil, slices.Values(stated), tlsctx.Verified)
				break
			}
		}
	}
	peer.Attributes = withAttributes(peer.Attributes, snapshot.Attributes.All(), tlsctx.Asserted)
	return peer
}

// withAttributes adds those whose names are not there yet.
func withAttributes(have tlsctx.Attributes, more func(func(identity.Attribute) bool), p tlsctx.Provenance) tlsctx.Attributes {
	all := slices.Clone(have)
	for a := range more {
		if _, known := have.Get(a.Name); !known {
			all = append(all, tlsctx.Attribute{Name: a.Name, Value: a.Value, Provenance: p})
		}
	}
	slices.SortFunc(all, func(a, b tlsctx.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return all
}
