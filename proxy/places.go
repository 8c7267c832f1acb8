package proxy

import (
	"context"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/proxy/discovery"
	"github.com/hallmark-mesh/hallmark/proxy/pool"
)

// places knows where every target is that a plan speaks of: each name is
// followed once, however many targets are behind it.
type places struct {
	proxy    *Proxy
	resolver *discovery.Resolver

	mu       sync.Mutex
	followed map[string]*place
}

// place is one target that is followed.
type place struct {
	*discovery.Target

	stop context.CancelFunc
}

func newPlaces(p *Proxy) *places {
	w := &places{proxy: p, followed: make(map[string]*place)}
	w.resolver = discovery.New(discovery.Config{OnLookup: func(l discovery.Lookup) {
		if l.Snapshot.Err != nil {
			p.sampled.Warn("a name cannot be resolved", zap.String("host", l.Host),
				zap.Bool("stale", l.Snapshot.Stale), zap.Error(l.Snapshot.Err))
		}
	}})
	return w
}

// at returns where the target is, and follows it from now on.
func (w *places) at(target string) (discovery.Source, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.followed[target]; known != nil {
		return known, nil
	}
	t, err := w.resolver.Follow(target)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	known := &place{Target: t, stop: stop}
	w.followed[target] = known
	w.proxy.work.Go(func() {
		discovery.Watch(ctx, t, func(_ discovery.Snapshot, _, left []string) { w.proxy.left(known, left) })
	})
	return known, nil
}

// left drains the sessions with addresses that a name has no longer.
func (p *Proxy) left(from *place, addresses []string) {
	if len(addresses) == 0 {
		return
	}
	p.pool.Retire(func(key sessionKey, _ *sharedSession) (pool.Reason, bool) {
		return reasonLeft, key.remote.where == from && slices.Contains(addresses, key.address)
	})
}

// reasonLeft: the name that a session was opened to has its address no longer.
const reasonLeft pool.Reason = "endpoint_left"

// keep stops to follow what the plan does not speak of.
func (w *places) keep(pl *plan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for target, known := range w.followed {
		if pl == nil || !pl.speaksOf(target) {
			known.stop()
			known.Close()
			delete(w.followed, target)
		}
	}
}

// close stops to follow anything.
func (w *places) close() {
	w.keep(nil)
	w.resolver.Close()
}

// speaksOf reports whether the plan has the target.
func (pl *plan) speaksOf(target string) bool {
	for i := range pl.config.Outbounds {
		if pl.config.Outbounds[i].Spec.To == target {
			return true
		}
	}
	for i := range pl.config.Inbounds {
		for j := range pl.config.Inbounds[i].Spec.Targets {
			if pl.config.Inbounds[i].Spec.Targets[j].Address == target {
				return true
			}
		}
	}
	return false
}
