package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/trace"
	"github.com/hallmark-mesh/hallmark/proxy/accept"
	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/proxy/detect"
	"github.com/hallmark-mesh/hallmark/proxy/discovery"
	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/policy"
	"github.com/hallmark-mesh/hallmark/proxy/pool"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Options are what a [Proxy] is made of. All are required but Trace.
type Options struct {
	// Identity is where our own identity comes from.
	Identity *identity.Store

	// Sockets opens listening sockets.
	Sockets *accept.Sockets

	// Record is told of what happens.
	Record *metrics.Recorder

	// Trace makes spans of what happens. Nil makes none.
	Trace *trace.Tracer

	// Log is for the process's own doings.
	Log *zap.Logger
}

// Proxy is a sidecar. Its methods are safe for concurrent use.
type Proxy struct {
	identity *identity.Store
	sockets  *accept.Sockets
	record   *metrics.Recorder
	trace    *trace.Tracer // or nil
	log      *zap.Logger
	sampled  *zap.Logger // for what a peer can cause as often as it likes

	memory atomic.Pointer[detect.Memory]
	gate   atomic.Pointer[accept.Gate]
	budget *h2.Budget
	pool   *sessionPool
	live   live
	plains plains
	where  *places
	ruled  atomic.Pointer[ruled]
	plan   atomic.Pointer[plan]

	applying  sync.Mutex // held while listeners change
	listeners map[string]*listener
	listening atomic.Pointer[[]*listener] // the same, for who must not wait
	draining  atomic.Bool
	cut       atomic.Bool     // draining had to cut a connection
	past      sync.WaitGroup  // servers that accept no more, and have connections
	work      sync.WaitGroup  // goroutines that end with what they serve
	leaving   context.Context // ends when draining begins
	leave     context.CancelFunc
	forced    context.Context // ends when the time for draining is over
	force     context.CancelFunc
}

// ruled is by what the labels of metrics are filled.
type ruled struct {
	plan *plan
	own  spiffeid.TrustDomain
}

// sessionPool keeps the sessions that streams share.
type sessionPool = pool.Pool[sessionKey, *sharedSession]

// h2Memory bounds what HTTP/2 sessions buffer altogether, in bytes.
const h2Memory = 256 << 20

// New returns a proxy that does nothing yet: [Proxy.Apply] gives it listeners.
func New(o Options) *Proxy {
	p := &Proxy{
		identity: o.Identity, sockets: o.Sockets, record: o.Record, trace: o.Trace, log: o.Log,
		sampled: o.Log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
			return zapcore.NewSamplerWithOptions(c, time.Second, 10, 100)
		})),
		budget:    h2.NewBudget(h2Memory),
		listeners: make(map[string]*listener),
	}
	p.pool = p.newPool()
	p.where = newPlaces(p)
	p.gate.Store(new(accept.Gate))
	p.forced, p.force = context.WithCancel(context.Background())
	p.leaving, p.leave = context.WithCancel(p.forced)
	p.work.Go(func() { p.follow(p.forced) })
	p.listening.Store(new([]*listener))
	p.record.Engine(p.engine)
	return p
}

// Apply puts a configuration in force, whole or not at all: it binds what is new
// first, and an error means that nothing has changed. Connections that are open
// go on, unless their peers are refused by what is in force now.
func (p *Proxy) Apply(ctx context.Context, c *config.Config) error {
	p.applying.Lock()
	defer p.applying.Unlock()
	if p.draining.Load() {
		return errors.New("proxy: apply the configuration: the process is ending")
	}
	next, err := p.compile(c)
	if err != nil {
		return err
	}
	bound, err := p.bind(ctx, next)
	if err != nil {
		p.where.keep(p.plan.Load())
		return err
	}
	p.swap(next, bound)
	return nil
}

// bind opens the sockets that a plan needs and the proxy has not.
func (p *Proxy) bind(ctx context.Context, next *plan) (map[string]*listener, error) {
	bound := make(map[string]*listener)
	for address, s := range next.sides {
		if p.listeners[address] != nil {
			continue
		}
		l, err := p.listen(ctx, s)
		if err != nil {
			for _, l := range bound {
				_ = l.socket.Close()
			}
			return nil, fmt.Errorf("proxy: %s: %w", s.name, err)
		}
		bound[address] = l
	}
	return bound, nil
}

