package identity

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// ErrNotReady is what [Store.Snapshot] returns, wrapped or bare, as long as
// nothing has been published.
var ErrNotReady = errors.New("identity: no SVID yet")

// Store is the one place through which a source publishes and consumers read.
// The zero value is ready for use and holds no snapshot. All methods are safe
// for concurrent use.
type Store struct {
	mu         sync.Mutex  // serialises writers
	attributes *Attributes // what SetAttributes said, nil if nothing
	generation uint64      // of the last snapshot published
	state      atomic.Pointer[state]
}

// state is what one publication replaces whole.
type state struct {
	snapshot *Snapshot     // nil until the first publication
	err      error         // the source's trouble, nil while it is well
	changed  chan struct{} // closed when this state is replaced
}

// Snapshot returns the last published snapshot. Before the first, and once it is
// withdrawn, it returns an error that wraps [ErrNotReady] and, where known, the
// source's trouble.
func (s *Store) Snapshot() (*Snapshot, error) {
	st := s.load()
	if st.snapshot != nil {
		return st.snapshot, nil
	}
	if st.err != nil {
		return nil, errors.Join(ErrNotReady, st.err)
	}
	return nil, ErrNotReady
}

// Publish makes a copy of next, with the next generation number, the current
// snapshot, and clears the trouble that [Store.Fail] set. An incomplete
// snapshot is refused and the last good one stays.
func (s *Store) Publish(next *Snapshot) error {
	if err := next.Validate(); err != nil {
		return err
	}
	s.replace(func(*state) (*Snapshot, error) { return s.following(*next), nil })
	return nil
}

// following returns next as the successor of all snapshots so far. The lock is
// held.
func (s *Store) following(next Snapshot) *Snapshot {
	s.generation++
	next.Generation = s.generation
	if s.attributes != nil {
		next.Attributes = *s.attributes
	}
	return &next
}

// SetAttributes makes attributes those of every later snapshot, whatever it says
// itself, and publishes the current one, if there is one, again with them.
func (s *Store) SetAttributes(attributes Attributes) {
	s.mu.Lock()
	s.attributes = &attributes
	s.mu.Unlock()
	s.replace(func(old *state) (*Snapshot, error) {
		if old.snapshot == nil {
			return nil, old.err
		}
		return s.following(*old.snapshot), old.err
	})
}

// Fail records why the source cannot refresh at the moment. The last good
// snapshot stays in force; nil says that the source is well again.
func (s *Store) Fail(err error) {
	s.replace(func(old *state) (*Snapshot, error) { return old.snapshot, err })
}

// Withdraw takes the current snapshot out of force: the workload has been told
// that it has this identity no longer. Until the next publication,
// [Store.Snapshot] returns err, which must not be nil.
func (s *Store) Withdraw(err error) {
	s.replace(func(*state) (*Snapshot, error) { return nil, err })
}

// Err returns what [Store.Fail] or [Store.Withdraw] recorded last, or nil.
func (s *Store) Err() error { return s.load().err }

// Changed returns a channel that is closed at the next publication or change of
// trouble. Take the channel first, then read, then wait on it: nothing is
// missed in between.
func (s *Store) Changed() <-chan struct{} { return s.load().changed }

// Wait blocks until there is a snapshot or ctx ends. Its error then joins the
// context's with what [Store.Snapshot] had to say.
func (s *Store) Wait(ctx context.Context) (*Snapshot, error) {
	for {
		changed := s.Changed()
		snapshot, err := s.Snapshot()
		if err == nil {
			return snapshot, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

func (s *Store) load() *state {
	for {
		if st := s.state.Load(); st != nil {
			return st
		}
		s.state.CompareAndSwap(nil, &state{changed: make(chan struct{})})
	}
}

// replace swaps in the state that next computes from the one in force.
func (s *Store) replace(next func(old *state) (*Snapshot, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.load()
	snapshot, err := next(old)
	s.state.Store(&state{snapshot: snapshot, err: err, changed: make(chan struct{})})
	close(old.changed)
}
