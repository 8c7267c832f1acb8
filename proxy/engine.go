package proxy

import (
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/http"
)

// engine returns what the proxy holds now, for the metrics.
func (p *Proxy) engine() metrics.Engine {
	kept := p.pool.Stats()
	e := metrics.Engine{
		Requests:   make(map[metrics.Reporter]int),
		Handshakes: p.gate.Load().InProgress(),
		Sessions:   metrics.Pool{Busy: kept.Busy, Idle: kept.Idle, Opening: kept.Opening},
		Waiting:    kept.Waiting, Waits: kept.Waits,
		Buffered: p.budget.Used(), BufferedMost: h2Memory,
	}
	e.Applications, e.Peers = p.plains.stats()
	for _, l := range *p.listening.Load() {
		s := l.side.Load()
		e.Requests[s.reporter] += int(l.flying.Load())
		e.Listeners = append(e.Listeners, metrics.Listener{
			Reporter: s.reporter, Name: s.name, Open: int(l.open.Load()), Most: s.accept.MaxConnections,
		})
	}
	return e
}

// stats adds up the pools of connections to applications and to peers.
func (p *plains) stats() (applications, peers metrics.Pool) {
	p.mu.Lock()
	all := make(map[*http.Plain]*metrics.Pool, len(p.all))
	for key, pool := range p.all {
		all[pool] = &applications
		if key.remote != nil {
			all[pool] = &peers
		}
	}
	p.mu.Unlock()
	for pool, sum := range all {
		opening, busy, idle := pool.Stats()
		sum.Opening += opening
		sum.Busy += busy
		sum.Idle += idle
	}
	return applications, peers
}