// swap puts a plan in force. The lock is held.
func (p *Proxy) swap(next *plan, bound map[string]*listener) {
	p.resize(next)
	p.plan.Store(next)
	for address, l := range p.listeners {
		if next.sides[address] == nil {
			delete(p.listeners, address)
			l.close()
			p.letGo(l.server, next.config.Proxy.Spec.Timeouts.Drain)
			p.live.stopFrom(l)
		}
	}
	maps.Copy(p.listeners, bound)
	for address, l := range p.listeners {
		l.take(next.sides[address])
	}
	p.listening.Store(new(slices.Collect(maps.Values(p.listeners))))
	p.where.keep(next)
	p.plains.keep(next, func(end func()) {
		p.work.Go(func() {
			ctx, cancel := context.WithTimeout(p.leaving, next.config.Proxy.Spec.Timeouts.Drain)
			defer cancel()
			<-ctx.Done()
			end()
		})
	})
	p.review()
}

// resize makes anew what is shared by all sides and made to a plan's measure.
func (p *Proxy) resize(next *plan) {
	old, spec := p.plan.Load(), &next.config.Proxy.Spec
	if old == nil || old.config.Proxy.Spec.Limits != spec.Limits {
		p.gate.Store(&accept.Gate{
			Max: spec.Limits.Handshakes, MaxPerSource: spec.Limits.HandshakesPerSource,
			OnLimit: func(limit accept.Limit) { p.record.LimitMet(string(limit)) },
		})
		p.memory.Store(&detect.Memory{MaxSpeculations: spec.Limits.Speculations})
	}
	p.pool.Keep(spec.Sessions.Idle, spec.Sessions.MaxAge)
}

func (p *Proxy) newPool() *sessionPool {
	return pool.New(pool.Config[sessionKey, *sharedSession]{
		Open:     p.openSession,
		NotAfter: func(s *sharedSession) time.Time { return s.live.until },
		OnLeave:  func(_ sessionKey, s *sharedSession, reason pool.Reason) { s.live.because(string(reason)) },
	})
}

// h2 returns how the plan's HTTP/2 sessions behave.
func (pl *plan) h2() h2.Config {
	p, spec := pl.proxy, &pl.config.Proxy.Spec
	return h2.Config{
		MaxStreams: uint32(min(max(spec.Limits.StreamsPerSession, 1), 1<<20)),
		Budget:     p.budget, SettingsTimeout: spec.Timeouts.Handshake,
		// A session is given up sooner than a connection: it has more to lose.
		PingInterval: spec.KeepAlive.Idle,
		PingTimeout:  min(maxPingTimeout, spec.KeepAlive.Interval*time.Duration(spec.KeepAlive.Count)),
		Count:        func(r h2.Reason) { p.record.LimitMet(string(r)) },
		Limits:       h2.Limits(spec.Limits.HTTP2),
	}
}

// maxPingTimeout is how long the peer of an HTTP/2 session may take to answer,
// unless connections are to be given up sooner.
const maxPingTimeout = 15 * time.Second

