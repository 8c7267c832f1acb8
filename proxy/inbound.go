package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/announce"
	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/proxy/dial"
	"github.com/hallmark-mesh/hallmark/proxy/discovery"
	"github.com/hallmark-mesh/hallmark/proxy/policy"
	"github.com/hallmark-mesh/hallmark/proxy/tunnel"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// inbound is the side that has mutual TLS below and applications above.
type inbound struct {
	proxy    *Proxy
	plan     *plan
	resource *config.Inbound
	backends []*backend // the first is for peers that ask for none
}

// inbound returns the side of an Inbound.
func (p *Proxy) inbound(pl *plan, r *config.Inbound) (*side, error) {
	in := &inbound{proxy: p, plan: pl, resource: r}
	for i := range r.Spec.Targets {
		b, err := in.backend(&r.Spec.Targets[i])
		if err != nil {
			return nil, fmt.Errorf("proxy: inbound %s: %w", r.Name, err)
		}
		in.backends = append(in.backends, b)
	}
	return &side{
		proxy: p, plan: pl, name: r.Name, listen: r.Spec.Listen, reporter: metrics.Destination,
		accept:     pl.accepting(r.Spec.AcceptProxyProtocol),
		permissive: r.Spec.Plaintext == config.Permissive,
		secure:     in.secure, route: in.route, ask: in.ask, verify: in.verify,
	}, nil
}

