package discovery

import (
	"context"
	"slices"
	"time"
)

// Snapshot is what is known of where a target is. It is immutable.
type Snapshot struct {
	// Addresses are the target's, sorted, each once: "192.0.2.1:5432",
	// "[2001:db8::1]:5432" or "unix:/run/app.sock".
	Addresses []string

	// Stale says that the addresses are the last good answer, and Err why
	// there is no newer one.
	Stale bool

	// Err is why the last lookup failed; nil if it did not. Without addresses
	// it is why there are none.
	Err error

	// Resolved is when the addresses were learnt; zero for configured ones.
	Resolved time.Time
}

// Source is where a target is, now and later. It is safe for concurrent use.
type Source interface {
	// Endpoints returns what is known, and a channel that is closed when that
	// has changed; nil if it never does.
	Endpoints() (Snapshot, <-chan struct{})
}

// Static is a [Source] of addresses that never change.
type Static []string

// Endpoints returns the addresses.
func (s Static) Endpoints() (Snapshot, <-chan struct{}) { return Snapshot{Addresses: s}, nil }

// Wait returns the first snapshot with addresses, or with an error that says why
// there are none: it waits while a first lookup is under way.
func Wait(ctx context.Context, source Source) (Snapshot, error) {
	for {
		s, changed := source.Endpoints()
		if len(s.Addresses) > 0 || s.Err != nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, context.Cause(ctx)
		case <-changed:
		}
	}
}

// Watch tells of every change until ctx ends, and returns then: at first with
// all addresses new, then with those that came and those that left. Connections
// to addresses that left are to be drained. Changes that follow each other fast
// are told as one. A change of nothing but Stale or Err is told too.
func Watch(ctx context.Context, source Source, tell func(s Snapshot, came, left []string)) {
	var known []string
	for {
		s, changed := source.Endpoints()
		tell(s, without(s.Addresses, known), without(known, s.Addresses))
		known = s.Addresses
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// without returns the elements of a that are not in b.
func without(a, b []string) []string {
	var rest []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			rest = append(rest, x)
		}
	}
	return rest
}
