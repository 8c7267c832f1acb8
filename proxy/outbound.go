package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/proxy/dial"
	"github.com/hallmark-mesh/hallmark/proxy/discovery"
	"github.com/hallmark-mesh/hallmark/proxy/tunnel"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// remote is the mutual TLS end of an outbound side: a workload elsewhere. It is
// shared by all plans that say the same of it, so that its sessions outlive a
// reload that does not concern them.
type remote struct {
	proxy  *Proxy
	plan   *plan  // the first that spoke of it
	name   string // of the first resource
	spec   config.OutboundSpec
	same   string // what plans must agree on
	expect tlsctx.Authorizer
	where  discovery.Source
	dialer *dial.Dialer

	// noStreams says until when the peer is known to take no shared sessions, in
	// nanoseconds since 1970.
	noStreams atomic.Int64

	// noMessages says the same of sessions for messages.
	noMessages atomic.Int64

	// lastPeer is the server that took no such sessions last, and recorded
	// what records the requests to it.
	lastPeer atomic.Pointer[tlsctx.Peer]
	recorded atomic.Pointer[serverRequests]
}

// outbound returns the side of an Outbound.
func (p *Proxy) outbound(pl *plan, r *config.Outbound) (*side, error) {
	to, err := p.remote(pl, r)
	if err != nil {
		return nil, err
	}
	b := &backend{
		target: r.Spec.Target, service: serviceOf(r.Spec.To), port: portOf(r.Spec.To),
		declared: r.Spec.Protocol, serverFirst: r.Spec.ServerFirst,
		key: "outbound " + r.Spec.To + " " + r.Spec.Target, open: to.open,
		messages: to, opaque: r.Spec.Protocol != "" && !r.Spec.Protocol.IsHTTP() || to.pinned(),
	}
	return &side{
		proxy: p, plan: pl, name: r.Name, listen: r.Spec.Listen, reporter: metrics.Source,
		accept: pl.accepting(r.Spec.AcceptProxyProtocol), remote: to,
		route: func(*tlsctx.Peer) (*backend, error) { return b, nil },
	}, nil
}

// serviceOf returns the service that an address is of.
func serviceOf(address string) metrics.Service {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return metrics.Service{Host: host}
}