// follow asks again about every session when the identity changes.
func (p *Proxy) follow(ctx context.Context) {
	for {
		changed := p.identity.Changed()
		p.review()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// review ends the sessions whose peers are refused by what is in force now, and
// lets those drain that are of the past: of an earlier snapshot, or of a plan
// that thinks otherwise of peers.
func (p *Proxy) review() {
	pl := p.plan.Load()
	snapshot, err := p.identity.Snapshot()
	if pl == nil || err != nil {
		return
	}
	own := snapshot.ID().TrustDomain()
	if told := p.ruled.Swap(&ruled{pl, own}); told == nil || *told != (ruled{pl, own}) {
		if err := p.record.Apply(pl.rules(own)); err != nil {
			p.log.Error("the labels of metrics stay as they were", zap.Error(err))
		}
	}
	stale := func(s *liveSession) bool { return s.peer.Generation != snapshot.Generation }
	n := p.live.review(stale, func(s *liveSession, err error) {
		p.log.Warn("a session is closed: its peer is not taken any more",
			zap.Stringer("peer_spiffe_id", s.peer.ID), zap.Error(err))
	})
	if n > 0 {
		p.log.Info("trust or policy has changed", zap.Int("sessions_closed", n))
	}
	remotes := pl.remotes()
	p.pool.Retire(func(key sessionKey, _ *sharedSession) (pool.Reason, bool) {
		return pool.ReasonStale, key.generation != snapshot.Generation || !slices.Contains(remotes, key.remote)
	})
}

// remotes returns what the plan's outbound sides connect to.
func (pl *plan) remotes() []*remote {
	var all []*remote
	for _, s := range pl.sides {
		if s.remote != nil {
			all = append(all, s.remote)
		}
	}
	return all
}

// reverify asks again about the peer of an earlier handshake, under the snapshot
// in force. Without one there is nothing to ask by, and what is open stays.
func (p *Proxy) reverify(pl *plan, peer *tlsctx.Peer, authorize tlsctx.Authorizer) error {
	snapshot, err := p.identity.Snapshot()
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	v := tlsctx.Verifier{Snapshot: snapshot, Policy: pl.policy(snapshot.ID().TrustDomain(), authorize)}
	return v.Reverify(peer)
}

// awaitIdentity returns the snapshot in force, or waits for the first.
func (p *Proxy) awaitIdentity(ctx context.Context) (*identity.Snapshot, error) {
	if snapshot, err := p.identity.Snapshot(); err == nil {
		return snapshot, nil
	}
	snapshot, err := p.identity.Wait(ctx)
	if err != nil {
		return nil, &tlsctx.Error{Reason: tlsctx.NoIdentity, Err: err}
	}
	return snapshot, nil
}

// decided counts and logs a decision of the policy about a peer that has proved
// who it is.
func (p *Proxy) decided(peer *tlsctx.Peer, b *backend, d policy.Decision) {
	denial, decision, text := d.Denied, metrics.Denied, "denied"
	if denial == nil {
		denial, decision, text = d.Audited, metrics.Audited, "would be denied, if its policy were enforced"
	}
	if denial == nil {
		p.record.Authorized(metrics.Allowed, d.Policy, "")
		return
	}
	p.record.Authorized(decision, denial.Policy, string(denial.Reason))
	p.sampled.Warn(text, zap.Stringer("peer_spiffe_id", peer.ID), zap.String("target", b.target),
		zap.String("policy", denial.Policy), zap.String("rule", denial.Rule), zap.String("reason", string(denial.Reason)))
}

// Ready returns nil when the proxy serves, and else what is missing.
func (p *Proxy) Ready() error {
	switch {
	case p.draining.Load():
		return errors.New("draining")
	case p.plan.Load() == nil:
		return errors.New("no configuration yet")
	}
	snapshot, err := p.identity.Snapshot()
	if err != nil {
		return err
	}
	if time.Now().After(snapshot.NotAfter()) {
		return fmt.Errorf("the own SVID has expired at %s", snapshot.NotAfter().UTC().Format(time.RFC3339))
	}
	return nil
}

// Sockets returns the listening sockets by their configured addresses, for a
// process that takes over.
func (p *Proxy) Sockets() map[string]net.Listener {
	p.applying.Lock()
	defer p.applying.Unlock()
	all := make(map[string]net.Listener, len(p.listeners))
	for address, l := range p.listeners {
		all[address] = l.socket
	}
	return all
}

// Addresses returns the bound address of each listener, by the configured one.
func (p *Proxy) Addresses() map[string]netip.AddrPort {
	all := make(map[string]netip.AddrPort)
	for address, l := range p.Sockets() {
		all[address] = addrPort(l.Addr())
	}
	return all
}

// Config returns the configuration in force, or nil.
func (p *Proxy) Config() *config.Config {
	if pl := p.plan.Load(); pl != nil {
		return pl.config
	}
	return nil
}

// addressesOf waits for a target's addresses.
func addressesOf(ctx context.Context, source discovery.Source) ([]string, error) {
	s, err := discovery.Wait(ctx, source)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errNoEndpoint, err)
	case len(s.Addresses) == 0:
		return nil, fmt.Errorf("%w: %w", errNoEndpoint, s.Err)
	default:
		return s.Addresses, nil
	}
}

// addressOf returns the address that a connection was made to.
func addressOf(c net.Conn) netip.AddrPort { return addrPort(c.RemoteAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