// route returns the backend that a peer asks for: what it names only selects
// among what is configured.
func (in *inbound) route(peer *tlsctx.Peer) (*backend, error) {
	if peer.Target == "" {
		return in.backends[0], nil
	}
	for _, b := range in.backends {
		if b.target == peer.Target {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", errNoTarget, peer.Target)
}

// ask asks the policy.
func (in *inbound) ask(peer *tlsctx.Peer, b *backend) policy.Decision {
	own := placeholder()
	if snapshot, err := in.proxy.identity.Snapshot(); err == nil {
		own = snapshot.ID().TrustDomain()
	}
	return in.plan.judge(own).policies.Check(policy.Request{
		Peer: peer, Target: b.target, Port: b.port, Permissive: in.resource.Spec.Plaintext == config.Permissive,
	})
}

// authorize is the policy's place in the handshake: nothing is counted or logged
// there, since the peer has not proved who it is.
func (in *inbound) authorize(peer *tlsctx.Peer) error {
	b, err := in.route(peer)
	if err != nil {
		return err
	}
	return in.ask(peer, b).Err()
}

// verify asks again about the peer of an earlier handshake.
func (in *inbound) verify(peer *tlsctx.Peer) error {
	return in.proxy.reverify(in.plan, peer, in.authorize)
}

// secure shakes hands as a server.
func (in *inbound) secure(ctx context.Context, st *stream) (tunnel.Conn, *tlsctx.Peer, error) {
	timeout := in.plan.config.Proxy.Spec.Timeouts.Handshake
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	leave, kept := in.proxy.gate.Load().Enter(ctx, st.client.Addr())
	if kept != "" {
		tunnel.Abort(st.down)
		return nil, nil, errors.New("handshake: " + string(kept))
	}
	defer leave()
	start := time.Now()
	conn, err := in.shake(ctx, st.down, timeout)
	took := time.Since(start)
	if err != nil {
		_ = st.down.Close()
		in.refused(st, took, err)
		return nil, nil, err
	}
	in.proxy.record.Handshake(metrics.Server, took, conn.Peer(), nil)
	return conn, conn.Peer(), nil
}

func (in *inbound) shake(ctx context.Context, raw net.Conn, timeout time.Duration) (*tlsctx.Conn, error) {
	snapshot, err := in.proxy.awaitIdentity(ctx)
	if err != nil {
		return nil, err
	}
	return tlsctx.Server(ctx, raw, &tlsctx.ServerConfig{
		Source:     identity.Static{Current: snapshot},
		Policy:     in.plan.policy(snapshot.ID().TrustDomain(), in.authorize),
		Disclosure: in.plan.disclosure,
		Sessions:   in.sessions(),
		Registered: in.registered(),
		Awareness:  awareness(in.resource.Spec.Peers),
		Timeout:    timeout,
	})
}

// sessions are the kinds to take. Messages only where every target may be spoken
// to in messages: which one is asked for is not known yet.
func (in *inbound) sessions() []tlsctx.Session {
	kinds := sessions(in.resource.Spec.Sessions)
	if slices.ContainsFunc(in.backends, func(b *backend) bool { return b.opaque }) {
		kinds = slices.DeleteFunc(kinds, func(s tlsctx.Session) bool { return s == tlsctx.H2 })
	}
	return kinds
}

// registered are the ALPN identifiers to take from peers that know no context:
// what the application behind may speak.
func (in *inbound) registered() []string {
	switch declared := in.backends[0].declared; declared {
	case "":
		return []string{"h2", "http/1.1"}
	default:
		if id := declared.Registered(); id != "" {
			return []string{id}
		}
		return nil
	}
}

// refused counts and logs a handshake that failed. Who the peer is has not been
// proved.
func (in *inbound) refused(st *stream, took time.Duration, err error) {
	p := in.proxy
	p.record.Handshake(metrics.Server, took, nil, err)
	rule := ""
	if denied, ok := errors.AsType[*policy.Denial](err); ok {
		rule = denied.Policy
		p.record.Authorized(metrics.Denied, denied.Policy, string(denied.Reason))
	}
	fields := []zap.Field{
		zap.String("listener", in.resource.Name), zap.Stringer("client_address", st.client),
		zap.String("reason", string(tlsctx.ReasonOf(err))), zap.Error(err),
	}
	if e, ok := errors.AsType[*tlsctx.Error](err); ok && !e.Claimed.IsZero() {
		fields = append(fields, zap.Stringer("claimed_spiffe_id", e.Claimed))
	}
	if rule != "" {
		fields = append(fields, zap.String("policy", rule))
	}
	p.sampled.Warn("handshake failed", fields...)
}

// backend returns a target's.
func (in *inbound) backend(t *config.Target) (*backend, error) {
	where, err := in.proxy.where.at(t.Address)
	if err != nil {
		return nil, err
	}
	app := &application{
		proxy:  in.proxy,
		target: t,
		where:  where,
		dialer: &dial.Dialer{Timeout: in.plan.config.Proxy.Spec.Timeouts.Dial, Prepare: in.prepare},
	}
	host, _, err := net.SplitHostPort(t.Address)
	if err != nil || net.ParseIP(host) != nil {
		host = "" // the application's address on this machine is nobody's service name
	}
	return &backend{
		target: t.Name, service: metrics.Service{Host: host, Name: t.Name}, port: portOf(t.Address),
		declared: t.Protocol, serverFirst: t.ServerFirst, key: "inbound " + t.Address, open: app.open,
		messages: app, opaque: t.Protocol != "" && !t.Protocol.IsHTTP() || t.ProxyProtocol != config.ProxyProtocolNone,
	}, nil
}

func (in *inbound) prepare(c net.Conn) {
	socketOptions(in.plan.config.Proxy.Spec.KeepAlive).Apply(c)
}

// application is the plain end of an inbound side.
type application struct {
	proxy  *Proxy
	target *config.Target
	where  discovery.Source
	dialer *dial.Dialer
}

// open connects to the application, and tells it who its client is if it wants
// to know.
func (a *application) open(ctx context.Context, st *stream, detected tlsctx.Protocol) (*upstream, error) {
	addresses, err := addressesOf(ctx, a.where)
	if err != nil {
		return nil, err
	}
	conn, err := a.dialer.Dial(ctx, addresses)
	if err != nil {
		return nil, err
	}
	if a.target.ProxyProtocol == config.ProxyProtocolV2 {
		source := st.client
		if st.origin.IsValid() {
			source = st.origin
		}
		header := announce.Header{Source: source, Destination: st.local, Peer: st.peer, Protocol: detected}
		if _, err := header.WriteTo(conn); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("announce the client by PROXY protocol: %w", err)
		}
	}
	return &upstream{Conn: conn, address: addressOf(conn)}, nil
}
