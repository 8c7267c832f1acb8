package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
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
		Source: &http.Source{Peer: st.peer, Client: st.client, Local: st.local, Owner: newCaller(st, spoken)},
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
		Open:   func(ctx context.Context, ask *http.Ask) (http.Choice, error) { return l.open1(ctx, ask, spoken) },
		Ready:  func(ask *http.Ask) (http.Choice, bool) { return l.ready1(ask, spoken) },
		Count:  func(reason string) { l.proxy.record.LimitMet("http_" + reason) },
		Record: l.requested,
		H2:     s.plan.h2(),
	}
	c.H2.ConnectProtocol = true
	if l.inbound() {
		c.Identity = &http.Identity{XForwarded: true}
	}
	return c
}

// open1 opens upstream for one attempt of a request.
func (l *listener) open1(ctx context.Context, ask *http.Ask, spoken tlsctx.Protocol) (http.Choice, error) {
	s, b, err := l.admit(ask)
	if err != nil {
		return http.Choice{}, failureOf(err)
	}
	choice, err := b.messages.message(ctx, spoken)
	if err != nil {
		return http.Choice{}, failureOf(fmt.Errorf("open: %w", err))
	}
	return s.counted(ask, b, choice), nil
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
	choice, ok := b.messages.warm(spoken)
	if !ok || d.Denied != nil {
		return http.Choice{}, false
	}
	if s.ask != nil {
		s.proxy.decided(ask.Source.Peer, b, d)
	}
	return s.counted(ask, b, choice), true
}

// counted says where the request is counted: outbound by the session that it goes
// on, which the choice knows, and inbound by the one that it came on.
func (s *side) counted(ask *http.Ask, b *backend, choice http.Choice) http.Choice {
	if from, ok := ask.Source.Owner.(*caller); ok && s.remote == nil {
		choice.Labels = from.requests(b)
		if choice.Done = from.done; choice.Done != nil {
			from.st.session.record.StreamOpened()
		}
	}
	return choice
}

// caller is the connection that requests come on.
type caller struct {
	st     *stream
	spoken tlsctx.Protocol
	done   func(*http.Failure) // counts the end of a request on its session
	last   atomic.Pointer[callerRequests]
}

// callerRequests records the requests of one connection to one backend.
type callerRequests struct {
	*metrics.Requests

	backend *backend
}

func newCaller(st *stream, spoken tlsctx.Protocol) *caller {
	c := &caller{st: st, spoken: spoken}
	if st.session != nil {
		record := st.session.record
		c.done = func(*http.Failure) { record.StreamClosed() }
	}
	return c
}

// requests records what goes to the backend: nil if it is not known.
func (c *caller) requests(b *backend) *metrics.Requests {
	if last := c.last.Load(); last != nil && last.backend == b {
		return last.Requests
	}
	info := metrics.RequestsInfo{
		Reporter: c.st.side.reporter, Listener: c.st.side.name, Peer: c.st.peer, Session: c.st.peer.Session,
	}
	if info.Reporter == metrics.Source { // who was to be reached is not known
		info.Peer, info.Session = nil, ""
	}
	if b != nil {
		info.Service, info.Target = b.service, b.target
	}
	if c.st.session != nil {
		info.Via = c.st.session.record
	}
	made := &callerRequests{Requests: c.st.side.proxy.record.Requests(info), backend: b}
	c.last.Store(made)
	return made.Requests
}

// requested records a request that is over.
func (l *listener) requested(r *http.Record) {
	from, ok := r.Source.Owner.(*caller)
	if !ok {
		return
	}
	requests, ok := r.Labels.(*metrics.Requests)
	if !ok { // it was answered before it was known where it goes
		requests = from.requests(nil)
	}
	requests.Record(metrics.Request{
		Method: r.Method, Authority: r.Authority, Path: r.Path, Protocol: from.spoken, Upgrade: r.Protocol,
		Client: r.Source.Client, Local: r.Source.Local,
		Status: r.Status, IsGRPC: r.IsGRPC, GRPC: r.GRPC,
		RequestBytes: r.RequestBytes, ResponseBytes: r.ResponseBytes,
		Start: r.Start, Duration: r.Duration, FirstByte: r.FirstByte, Attempts: r.Attempts,
		Outcome: outcomeOfRequest(r),
	})
}

// admit routes and authorises a request, as the listener's present side does.
func (l *listener) admit(ask *http.Ask) (*side, *backend, error) {
	s := l.side.Load()
	if expired(ask.Source.Peer) {
		return nil, nil, errExpired
	}
	b, err := s.route(ask.Source.Peer)
	if err != nil {
		return nil, nil, fmt.Errorf("route: %w", err)
	}
	if err := s.authorize(ask.Source.Peer, b); err != nil {
		return nil, nil, fmt.Errorf("authorize: %w", err)
	}
	return s, b, nil
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
	if time.Now().UnixNano() < r.noMessages.Load() {
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
