package proxy

import (
	"context"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/accept"
)

// letGo waits in the background for the connections of a server that accepts no
// more. After the patience, or when the proxy's own time for draining is over, it
// cuts them; 0 is no bound.
func (p *Proxy) letGo(server *accept.Server, patience time.Duration) {
	p.past.Go(func() {
		ctx := p.forced
		if patience > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, patience)
			defer cancel()
		}
		if !server.Drain(ctx) && p.draining.Load() {
			p.cut.Store(true)
		}
	})
}

// Drain ends the proxy in order: it is ready no more; inbound takes no more
// connections and waits for those it has; outbound goes on, new connections
// included, until it has none. When ctx ends what is left is cut. Drain reports
// whether nothing was. The proxy cannot be used any more.
func (p *Proxy) Drain(ctx context.Context) bool { return p.drain(ctx, false) }

// Release is Drain for a proxy whose sockets another process has taken over:
// outbound takes no more connections either.
func (p *Proxy) Release(ctx context.Context) bool { return p.drain(ctx, true) }

func (p *Proxy) drain(ctx context.Context, released bool) bool {
	p.draining.Store(true)
	p.leave()
	p.applying.Lock()
	defer p.applying.Unlock()
	stop := context.AfterFunc(ctx, p.force)
	defer stop()
	for _, l := range p.listeners {
		if l.inbound() || released {
			l.close()
			p.letGo(l.server, 0)
		}
	}
	for _, s := range p.live.all() {
		s.stop()
	}
	if !released {
		p.outboundIdle(ctx)
		for _, l := range p.listeners {
			if !l.inbound() {
				l.close()
				p.letGo(l.server, 0)
			}
		}
	}
	p.past.Wait()
	p.end()
	return !p.cut.Load()
}

// end ends what has nothing left to do.
func (p *Proxy) end() {
	p.force()
	p.pool.Close()
	for _, s := range p.live.all() { // sessions without streams
		s.end(errDrained)
	}
	p.plains.close()
	p.where.close()
	p.work.Wait()
}

// idlePoll is how often it is looked whether outbound connections remain.
const idlePoll = 50 * time.Millisecond

// outboundIdle waits until no outbound connection remains, or ctx ends.
func (p *Proxy) outboundIdle(ctx context.Context) {
	tick := time.NewTicker(idlePoll)
	defer tick.Stop()
	for {
		var open int64
		for _, l := range p.listeners {
			if !l.inbound() {
				open += l.open.Load()
			}
		}
		if open == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
