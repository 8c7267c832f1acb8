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

	// MaxPerSource bounds those of one IPv4 address, or of one IPv6 network
	// of 64 bits, of which whoever has one address has all; 0 means no bound.
	MaxPerSource int

	mu      sync.Mutex
	total   int
	sources map[netip.Prefix]int
}

// Enter lets one more in from the address and returns the function that lets it
// out again, or "" for the limit that keeps it out: then leave is nil.
func (g *Gate) Enter(address netip.Addr) (leave func(), kept Limit) {
	source := sourceOf(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.Max > 0 && g.total >= g.Max:
		return nil, LimitHandshakes
	case g.MaxPerSource > 0 && g.sources[source] >= g.MaxPerSource:
		return nil, LimitHandshakesPerSource
	}
	if g.sources == nil {
		g.sources = make(map[netip.Prefix]int)
	}
	g.total++
	g.sources[source]++
	return sync.OnceFunc(func() { g.leave(source) }), ""
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

func (g *Gate) leave(source netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.sources[source]--; g.sources[source] == 0 {
		delete(g.sources, source)
	}
}
