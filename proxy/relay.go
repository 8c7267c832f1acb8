package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/proxy/http"
	"github.com/hallmark-mesh/hallmark/proxy/policy"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// HTTP goes the same way as other streams up to what is spoken. From there each
// request is authorised, routed, opened and recorded by itself: package http calls
// open once for each attempt where a stream calls it once.

// relays returns whether the protocol is relayed as messages on the backend: what
// a destination declares as something else stays opaque, whatever it looks like,
// and an application that is told of its client by a PROXY header needs a
// connection for each.
func (b *backend) relays(protocol tlsctx.Protocol) bool { return protocol.IsHTTP() && !b.opaque }

// relay carries the requests of a connection.
func (st *stream) relay(ctx context.Context, l *listener, down net.Conn, protocol tlsctx.Protocol) error {
	spoken := protocol // by the client's application
	if st.peer.Session == tlsctx.H2 {
		protocol = tlsctx.HTTP2 // by the peer, whatever its application speaks
	}
	drain := l.proxy.leaving
	if st.session != nil {
		drain = st.session.drain
	}
	return l.relay(spoken).Serve(ctx, http.Connection{
		Conn: down, Protocol: protocol, Drain: drain,
		Source: &http.Source{Peer: st.peer, Client: st.client, Local: st.local},
	})
}

// relay returns the listener's relay for what the application of its clients
// speaks, which is what the one at the far end is spoken to in.
func (l *listener) relay(spoken tlsctx.Protocol) *http.Relay {
	l.relaysMu.Lock()
	defer l.relaysMu.Unlock()
	if r := l.relays[spoken]; r != nil {
		return r
	}
	r := http.New(l.relayConfig(spoken))
	if l.relays == nil {
		l.relays = make(map[tlsctx.Protocol]*http.Relay)
	}
	l.relays[spoken] = r
	return r
}

func (l *listener) relayConfig(spoken tlsctx.Protocol) http.Config {
	s := l.side.Load()
	c := http.Config{
		Open:  func(ctx context.Context, ask *http.Ask) (http.Choice, error) { return l.open1(ctx, ask, spoken) },
		Ready: func(ask *http.Ask) (http.Choice, bool) { return l.ready1(ask, spoken) },
		Count: func(reason string) { l.proxy.record.LimitMet("http_" + reason) },
		H2:    s.plan.h2(),
	}
	c.H2.ConnectProtocol = true
	if l.inbound() {
		c.Identity = &http.Identity{XForwarded: true}
	}
	return c
}

// open1 opens upstream for one attempt of a request.
func (l *listener) open1(ctx context.Context, ask *http.Ask, spoken tlsctx.Protocol) (http.Choice, error) {
	b, err := l.admit(ask)
	if err != nil {
		return http.Choice{}, failureOf(err)
	}
	up, err := b.messages.message(ctx, spoken)
	if err != nil {
		return http.Choice{}, failureOf(fmt.Errorf("open: %w", err))
	}
	return http.Choice{Upstream: up}, nil
}

// ready1 is open1 where that takes no waiting.
func (l *listener) ready1(ask *http.Ask, spoken tlsctx.Protocol) (http.Choice, bool) {
	s := l.side.Load()
	b, err := s.route(ask.Source.Peer)
	if err != nil || expired(ask.Source.Peer) {
		return http.Choice{}, false // open1 says why
	}
	var d policy.Decision
	if s.ask != nil {
		d = s.ask(ask.Source.Peer, b)
	}
	up := b.messages.warm(spoken)
	if up == nil || d.Denied != nil {
		return http.Choice{}, false
	}
	if s.ask != nil {
		s.proxy.decided(ask.Source.Peer, b, d)
	}
	return http.Choice{Upstream: up}, true
}

// admit routes and authorises a request, as the listener's present side does.
func (l *listener) admit(ask *http.Ask) (*backend, error) {
	s := l.side.Load()
	if expired(ask.Source.Peer) {
		return nil, errExpired
	}
	b, err := s.route(ask.Source.Peer)
	if err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	if err := s.authorize(ask.Source.Peer, b); err != nil {
		return nil, fmt.Errorf("authorize: %w", err)
	}
	return b, nil
}

