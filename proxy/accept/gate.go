package accept

import (
	"net/netip"
	"sync"
)

// Gate bounds how much of something costly, such as handshakes, is in progress,
// altogether and for one source. The zero value bounds nothing. It is safe for
// concurrent use.
type Gate struct {
	// Max bounds all; 0 means no bound.
	Max int

	// MaxPerSource bounds those of one address; 0 means no bound.
	MaxPerSource int

	mu      sync.Mutex
	total   int
	sources map[netip.Addr]int
}

// Enter lets one more in from the source and returns the function that lets it
// out again, or "" for the limit that keeps it out: then leave is nil.
func (g *Gate) Enter(source netip.Addr) (leave func(), kept Limit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.Max > 0 && g.total >= g.Max:
		return nil, LimitHandshakes
	case g.MaxPerSource > 0 && g.sources[source] >= g.MaxPerSource:
		return nil, LimitHandshakesPerSource
	}
	if g.sources == nil {
		g.sources = make(map[netip.Addr]int)
	}
	g.total++
	g.sources[source]++
	return sync.OnceFunc(func() { g.leave(source) }), ""
}

func (g *Gate) leave(source netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.sources[source]--; g.sources[source] == 0 {
		delete(g.sources, source)
	}
}
