package accept

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// Gate bounds how much of something costly, such as handshakes, is in progress,
// altogether and for one source. Of one source, those over the bound wait their
// turn. The zero value bounds nothing. It is safe for concurrent use.
type Gate struct {
	// Max bounds all; 0 means no bound.
	Max int

	// MaxPerSource bounds those of one IPv4 address, or of one IPv6 network
	// of 64 bits, of which whoever has one address has all; 0 means no bound.
	// Four times as many may wait.
	MaxPerSource int

	// OnLimit is told when a limit is met: by who is kept out, and by who has to
	// wait. Nil ignores it.
	OnLimit func(Limit)

	mu      sync.Mutex
	total   int // inside
	sources map[netip.Prefix]*source
}

// source is what is known of one source that somebody inside is of.
type source struct {
	inside  int
	waiting []chan struct{} // in the order in which they came; closed when it is their turn
}

// waitingFor is how many may wait for one place.
const waitingFor = 4

// Enter lets one more in from the address and returns the function that lets it
// out again, or else the limit that keeps it out, and leave is nil. It waits where
// only those of the same source are in the way, until ctx ends at the latest.
func (g *Gate) Enter(ctx context.Context, address netip.Addr) (leave func(), kept Limit) {
	from := sourceOf(address)
	turn, met := g.enter(from)
	if met != "" && g.OnLimit != nil {
		g.OnLimit(met)
	}
	if met != "" && turn == nil {
		return nil, met
	}
	if turn != nil {
		select {
		case <-turn:
		case <-ctx.Done():
			if g.giveUp(from, turn) {
				return nil, met
			}
		}
	}
	return sync.OnceFunc(func() { g.leave(from) }), ""
}

// enter counts one more of the source, unless it meets a limit: then it is kept
// out, or there is a turn to wait for, and whoever makes room counts it.
func (g *Gate) enter(from netip.Prefix) (turn chan struct{}, met Limit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Max > 0 && g.total >= g.Max {
		return nil, LimitHandshakes
	}
	s := g.sources[from]
	if s == nil {
		s = new(source)
		if g.sources == nil {
			g.sources = make(map[netip.Prefix]*source)
		}
		g.sources[from] = s
	}
	switch {
	case g.MaxPerSource <= 0 || s.inside < g.MaxPerSource:
		g.total++
		s.inside++
		return nil, ""
	case len(s.waiting) >= waitingFor*g.MaxPerSource:
		return nil, LimitHandshakesPerSource
	}
	turn = make(chan struct{})
	s.waiting = append(s.waiting, turn)
	return turn, LimitHandshakesPerSource
}

// giveUp takes one out of those who wait. It reports false if it is inside by now.
func (g *Gate) giveUp(from netip.Prefix, turn chan struct{}) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[from]
	if s == nil { // its turn has come
		return false
	}
	before := len(s.waiting)
	s.waiting = slices.DeleteFunc(s.waiting, func(other chan struct{}) bool { return other == turn })
	return len(s.waiting) < before
}

// InProgress returns how many are in.
func (g *Gate) InProgress() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// sourceOf returns what counts as one source; of no address it is zero.
func sourceOf(address netip.Addr) netip.Prefix {
	bits := 64
	if address = address.Unmap(); address.Is4() {
		bits = 32
	}
	source, _ := address.WithZone("").Prefix(bits) // fails for no address alone
	return source
}

// leave lets one out, whose place is that of the next who waits.
func (g *Gate) leave(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[from]
	if len(s.waiting) > 0 {
		close(s.waiting[0])
		s.waiting = s.waiting[1:]
		return
	}
	g.total--
	if s.inside--; s.inside == 0 {
		delete(g.sources, from)
	}
}
