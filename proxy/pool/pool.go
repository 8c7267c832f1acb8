// Package pool keeps sessions that are worth keeping: a session that is open and
// may take another stream saves a handshake.
//
// A session is kept by its key, which says everything that must be equal for
// two streams to share one: the local identity and the generation of its
// snapshot, the expected peers, the address, the target and the detected
// protocol. The package opens no connection itself and knows nothing of streams;
// both are the caller's.
package pool

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Session is what a pool keeps. Its methods are safe for concurrent use and do
// not block.
type Session interface {
	// Available reports whether the session can take a stream now.
	Available() bool

	// Streams returns how many streams are open.
	Streams() int

	// Retire makes the session take no new streams and end after the last of
	// those it has.
	Retire()

	// Close ends the session and its streams.
	Close() error

	// Done is closed when the session has ended.
	Done() <-chan struct{}
}

// Reason says why a session left the pool; use it as a metric's label.
type Reason string

// The reasons.
const (
	ReasonEnded    Reason = "ended"         // it ended by itself or by its peer
	ReasonIdle     Reason = "idle"          // no stream for the idle timeout
	ReasonMaxAge   Reason = "max_age"       // it was old enough
	ReasonExpired  Reason = "expired"       // a certificate of either end expires
	ReasonStale    Reason = "stale"         // a newer snapshot is in force
	ReasonUntrust  Reason = "trust_changed" // its peer would not be taken any more
	ReasonShutdown Reason = "shutdown"      // the pool was closed
)

// ErrUnavailable is what Get returns when sessions of the key open and take no
// stream.
var ErrUnavailable = errors.New("pool: new sessions of the peer take no streams")

// maxUseless bounds the sessions without any use that one Get waits for: a peer
// that lets every handshake succeed and takes no stream is not asked for ever.
const maxUseless = 4

// ErrClosed is what Get returns once the pool is closed.
var ErrClosed = errors.New("pool: closed")

// Config is how a [Pool] keeps sessions. Open is required.
type Config[K comparable, S Session] struct {
	// Open makes a new session for the key. Its context ends when nobody
	// waits for the session any more.
	Open func(ctx context.Context, key K) (S, error)

	// NotAfter returns when the session must take no new streams, such as the
	// first expiry of the certificates of either end. Nil or the zero time
	// means never.
	NotAfter func(S) time.Time

	// Idle is how long a session without streams is kept; 0 means for ever.
	Idle time.Duration

	// MaxAge is how long a session takes new streams; 0 means for ever.
	MaxAge time.Duration

	// OnOpen and OnLeave are told of sessions that join and leave the pool.
	// Nil ignores it.
	OnOpen  func(key K, session S)
	OnLeave func(key K, session S, reason Reason)
}

// Pool keeps sessions by key. It is safe for concurrent use.
type Pool[K comparable, S Session] struct {
	config Config[K, S]

	mu      sync.Mutex
	closed  bool
	entries map[K]*entry[S]
	waits   uint64         // of callers for an opening
	wg      sync.WaitGroup // keepers of sessions, and openings
}

// entry is what is known under one key.
type entry[S Session] struct {
	kept    []*kept[S]
	opening *opening[S]
}

// kept is one session in the pool.
type kept[S Session] struct {
	session S
	leave   chan Reason // told once why the session is to be retired
}

// opening is a session on its way, shared by all who wait for it.
type opening[S Session] struct {
	done    chan struct{}
	session S
	err     error
	waiting int
	cancel  context.CancelFunc

	abandoned bool // nobody waits any more: the next caller opens anew
}

// Keep changes how long sessions without streams are kept, and how long sessions
// take new streams, for those that are opened from now on; see [Config].
func (p *Pool[K, S]) Keep(idle, maxAge time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config.Idle, p.config.MaxAge = idle, maxAge
}

// New returns an empty pool.
func New[K comparable, S Session](config Config[K, S]) *Pool[K, S] {
	return &Pool[K, S]{config: config, entries: make(map[K]*entry[S])}
}

// Get returns a session of the key that can take a stream: the least loaded one
// that is kept, or a new one, for which any number of callers wait together.
func (p *Pool[K, S]) Get(ctx context.Context, key K) (S, error) {
	for useless := 0; useless < maxUseless; {
		session, o, err := p.find(key)
		if err != nil || o == nil {
			return session, err
		}
		session, err = p.await(ctx, o)
		if err != nil || session.Available() {
			return session, err
		}
		if session.Streams() == 0 {
			useless++
		} // else so many waited that others have filled it
	}
	var none S
	return none, ErrUnavailable
}

// Warm returns the session of the key that [Pool.Get] would return without
// waiting, if there is one.
func (p *Pool[K, S]) Warm(key K) (session S, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[key]
	if e == nil || p.closed {
		return session, false
	}
	if k := e.best(); k != nil {
		return k.session, true
	}
	return session, false
}

// find returns a session that is there, or the opening to wait for.
func (p *Pool[K, S]) find(key K) (S, *opening[S], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var none S
	if p.closed {
		return none, nil, ErrClosed
	}
	e := p.entries[key]
	if e == nil {
		e = &entry[S]{}
		p.entries[key] = e
	}
	if k := e.best(); k != nil {
		return k.session, nil, nil
	}
	if e.opening == nil || e.opening.abandoned {
		ctx, cancel := context.WithCancel(context.Background()) //nolint:gosec // G118: open calls it
		e.opening = &opening[S]{done: make(chan struct{}), cancel: cancel}
		o := e.opening
		p.wg.Go(func() { p.open(ctx, key, e, o) })
	}
	e.opening.waiting++
	p.waits++
	return none, e.opening, nil
}

