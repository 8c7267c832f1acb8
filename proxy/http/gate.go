package http

import "sync"

// gateSpace is how much a reader of HTTP/1 hands to the other side before it has
// left there.
const gateSpace = 128 << 10

// gate makes a reader wait while too much of what it read has not left. The
// reader adds and waits, whoever sends lets through.
type gate struct {
	mu      sync.Mutex
	under   int // bytes on their way
	closed  bool
	waiting bool
	wake    chan struct{} // one token
}

// open makes the gate ready for another message.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.under, g.closed, g.waiting = 0, false, false
	select {
	case <-g.wake:
	default:
	}
}

// add counts n bytes that are handed over, and reports whether what has been must
// leave before there may be more.
func (g *gate) add(n int) (full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.under += n
	return g.under >= gateSpace
}

// pass says that n bytes have left.
func (g *gate) pass(n int) {
	g.mu.Lock()
	g.under -= n
	wake := g.waiting && g.under <= gateSpace/2
	if wake {
		g.waiting = false
	}
	g.mu.Unlock()
	if wake {
		g.wake <- struct{}{}
	}
}

// close lets the reader through for good.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	wake := g.waiting
	g.waiting = false
	g.mu.Unlock()
	if wake {
		g.wake <- struct{}{}
	}
}

// wait waits until there is room, and reports whether the gate is still open.
func (g *gate) wait() bool {
	for {
		g.mu.Lock()
		if g.closed || g.under < gateSpace {
			open := !g.closed
			g.mu.Unlock()
			return open
		}
		if g.wake == nil {
			g.wake = make(chan struct{}, 1)
		}
		g.waiting = true
		g.mu.Unlock()
		<-g.wake
	}
}
