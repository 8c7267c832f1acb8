package http

import "sync"

// latch is set once a round and waited for by one goroutine.
type latch struct {
	mu      sync.Mutex
	set     bool
	waiting bool
	wake    chan struct{} // one token
}

// reset starts another round. Nobody waits.
func (l *latch) reset() {
	l.mu.Lock()
	l.set = false
	l.mu.Unlock()
}

// done sets it.
func (l *latch) done() {
	l.mu.Lock()
	l.set = true
	wake := l.waiting
	l.waiting = false
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
}

// isDone reports whether it is set.
func (l *latch) isDone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set
}

// wait waits until it is set.
func (l *latch) wait() {
	l.mu.Lock()
	if l.set {
		l.mu.Unlock()
		return
	}
	if l.wake == nil {
		l.wake = make(chan struct{}, 1)
	}
	l.waiting = true
	l.mu.Unlock()
	<-l.wake
}