// remote returns what a plan connects to: the one of the plan in force where
// both agree.
func (p *Proxy) remote(pl *plan, r *config.Outbound) (*remote, error) {
	text, err := json.Marshal([]any{
		r.Spec.To, r.Spec.Target, r.Spec.Expect, r.Spec.SNI, r.Spec.Peers, r.Spec.Session,
		pl.config.Proxy.Spec.TrustDomains, pl.config.Proxy.Spec.Disclosure, pl.config.Proxy.Spec.Sessions,
		pl.config.Proxy.Spec.Timeouts, pl.config.Proxy.Spec.KeepAlive, pl.config.Proxy.Spec.Limits,
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: outbound %s: %w", r.Name, err)
	}
	if current := p.plan.Load(); current != nil {
		for _, s := range current.sides {
			if s.remote != nil && s.remote.same == string(text) {
				return s.remote, nil
			}
		}
	}
	where, err := p.where.at(r.Spec.To)
	if err != nil {
		return nil, fmt.Errorf("proxy: outbound %s: %w", r.Name, err)
	}
	spec := pl.config.Proxy.Spec
	return &remote{
		proxy: p, plan: pl, name: r.Name, spec: r.Spec, same: string(text), expect: Expected(r.Spec.Expect),
		where: where,
		dialer: &dial.Dialer{
			Timeout: spec.Timeouts.Dial,
			Prepare: func(c net.Conn) { socketOptions(spec.KeepAlive).Apply(c) },
		},
	}, nil
}

// Expected takes the identities that the other side may have, and nobody if there
// are none.
func Expected(list []config.Expectation) tlsctx.Authorizer {
	var some []tlsctx.Authorizer
	for _, e := range list {
		switch {
		case !e.ID.IsZero():
			some = append(some, tlsctx.AuthorizeID(e.ID))
		case !e.PathPrefix.IsZero():
			some = append(some, tlsctx.AuthorizePath(e.PathPrefix.TrustDomain(), e.PathPrefix.Path()))
		case e.TrustDomain != (spiffeid.TrustDomain{}):
			some = append(some, tlsctx.AuthorizeMemberOf(e.TrustDomain))
		}
	}
	return tlsctx.AuthorizeOneOf(some...)
}

// open returns a connection to the peer for what was detected: a stream of a
// shared session, or a TLS connection of its own.
func (r *remote) open(ctx context.Context, st *stream, detected tlsctx.Protocol) (*upstream, error) {
	addresses, err := addressesOf(ctx, r.where)
	if err != nil {
		return nil, err
	}
	if r.kind(st.backend) == tlsctx.Raw {
		return r.openRaw(ctx, addresses, detected, st.trace)
	}
	order := r.dialer.Order(addresses)
	if up := r.openWarm(ctx, st, order[0], detected); up != nil {
		return up, nil
	}
	conn, err := r.dialer.Race(ctx, order, func(ctx context.Context, address string) (dial.Conn, error) {
		return r.openStream(ctx, st, address, detected)
	})
	if only, ok := errors.AsType[*notShared](err); ok {
		r.noStreams.Store(time.Now().Add(plainFor).UnixNano())
		if !st.trace.Sampled() { // the handshake is over, and has not said so
			if up := only.take(); up != nil {
				return up, nil
			}
		}
		return r.openRaw(ctx, addresses, detected, st.trace)
	}
	if err != nil {
		return nil, err
	}
	up, _ := conn.(*upstream) // openStream returns nothing else
	return up, nil
}

const (
	// plainFor is how long a peer is remembered that takes no shared session.
	plainFor = time.Minute

	// bulk is how many bytes streams carry on average, so that each is better
	// off with a connection of its own; docs/sessions.md has the measurements.
	bulk = 8 << 20
)

// kind decides how a stream to the backend crosses the network.
func (r *remote) kind(b *backend) tlsctx.Session {
	kind := r.spec.Session
	if kind == "" {
		kind = r.plan.config.Proxy.Spec.Sessions.Kind
	}
	switch {
	case kind == config.Mux:
		return tlsctx.Mux
	case kind == config.Raw, time.Now().UnixNano() < r.noStreams.Load(), b.carried.Load() > bulk:
		return tlsctx.Raw
	default:
		return tlsctx.Mux
	}
}

// openRaw opens a TLS connection for one stream, whose trace the handshake tells.
func (r *remote) openRaw(ctx context.Context, addresses []string, detected tlsctx.Protocol, trace tlsctx.Traceparent) (*upstream, error) {
	conn, session, err := r.connect(ctx, addresses, detected, trace, tlsctx.Raw)
	if err != nil {
		return nil, err
	}
	return r.own(conn, session), nil
}

// own makes an upstream of a connection that is one stream's own.
func (r *remote) own(conn *tlsctx.Conn, session *liveSession) *upstream {
	return &upstream{
		Conn: &ownConn{Conn: conn, leave: session.leave},
		peer: conn.Peer(), via: session, session: conn.Peer().Session, address: addressOf(conn),
	}
}

// ownConn is a TLS connection that leaves the live sessions when it is closed.
type ownConn struct {
	*tlsctx.Conn

	left  atomic.Bool
	leave func()
}

// Close closes the connection.
func (c *ownConn) Close() error {
	err := c.Conn.Close()
	if !c.left.Swap(true) {
		c.leave()
	}
	return err
}

// connect dials and shakes hands as a client.
func (r *remote) connect(ctx context.Context, addresses []string, detected tlsctx.Protocol, trace tlsctx.Traceparent, kinds ...tlsctx.Session) (*tlsctx.Conn, *liveSession, error) {
	timeouts := r.plan.config.Proxy.Spec.Timeouts
	ctx, cancel := context.WithTimeout(ctx, timeouts.Dial+timeouts.Handshake)
	defer cancel()
	snapshot, err := r.proxy.awaitIdentity(ctx)
	if err != nil {
		return nil, nil, err
	}
	shake := clientConfig(r.plan, &r.spec, snapshot.ID().TrustDomain(), r.expect)
	shake.Source, shake.Sessions, shake.Detected = identity.Static{Current: snapshot}, kinds, detected
	shake.Trace = trace
	dialer := tlsctx.Dialer{
		Config: shake,
		Dial:   func(ctx context.Context, _, _ string) (net.Conn, error) { return r.dialer.Dial(ctx, addresses) },
	}
	start := time.Now()
	conn, err := dialer.DialContext(ctx, "tcp", r.spec.To)
	if err != nil {
		if tlsctx.ReasonOf(err) != "" {
			r.proxy.record.Handshake(metrics.Client, time.Since(start), nil, err)
		}
		return nil, nil, err
	}
	r.proxy.record.Handshake(metrics.Client, time.Since(start), conn.Peer(), nil)
	session := r.proxy.live.add(&liveSession{
		record: r.proxy.record.OpenSession(metrics.SessionInfo{
			Side: metrics.Client, Kind: conn.Peer().Session, Peer: conn.Peer(), Remote: conn.RemoteAddr().String(),
		}),
		peer: conn.Peer(), until: first(conn.Peer().NotAfter(), snapshot.NotAfter()),
		verify: r.verify, retire: func() {}, stop: func() {},
		end: func(error) { tunnel.Abort(conn) },
	})
	return conn, session, nil
}

// first returns the earlier of two times.
func first(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// clientConfig is how a member of a trust domain shakes hands with the peer of an
// outbound side, but for whose identity is presented and what is carried.
func clientConfig(pl *plan, spec *config.OutboundSpec, own spiffeid.TrustDomain, expect tlsctx.Authorizer) tlsctx.ClientConfig {
	return tlsctx.ClientConfig{
		Policy: pl.policy(own, expect), Disclosure: pl.disclosure, Target: spec.Target,
		Awareness: awareness(spec.Peers), ServerName: spec.SNI, Timeout: pl.config.Proxy.Spec.Timeouts.Handshake,
	}
}

// ClientConfig is how a workload shakes hands with the peer of an Outbound, for
// those who want to know whether it would be taken.
func ClientConfig(c *config.Config, out *config.Outbound, source *identity.Snapshot) tlsctx.ClientConfig {
	pl := &plan{config: c, disclosure: disclosure(c.Proxy.Spec.Disclosure)}
	pl.templates, pl.attested = trustDomains(c.Proxy.Spec.TrustDomains)
	shake := clientConfig(pl, &out.Spec, source.ID().TrustDomain(), Expected(out.Spec.Expect))
	shake.Source = identity.Static{Current: source}
	return shake
}

// verify asks again about the server of an earlier handshake.
func (r *remote) verify(peer *tlsctx.Peer) error { return r.proxy.reverify(r.plan, peer, r.expect) }