// best returns the available session with the fewest streams, or nil.
func (e *entry[S]) best() *kept[S] {
	var best *kept[S]
	for _, k := range e.kept {
		if k.session.Available() && (best == nil || k.session.Streams() < best.session.Streams()) {
			best = k
		}
	}
	return best
}

// await waits for an opening, and gives it up with the last who waits.
func (p *Pool[K, S]) await(ctx context.Context, o *opening[S]) (S, error) {
	select {
	case <-o.done:
		return o.session, o.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.waiting--; o.waiting == 0 {
		o.abandoned = true
		o.cancel()
	}
	var none S
	return none, context.Cause(ctx)
}

// open makes a session and keeps it.
func (p *Pool[K, S]) open(ctx context.Context, key K, e *entry[S], o *opening[S]) {
	defer o.cancel()
	session, err := p.config.Open(ctx, key)

	if err == nil && p.config.OnOpen != nil {
		p.config.OnOpen(key, session)
	}
	p.mu.Lock()
	if e.opening == o {
		e.opening = nil
	}
	if err == nil {
		k := &kept[S]{session: session, leave: make(chan Reason, 1)}
		e.kept = append(e.kept, k)
		p.wg.Go(func() { p.keep(key, e, k) })
	} else {
		o.err = err
		p.forget(key, e)
	}
	if err == nil && p.closed {
		p.tell(e.kept[len(e.kept)-1], ReasonShutdown)
	}
	o.session = session
	p.mu.Unlock()
	close(o.done)
}

// forget drops an entry that holds nothing. The lock is held.
func (p *Pool[K, S]) forget(key K, e *entry[S]) {
	if len(e.kept) == 0 && e.opening == nil && p.entries[key] == e {
		delete(p.entries, key)
	}
}

// keep waits until there is a reason for the session to leave, and retires it.
func (p *Pool[K, S]) keep(key K, e *entry[S], k *kept[S]) {
	reason := p.watch(k)

	p.mu.Lock()
	e.kept = slices.DeleteFunc(e.kept, func(other *kept[S]) bool { return other == k })
	p.forget(key, e)
	p.mu.Unlock()

	k.session.Retire()
	if p.config.OnLeave != nil {
		p.config.OnLeave(key, k.session, reason)
	}
}

// watch returns why the session has to leave.
func (p *Pool[K, S]) watch(k *kept[S]) Reason {
	p.mu.Lock()
	maxAge, patience := p.config.MaxAge, p.config.Idle
	p.mu.Unlock()
	old := after(maxAge)
	defer old.Stop()
	expired := after(p.untilExpiry(k.session))
	defer expired.Stop()
	idle := after(patience)
	defer idle.Stop()
	quiet := false
	for {
		select {
		case reason := <-k.leave:
			return reason
		case <-k.session.Done():
			return ReasonEnded
		case <-old.C:
			return ReasonMaxAge
		case <-expired.C:
			return ReasonExpired
		case <-idle.C:
			if k.session.Streams() > 0 {
				quiet = false
			} else if quiet {
				return ReasonIdle
			} else {
				quiet = true
			}
			idle.Reset(patience)
		}
	}
}

// untilExpiry returns how long the session may take new streams, 0 for ever.
func (p *Pool[K, S]) untilExpiry(session S) time.Duration {
	if p.config.NotAfter == nil {
		return 0
	}
	notAfter := p.config.NotAfter(session)
	if notAfter.IsZero() {
		return 0
	}
	return max(time.Until(notAfter), time.Nanosecond)
}

// after returns a timer that fires after d, or never if d is 0.
func after(d time.Duration) *time.Timer {
	const never = 100 * 365 * 24 * time.Hour
	if d <= 0 {
		d = never
	}
	return time.NewTimer(d)
}

// Retire makes the sessions that judge names a reason for take no new streams:
// those of an old snapshot, say. It returns how many there were.
func (p *Pool[K, S]) Retire(judge func(key K, session S) (Reason, bool)) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for key, e := range p.entries {
		for _, k := range e.kept {
			reason, leave := judge(key, k.session)
			if !leave {
				continue
			}
			n++
			p.tell(k, reason)
		}
	}
	return n
}

// tell gives the keeper of a session the reason to retire it, unless it has one.
func (p *Pool[K, S]) tell(k *kept[S], reason Reason) {
	select {
	case k.leave <- reason:
	default:
	}
}

// Len returns how many sessions are kept.
func (p *Pool[K, S]) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, e := range p.entries {
		n += len(e.kept)
	}
	return n
}

// Stats is what a pool holds at a moment.
type Stats struct {
	// Busy sessions carry streams, Idle ones do not, Opening ones are on their
	// way.
	Busy, Idle, Opening int

	// Waiting callers wait for a session to open; Waits is how many ever had
	// to.
	Waiting int
	Waits   uint64
}

// Stats returns what the pool holds now.
func (p *Pool[K, S]) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Waits: p.waits}
	for _, e := range p.entries {
		for _, k := range e.kept {
			if k.session.Streams() > 0 {
				s.Busy++
			} else {
				s.Idle++
			}
		}
		if o := e.opening; o != nil {
			s.Opening++
			s.Waiting += o.waiting
		}
	}
	return s
}

// Close retires every session, gives up those on their way, refuses new ones,
// and waits until the pool's own work has ended. Streams live on until their
// sessions end.
func (p *Pool[K, S]) Close() {
	p.mu.Lock()
	p.closed = true
	for _, e := range p.entries {
		if e.opening != nil {
			e.opening.cancel()
		}
	}
	p.mu.Unlock()
	p.Retire(func(K, S) (Reason, bool) { return ReasonShutdown, true })
	p.wg.Wait()
}