// failureOf gives an error the reason that clients are told.
func failureOf(err error) *http.Failure {
	f := &http.Failure{Reason: http.UpstreamRefused, Err: err, Unprocessed: true}
	o := explain(err)
	switch {
	case errors.As(err, new(*policy.Denial)):
		f.Reason = http.Denied
	case errors.Is(err, errNoTarget):
		f.Reason = http.NoRoute
	case errors.Is(err, errExpired):
		f.Reason = http.Draining
	case o.flag == metrics.FlagTimeout:
		f.Reason = http.ConnectTimeout
	}
	return f
}

// messenger is where requests go: to an application, or to a peer.
type messenger interface {
	// message returns what requests are sent to, for what the clients'
	// application speaks. It may wait.
	message(ctx context.Context, spoken tlsctx.Protocol) (http.Upstream, error)

	// warm returns the same, or nil where that takes waiting.
	warm(spoken tlsctx.Protocol) http.Upstream
}

// message returns what requests to an application are sent to.
func (a *application) message(_ context.Context, spoken tlsctx.Protocol) (http.Upstream, error) {
	return a.warm(spoken), nil
}

// warm is message: a pool of plain connections is always at hand.
func (a *application) warm(spoken tlsctx.Protocol) http.Upstream {
	if a.target.Protocol.IsHTTP() {
		spoken = a.target.Protocol
	}
	return a.proxy.plains.of(plainKey{address: a.target.Address, protocol: spoken}, func() http.PlainConfig {
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
func (r *remote) message(ctx context.Context, spoken tlsctx.Protocol) (http.Upstream, error) {
	if up := r.warm(spoken); up != nil {
		return up, nil
	}
	addresses, err := addressesOf(ctx, r.where)
	if err != nil {
		return nil, err
	}
	snapshot, err := r.proxy.awaitIdentity(ctx)
	if err != nil {
		return nil, err
	}
	var found *sharedSession
	for _, address := range r.dialer.Order(addresses) { // one after the other: a request may wait, and be sent once
		key := sessionKey{remote: r, generation: snapshot.Generation, address: address, detected: spoken, messages: true}
		if found, err = r.proxy.pool.Get(ctx, key); err == nil {
			return found.messages, nil
		}
		if only, ok := errors.AsType[*notShared](err); ok {
			r.noMessages.Store(time.Now().Add(plainFor).UnixNano())
			if up := only.take(); up != nil {
				_ = up.Close() // the pool of streams opens its own
			}
			return r.plain(spoken), nil
		}
	}
	return nil, err
}

// warm returns what requests can be sent to at once, or nil.
func (r *remote) warm(spoken tlsctx.Protocol) http.Upstream {
	if time.Now().UnixNano() < r.noMessages.Load() {
		return r.plain(spoken)
	}
	snapshot, err := r.proxy.identity.Snapshot()
	if err != nil {
		return nil
	}
	known, _ := r.where.Endpoints()
	if len(known.Addresses) == 0 {
		return nil
	}
	address := known.Addresses[0]
	if len(known.Addresses) > 1 {
		address = r.dialer.Order(known.Addresses)[0]
	}
	key := sessionKey{remote: r, generation: snapshot.Generation, address: address, detected: spoken, messages: true}
	if s, ok := r.proxy.pool.Warm(key); ok {
		return s.messages
	}
	return nil
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
func (r *remote) plain(spoken tlsctx.Protocol) *http.Plain {
	return r.proxy.plains.of(plainKey{remote: r, protocol: spoken}, func() http.PlainConfig {
		b := &backend{}
		return http.PlainConfig{
			Protocol: spoken,
			Dial: func(ctx context.Context) (net.Conn, error) {
				up, err := r.open(ctx, &stream{backend: b}, spoken)
				if err != nil {
					return nil, err
				}
				return up.Conn, nil
			},
		}
	})
}
