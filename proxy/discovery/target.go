package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// firstRetry is how long after a failed lookup the next one comes; it
	// doubles up to lastRetry.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second

	// believed is how many times in a row a name must be said to have no
	// address before the addresses it had are given up: a server that is
	// being restarted, or a service between two instances, says so too.
	believed = 2
)

// Target is where one target is, a [Source]. It is safe for concurrent use.
type Target struct {
	host     string
	port     uint16
	resolver *Resolver // nil if the target is an address
	cancel   context.CancelFunc
	hurry    chan struct{} // holds one: look again soon

	mu       sync.Mutex
	snapshot Snapshot
	changed  chan struct{} // nil if it never does

	known  [2][]netip.Addr // by family; follow's own
	empty  int             // answers in a row without addresses
	failed int             // lookups in a row that failed
}

// Endpoints returns what is known now, and a channel that is closed when that
// changes.
func (t *Target) Endpoints() (Snapshot, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshot, t.changed
}

// Hurry asks for a lookup before the TTL has ended, such as when no address
// answers any more. There is none sooner than the least TTL after the last.
func (t *Target) Hurry() {
	select {
	case t.hurry <- struct{}{}:
	default: // asked for already, or an address (nil)
	}
}

// Close stops following. What was known last remains.
func (t *Target) Close() { t.cancel() }

// follow looks the name up again and again until ctx ends.
func (t *Target) follow(ctx context.Context) {
	for {
		start := time.Now()
		a := t.resolver.lookup(ctx, t.host)
		if ctx.Err() != nil {
			return
		}
		s, next := t.learn(a)
		changed := t.publish(s)
		if tell := t.resolver.config.OnLookup; tell != nil {
			tell(Lookup{Host: t.host, Snapshot: s, Changed: changed, Took: time.Since(start), Next: next})
		}
		if !t.pause(ctx, next) {
			return
		}
	}
}

// pause waits for the next lookup and reports false when ctx has ended. It never
// waits less than the least TTL, or than a retry's time.
func (t *Target) pause(ctx context.Context, next time.Duration) bool {
	least := min(next, t.resolver.config.minTTL())
	if !sleep(ctx, least, nil) {
		return false
	}
	return next == least || sleep(ctx, next-least, t.hurry)
}

// sleep waits, less long if woken, and reports false when ctx has ended.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return true
}

// learn takes an answer in and says what is known now, and for how long. Of a
// family that could not be looked up what was known remains.
func (t *Target) learn(a answer) (Snapshot, time.Duration) {
	s := Snapshot{Resolved: time.Now()}
	now := [2][]netip.Addr{}
	var errs []error
	for i, r := range a {
		now[i] = r.addresses
		if r.err != nil {
			errs = append(errs, r.err)
			now[i] = t.known[i]
			s.Stale = s.Stale || len(now[i]) > 0
		}
	}
	none := len(now[0])+len(now[1]) == 0
	switch {
	case len(errs) > 0:
		t.failed++
		s.Err = fmt.Errorf("discovery: look up %s: %w", t.host, errors.Join(dedup(errs)...))
	case none:
		t.failed = 0
		s.Err = fmt.Errorf("discovery: look up %s: %w", t.host, ErrNotFound)
		if t.empty++; t.empty < believed {
			now = t.known
			s.Stale = len(now[0])+len(now[1]) > 0
		}
	default:
		t.failed, t.empty = 0, 0
	}
	t.known = now
	s.Addresses = t.addresses()
	return s, t.next(a)
}

// next returns how long until the next lookup.
func (t *Target) next(a answer) time.Duration {
	c := t.resolver.config
	ttl, found := c.maxTTL(), false
	for _, r := range a {
		if len(r.addresses) > 0 {
			ttl, found = min(ttl, r.ttl), true
		}
	}
	switch {
	case t.failed > 0:
		retry := min(firstRetry<<min(t.failed-1, 10), lastRetry)
		return jitter(min(retry, max(ttl, c.minTTL())))
	case !found && t.empty < believed:
		return c.minTTL()
	case !found:
		ttl = min(max(a[0].ttl, a[1].ttl), c.negativeTTL())
	}
	return max(jitter(ttl), c.minTTL())
}

// jitter takes off up to a tenth, so that lookups do not fall together.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - time.Duration(rand.Int64N(int64(d)/10+1))
}

// addresses returns what is known with the port.
func (t *Target) addresses() []string {
	var all []netip.Addr
	for _, family := range t.known {
		all = append(all, family...)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	all = slices.Compact(all)
	texts := make([]string, len(all))
	for i, a := range all {
		texts[i] = netip.AddrPortFrom(a, t.port).String()
	}
	return texts
}

// publish puts what is known in force and reports whether the addresses are
// others. Nobody is woken for what has not changed.
func (t *Target) publish(s Snapshot) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.snapshot
	if s.Stale {
		s.Resolved = old.Resolved
	}
	t.snapshot = s
	changed = !slices.Equal(old.Addresses, s.Addresses)
	if changed || old.Stale != s.Stale || (old.Err == nil) != (s.Err == nil) {
		close(t.changed)
		t.changed = make(chan struct{})
	}
	return changed
}
