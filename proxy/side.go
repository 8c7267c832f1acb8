package proxy

import (
	"context"
	"net/netip"
	"sync/atomic"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/accept"
	"github.com/hallmark-mesh/hallmark/proxy/policy"
	"github.com/hallmark-mesh/hallmark/proxy/tunnel"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// side is what a listener does with its connections. Inbound and outbound are
// two values of it. It is immutable.
type side struct {
	proxy    *Proxy
	plan     *plan
	name     string // of its resource
	listen   string // its address, as configured
	reporter metrics.Reporter
	accept   accept.Config

	// permissive says that plaintext clients are taken beside handshakes.
	permissive bool

	// secure makes of the downstream connection one whose peer is known. On an
	// error it has closed it, counted and logged. Nil is for applications, which
	// connect in plaintext.
	secure func(ctx context.Context, st *stream) (tunnel.Conn, *tlsctx.Peer, error)

	// route picks the backend for what the peer asks for.
	route func(peer *tlsctx.Peer) (*backend, error)

	// ask asks the policy whether the peer may reach the backend. Nil is for
	// applications, which may.
	ask func(peer *tlsctx.Peer, b *backend) policy.Decision

	// verify asks again about a peer of an earlier handshake, under the
	// snapshot and the plan in force.
	verify func(peer *tlsctx.Peer) error

	// remote is what an outbound side connects to.
	remote *remote
}

// backend is where streams go.
type backend struct {
	target      string // its name in the table that the inbound side is asked by
	service     metrics.Service
	port        uint16
	declared    tlsctx.Protocol
	serverFirst bool
	key         string // under which the race remembers who speaks first

	// opaque says that nothing is relayed as messages, whatever it looks like.
	opaque bool

	// messages is where requests to it go.
	messages messenger

	// open opens a connection to it for what was detected.
	open func(ctx context.Context, st *stream, detected tlsctx.Protocol) (*upstream, error)

	// carried is a moving average of the bytes that a stream to it carries.
	carried atomic.Uint64
}

// upstream is a connection to a backend.
type upstream struct {
	tunnel.Conn

	peer    *tlsctx.Peer   // nil for an application
	via     *liveSession   // likewise
	session tlsctx.Session // how it crosses the network, or ""
	address netip.AddrPort // what was dialled, if known
}

// takesPlaintext reports whether a client that is not one of ours could be let
// in at all.
func (s *side) takesPlaintext() bool {
	if !s.permissive {
		return false
	}
	peer := plaintext()
	b, err := s.route(peer)
	return err == nil && s.ask(peer, b).Denied == nil
}

// authorize asks the policy and counts the answer. It runs for every stream.
func (s *side) authorize(peer *tlsctx.Peer, b *backend) error {
	if s.ask == nil {
		return nil
	}
	d := s.ask(peer, b)
	s.proxy.decided(peer, b, d)
	return d.Err()
}

// weigh adds what a stream has carried to the average: a quarter of it.
func (b *backend) weigh(bytes uint64) {
	for {
		old := b.carried.Load()
		if b.carried.CompareAndSwap(old, old-old/4+bytes/4) {
			return
		}
	}
}
