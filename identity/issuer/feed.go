package issuer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
)

// Feed publishes the identity of a registered workload into a store, in process
// and without attesting anybody, until ctx ends: now, at half-life, and whenever
// its registration or a bundle changes. The snapshot's attributes are the
// registration's. While no registration has the ID, the store has no snapshot and
// says why: a deletion takes effect on the next handshake, as through the
// Workload API. [Issuer.Serve] must run as well for the authority to rotate.
func (i *Issuer) Feed(ctx context.Context, id spiffeid.ID, store *identity.Store) {
	var last fed
	for {
		v := i.current.Load()
		next, err := i.feed(v, id)
		switch {
		case errors.Is(err, errNotRegistered):
			store.Withdraw(err)
		case err != nil:
			store.Fail(err)
		case !next.equal(last):
			if err := store.Publish(next.snapshot()); err != nil {
				store.Fail(err)
			}
		}
		last = next
		if !waitForChange(ctx, v, next.refresh) {
			return
		}
	}
}

// errNotRegistered says that no registration has the ID of a feed.
var errNotRegistered = errors.New("no identity issued")

// fed is what one snapshot is made from; the zero value is none.
type fed struct {
	minted     *minted
	attributes identity.Attributes
	bundles    map[spiffeid.TrustDomain]authorities
	refresh    time.Time
}

func (f fed) equal(g fed) bool {
	return f.minted == g.minted && f.attributes.Equal(g.attributes) && maps.EqualFunc(f.bundles, g.bundles, authorities.equal)
}

func (f fed) snapshot() *identity.Snapshot {
	bundles := x509bundle.NewSet()
	for td, list := range f.bundles {
		bundles.Add(x509bundle.FromX509Authorities(td, list))
	}
	return &identity.Snapshot{SVID: f.minted.svid, Bundles: bundles, Attributes: f.attributes}
}

// feed makes the identity of the first registration with the given ID.
func (i *Issuer) feed(v *view, id spiffeid.ID) (fed, error) {
	for _, e := range v.entries {
		if e.workload.ID != id {
			continue
		}
		m, err := e.svid(&i.config, v, time.Now())
		if err != nil {
			return fed{refresh: time.Now().Add(retryRotation)}, fmt.Errorf("issuer: %w", err)
		}
		bundles := map[spiffeid.TrustDomain]authorities{i.config.TrustDomain: v.roots()}
		for _, td := range e.workload.FederatesWith {
			if bundle, known := v.foreign[td]; known {
				bundles[td] = bundle
			}
		}
		return fed{minted: m, attributes: e.workload.Attributes, bundles: bundles, refresh: m.rotateAt}, nil
	}
	return fed{}, fmt.Errorf("issuer: %w: %q is not registered", errNotRegistered, id)
}
