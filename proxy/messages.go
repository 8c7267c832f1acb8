package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/proxy/http"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// messenger is where requests go: to an application, or to a peer.
type messenger interface {
	// message returns what requests are sent to, for what the clients'
	// application speaks. It may wait.
	message(ctx context.Context, spoken tlsctx.Protocol) (http.Choice, error)

	// warm returns the same, or false where that takes waiting.
	warm(spoken tlsctx.Protocol) (http.Choice, bool)
}

// message returns what requests to an application are sent to.
func (a *application) message(_ context.Context, spoken tlsctx.Protocol) (http.Choice, error) {
	choice, _ := a.warm(spoken)
	return choice, nil
}

// warm is message: a pool of plain connections is always at hand.
func (a *application) warm(spoken tlsctx.Protocol) (http.Choice, bool) {
	if a.target.Protocol.IsHTTP() {
		spoken = a.target.Protocol
	}
	pool := a.proxy.plains.of(plainKey{address: a.target.Address, protocol: spoken}, func() http.PlainConfig {
		return http.PlainConfig{
			Protocol: spoken,
			Dial: func(ctx context.Context) (net.Conn, error) {
				addresses, err := addressesOf(ctx, a.where)
				if err != nil {
					return nil, err
				}
				return a.dialer.Dial(ctx, addresses)
			},
		}
	})
	return http.Choice{Upstream: pool}, true
}

// plains are the pools of connections of HTTP that belong to one request at a
// time or are another proxy's affair: to applications, and to peers that take no
// sessions for messages.
type plains struct {
	mu   sync.Mutex
	all  map[plainKey]*http.Plain
	done bool
}

// plainKey is where a pool's connections go.
type plainKey struct {
	address  string  // of an application
	remote   *remote // or a peer
	protocol tlsctx.Protocol
}

// of returns the pool of the key, and makes it if there is none.
func (p *plains) of(key plainKey, config func() http.PlainConfig) *http.Plain {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.all[key]; known != nil {
		return known
	}
	made := http.NewPlain(config())
	if p.done {
		made.Close()
		return made
	}
	if p.all == nil {
		p.all = make(map[plainKey]*http.Plain)
	}
	p.all[key] = made
	return made
}

// keep closes the pools that the plan does not speak of, after the patience.
func (p *plains) keep(pl *plan, after func(func())) {
	remotes := pl.remotes()
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, pool := range p.all {
		spoken := key.remote == nil && pl.speaksOf(key.address)
		for _, r := range remotes {
			spoken = spoken || r == key.remote
		}
		if !spoken {
			delete(p.all, key)
			after(pool.Close)
		}
	}
}

// close closes all, and those that are made later.
func (p *plains) close() {
	p.mu.Lock()
	all := p.all
	p.all, p.done = nil, true
	p.mu.Unlock()
	for _, pool := range all {
		pool.Close()
	}
}

// message returns what requests to the peer are sent to: a session for messages,
// or, where the peer takes none, connections as any stream has them.
func (r *remote) message(ctx context.Context, spoken tlsctx.Protocol) (http.Choice, error) {
	if choice, ok := r.warm(spoken); ok {
		return choice, nil
	}
	addresses, err := addressesOf(ctx, r.where)
	if err != nil {
		return http.Choice{}, err
	}
	snapshot, err := r.proxy.awaitIdentity(ctx)
	if err != nil {
		return http.Choice{}, err
	}
	var found *sharedSession
	for _, address := range r.dialer.Order(addresses) { // one after the other: a request may wait, and be sent once
		key := sessionKey{remote: r, generation: snapshot.Generation, address: address, detected: spoken, messages: true}
		if found, err = r.proxy.pool.Get(ctx, key); err == nil {
			return found.choose(), nil
		}
		if only, ok := errors.AsType[*notShared](err); ok {
			r.noMessages.Store(time.Now().Add(plainFor).UnixNano())
			if up := only.take(); up != nil {
				_ = up.Close() // the pool of streams opens its own
			}
			return r.plain(spoken), nil
		}
	}
	return http.Choice{}, err
}

// choose sends a request on the session.
func (s *sharedSession) choose() http.Choice {
	s.live.record.StreamOpened()
	return http.Choice{Upstream: s.messages, Labels: s.requests, Done: s.requestDone}
}

func (s *sharedSession) requestDone(*http.Failure) { s.live.record.StreamClosed() }

// warm returns what requests can be sent to at once.
func (r *remote) warm(spoken tlsctx.Protocol) (http.Choice, bool) {
	if until := r.noMessages.Load(); until != 0 && time.Now().UnixNano() < until {
		return r.plain(spoken), true
	}
	snapshot, err := r.proxy.identity.Snapshot()
	if err != nil {
		return http.Choice{}, false
	}
	known, _ := r.where.Endpoints()
	if len(known.Addresses) == 0 {
		return http.Choice{}, false
	}
	address := known.Addresses[0]
	if len(known.Addresses) > 1 {
		address = r.dialer.Order(known.Addresses)[0]
	}
	key := sessionKey{remote: r, generation: snapshot.Generation, address: address, detected: spoken, messages: true}
	if s, ok := r.proxy.pool.Warm(key); ok {
		return s.choose(), true
	}
	return http.Choice{}, false
}

// pinned reports whether the kind of session is one for streams.
func (r *remote) pinned() bool {
	kind := r.spec.Session
	if kind == "" {
		kind = r.plan.config.Proxy.Spec.Sessions.Kind
	}
	return kind == config.Raw || kind == config.Mux
}

// plain is a pool of streams to the peer, each a connection of HTTP.
func (r *remote) plain(spoken tlsctx.Protocol) http.Choice {
	pool := r.proxy.plains.of(plainKey{remote: r, protocol: spoken}, func() http.PlainConfig {
		b := &backend{}
		return http.PlainConfig{
			Protocol: spoken,
			Dial: func(ctx context.Context) (net.Conn, error) {
				up, err := r.open(ctx, &stream{backend: b}, spoken)
				if err != nil {
					return nil, err
				}
				r.lastPeer.Store(up.peer)
				return up.Conn, nil
			},
		}
	})
	return http.Choice{Upstream: pool, Labels: r.requests(r.lastPeer.Load(), nil)}
}

// requests records what goes to the server; one that is not known yet is nil.
func (r *remote) requests(peer *tlsctx.Peer, via *metrics.Session) *metrics.Requests {
	if last := r.recorded.Load(); via == nil && last != nil && last.peer == peer {
		return last.Requests
	}
	info := metrics.RequestsInfo{
		Reporter: metrics.Source, Peer: peer, Service: serviceOf(r.spec.To), Target: r.spec.Target, Listener: r.name, Via: via,
	}
	if peer != nil {
		info.Session = peer.Session
	}
	made := r.proxy.record.Requests(info)
	if via == nil {
		r.recorded.Store(&serverRequests{made, peer})
	}
	return made
}

// serverRequests records the requests to one server.
type serverRequests struct {
	*metrics.Requests

	peer *tlsctx.Peer
}
