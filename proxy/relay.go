package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
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
	if spec := &l.side.Load().plan.config.Proxy.Spec; l.relayed == nil || l.relayed.HTTP != spec.HTTP ||
		l.relayed.Limits != spec.Limits || l.relayed.KeepAlive != spec.KeepAlive {
		l.relays, l.relayed = nil, spec // connections that are open keep theirs
	}
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
		Open:   func(ctx context.Context, ask *http.Ask) (http.Choice, error) { return l.choose(ctx, ask, spoken) },
		Ready:  func(ask *http.Ask) (http.Choice, bool) { return l.chooseWarm(ask, spoken) },
		Count:  func(reason string) { l.proxy.record.LimitMet("http_" + reason) },
		Record: l.requested, InFlight: &l.flying, Messages: messages,
		H2: s.plan.h2(),
	}
	c.H2.ConnectProtocol = true
	if l.proxy.trace != nil {
		c.Trace = l.traced
	}
	h := &s.plan.config.Proxy.Spec.HTTP
	c.Via = h.Via
	c.Timeouts = http.Timeouts{
		Header: orNone(h.Timeouts.Header), Body: orNone(h.Timeouts.Body), Idle: orNone(h.Timeouts.Idle),
		Request: orNone(h.Timeouts.Request), Try: orNone(h.Timeouts.Try),
	}
	c.H2.HeaderTimeout = h.Timeouts.Header // 0: its default, for a block holds up its whole connection
	c.Limits = http.Limits{Attempts: h.Limits.Attempts, Replay: int(h.Limits.Replay), BodyRate: int(h.Limits.BodyRate)}
	if c.Limits.BodyRate == 0 {
		c.Limits.BodyRate = -1
	}
	c.Limits.H1.HeadBytes, c.Limits.H1.Fields = int(h.Limits.HeadBytes), h.Limits.Fields
	c.H2.MaxHeaderBytes, c.H2.MaxHeaderFields = int(h.Limits.HeadBytes), h.Limits.Fields
	if l.inbound() {
		c.Identity = &http.Identity{
			Least: h.Identity.MinProvenance, Forwarded: h.Identity.Forwarded,
			XForwarded: h.Identity.XForwarded, TrustForwarded: h.Identity.TrustForwarded,
		}
	}
	return c
}

// orNone gives a configured duration the form that package http takes, where 0
// means a default.
func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// choose opens upstream for one attempt of a request.
func (l *listener) choose(ctx context.Context, ask *http.Ask, spoken tlsctx.Protocol) (http.Choice, error) {
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

// chooseWarm is choose where that takes no waiting.
func (l *listener) chooseWarm(ask *http.Ask, spoken tlsctx.Protocol) (http.Choice, bool) {
	s := l.side.Load()
	b, err := s.route(ask.Source.Peer)
	if err != nil || expired(ask.Source.Peer) {
		return http.Choice{}, false // choose says why
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
	if !ok { // it was answered before it went anywhere
		b, _ := l.side.Load().route(r.Source.Peer) // what it was for is known, perhaps
		requests = from.requests(b)
	}
	requests.Record(metrics.Request{
		Method: r.Method, Authority: r.Authority, Path: r.Path, Protocol: from.spoken, Upgrade: r.Protocol,
		Client: r.Source.Client, Local: r.Source.Local, Upstream: r.Upstream,
		Status: r.Status, IsGRPC: r.IsGRPC, GRPC: r.GRPC,
		RequestBytes: r.RequestBytes, ResponseBytes: r.ResponseBytes,
		RequestMessages: r.RequestMessages, ResponseMessages: r.ResponseMessages,
		Trace: r.Trace, Span: spanOf(r.Span),
		Start: r.Start, Duration: r.Duration, FirstByte: r.FirstByte, Attempts: r.Attempts,
		Outcome: outcomeOfRequest(r),
	})
}

// messages records those of a gRPC request that goes on.
func messages(labels any, asked, answered uint64) {
	if requests, ok := labels.(*metrics.Requests); ok {
		requests.Messages(asked, answered)
	}
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
