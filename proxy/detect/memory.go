package detect

import (
	"sync"
	"time"
)

// Defaults of a [Memory].
const (
	DefaultRemembered      = 1024
	DefaultRememberFor     = 10 * time.Minute
	DefaultMaxSpeculations = 64
)

// Memory is what is known of targets from earlier connections: who speaks first,
// and how many connections are open to them on speculation. It is bounded, and
// forgets. The zero value works, and is safe for concurrent use.
type Memory struct {
	// Max bounds the targets remembered; 0 means [DefaultRemembered].
	Max int

	// For is how long something is remembered; 0 means [DefaultRememberFor].
	For time.Duration

	// MaxSpeculations bounds the connections that are open to one target on
	// speculation at a time; 0 means [DefaultMaxSpeculations].
	MaxSpeculations int

	mu      sync.Mutex
	targets map[string]*remembered
}

type remembered struct {
	first      speaker
	until      time.Time
	speculated int
	freed      chan struct{} // non-nil while somebody waits for room
}

// speaker is who speaks first on a connection.
type speaker int

const (
	nobodyKnows speaker = iota
	clientSpeaks
	serverSpeaks
)

// first returns who is known to speak first with the target, and for how much
// longer.
func (m *Memory) first(target string) (speaker, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.targets[target]
	if r == nil {
		return nobodyKnows, 0
	}
	left := time.Until(r.until)
	if left <= 0 {
		return nobodyKnows, 0
	}
	return r.first, left
}

// learn remembers who spoke first. That a server did is a fact; that a client
// did may be chance: it replaces no fact that is still remembered.
func (m *Memory) learn(target string, first speaker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.get(target)
	if now := time.Now(); first == serverSpeaks || r.first != serverSpeaks || now.After(r.until) {
		r.first, r.until = first, now.Add(or(m.For, DefaultRememberFor))
	}
}

// speculate reserves one speculative connection; done gives it back. If there
// is no room, done is nil, and freed is closed when there may be some.
func (m *Memory) speculate(target string) (done func(), freed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.get(target)
	if r.speculated >= or(m.MaxSpeculations, DefaultMaxSpeculations) {
		if r.freed == nil {
			r.freed = make(chan struct{})
		}
		return nil, r.freed
	}
	r.speculated++
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		r.speculated--
		if r.freed != nil {
			close(r.freed)
			r.freed = nil
		}
	}), nil
}

// get returns the target's entry, making room for it. The lock is held.
func (m *Memory) get(target string) *remembered {
	if r := m.targets[target]; r != nil {
		return r
	}
	if m.targets == nil {
		m.targets = make(map[string]*remembered)
	}
	if len(m.targets) >= or(m.Max, DefaultRemembered) {
		m.forget()
	}
	r := &remembered{}
	m.targets[target] = r
	return r
}

// forget drops what is over, and if that is nothing, some entry without open
// speculations. The lock is held.
func (m *Memory) forget() {
	now := time.Now()
	victim := ""
	for target, r := range m.targets {
		if r.speculated > 0 {
			continue
		}
		if now.After(r.until) {
			delete(m.targets, target)
		} else {
			victim = target
		}
	}
	if len(m.targets) >= or(m.Max, DefaultRemembered) {
		delete(m.targets, victim)
	}
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Len returns how many targets are remembered.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.targets)
}
