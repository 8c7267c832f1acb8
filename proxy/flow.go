package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/accept"
	"github.com/hallmark-mesh/hallmark/proxy/detect"
	"github.com/hallmark-mesh/hallmark/proxy/tunnel"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// flow is the life of an accepted connection.
func (l *listener) flow(ctx context.Context, c *accept.Conn) {
	conn, ok := c.Conn.(tunnel.Conn)
	if !ok { // no listener of ours accepts such
		_ = c.Close()
		return
	}
	s := l.side.Load()
	st := &stream{side: s, down: conn, peer: plaintext(), client: c.Source, local: c.Destination, start: time.Now()}
	if s.takesPlaintext() && !l.carry(ctx, st) {
		return
	}
	if s.secure == nil { // the application is below
		l.carry(ctx, st)
		return
	}
	down, peer, err := s.secure(ctx, st)
	if err != nil {
		return // secure has closed, counted and logged it
	}
	st.down, st.peer = down, peer
	ctx, session := s.proxy.live.enter(ctx, l, st)
	defer session.leave()
	if peer.Session == tlsctx.Mux {
		l.serve(ctx, st, session)
		return
	}
	st.session = session
	l.carry(ctx, st)
}

// plaintext is the peer of a connection that nobody has secured.
func plaintext() *tlsctx.Peer {
	return &tlsctx.Peer{Session: tlsctx.Raw, Detected: tlsctx.Unknown}
}

// serve takes the streams of a peer's mux session. Each is treated as the
// listener's present side treats it.
func (l *listener) serve(ctx context.Context, st *stream, session *liveSession) {
	config := tunnel.Config{H2: st.side.plan.h2(), Authority: st.peer.Target, Drain: session.drain.Done()}
	err := tunnel.Serve(ctx, st.down, config, func(ctx context.Context, in *tunnel.Incoming) {
		l.carry(ctx, &stream{
			side: l.side.Load(), peer: st.peer, client: st.client, local: st.local, start: time.Now(),
			incoming: in, origin: in.Info.Client, trace: in.Info.Trace, session: session,
		})
	})
	session.ended(err)
}

// stream is one connection of an application to another, on its way through.
type stream struct {
	side    *side
	session *liveSession   // that it came by, or nil
	peer    *tlsctx.Peer   // at the downstream end
	down    tunnel.Conn    // nil as long as incoming is not answered
	client  netip.AddrPort // who connected to us
	local   netip.AddrPort // what it connected to
	origin  netip.AddrPort // the client at the far end, as the peer says
	start   time.Time

	trace tlsctx.Traceparent     // as the source of a mux session's stream says; once begun, its own
	span  metrics.ConnectionSpan // nil unless it is sampled
	begun bool

	incoming *tunnel.Incoming // of a mux session, until it is answered
	backend  *backend         // where it goes
	up       *upstream        // what was opened last
}

// carry takes a stream the rest of the way: authorize, route, detect, open,
// forward, record. It reports whether, instead, the client has begun a handshake
// with us on st.down.
func (l *listener) carry(ctx context.Context, st *stream) (ours bool) {
	res, err := st.settle(ctx)
	if res.Ours && err == nil {
		st.down = res.Down
		return true
	}
	if err == nil && res.Up == nil { // requests open it, and each is recorded by itself
		_ = st.relay(ctx, l, res.Down, res.Protocol)
		return false
	}
	record, done := st.record(res)
	defer done()
	if err != nil {
		st.refuse(err)
	} else {
		err = st.forward(ctx, res, record)
	}
	if st.backend != nil && err == nil {
		st.backend.weigh(record.Sent.Load() + record.Received.Load())
	}
	record.Close(outcomeOf(ctx, err))
	return false
}

// settle finds the backend, asks whether the peer may reach it, and settles what
// is spoken while it opens the connection to it.
func (st *stream) settle(ctx context.Context) (detect.Result, error) {
	var err error
	if expired(st.peer) {
		if st.session != nil {
			st.session.stop()
		}
		return detect.Result{}, errExpired
	}
	if st.backend, err = st.side.route(st.peer); err != nil {
		return detect.Result{}, fmt.Errorf("route: %w", err)
	}
	if err := st.side.authorize(st.peer, st.backend); err != nil {
		return detect.Result{}, fmt.Errorf("authorize: %w", err)
	}
	known, how := st.known()
	if st.peer.Session == tlsctx.H2 && !st.backend.relays(known) {
		return detect.Result{Protocol: known, How: how}, fmt.Errorf("detect: %w", errNotMessages)
	}
	if known != "" && !st.awaitsOurs() {
		res, err := st.openKnown(ctx, known, how)
		res.Protocol, res.How = known, how
		return res, err
	}
	if err := st.accept(); err != nil {
		return detect.Result{}, err
	}
	return st.race(ctx, known)
}

// expired reports whether a peer's session takes no new streams any more: one of
// the certificates that it was verified by is past its time.
func expired(peer *tlsctx.Peer) bool {
	notAfter := peer.NotAfter()
	return !notAfter.IsZero() && time.Now().After(notAfter)
}

// openKnown opens upstream where nothing is to be detected. Only then is a stream
// of a mux session answered, so that its source is told what failed.
func (st *stream) openKnown(ctx context.Context, known tlsctx.Protocol, how detect.How) (detect.Result, error) {
	up, err := st.open(ctx, known)
	if err != nil {
		return detect.Result{}, err
	}
	if err := st.accept(); err != nil {
		if up != nil {
			tunnel.Abort(up)
		}
		return detect.Result{}, err
	}
	st.side.proxy.record.Detected(metrics.Detection{Protocol: known, How: string(how)})
	return detect.Result{Down: st.down, Up: up}, nil
}

// byPeer is what settled a protocol that the peer named.
const byPeer detect.How = "peer"

// known returns the protocol if it need not be detected: the destination's
// declaration comes first, then the word of the peer.
func (st *stream) known() (tlsctx.Protocol, detect.How) {
	switch {
	case st.backend.declared != "":
		return st.backend.declared, detect.Declared
	case st.peer.Secured() && st.peer.Detected != tlsctx.Unknown:
		return st.peer.Detected, byPeer
	default:
		return "", ""
	}
}

// awaitsOurs reports whether the stream may yet be a handshake with us.
func (st *stream) awaitsOurs() bool { return st.side.permissive && !st.peer.Secured() }

// race settles who speaks first, and what.
func (st *stream) race(ctx context.Context, declared tlsctx.Protocol) (detect.Result, error) {
	detection := st.side.plan.config.Proxy.Spec.Detection
	r := detect.Race{
		Declared: declared, Target: st.backend.key, Memory: st.side.proxy.memory.Load(),
		// An aware peer that has said nothing has waited already.
		ServerFirst: st.backend.serverFirst || st.peer.Aware,
		Grace:       detection.Grace, Settle: detection.Settle,
		Open: func(ctx context.Context, detected tlsctx.Protocol) (detect.Conn, error) {
			return st.open(ctx, detected)
		},
	}
	if st.awaitsOurs() {
		tlsDeclared := declared == tlsctx.TLS
		r.Ours = func(h detect.Hello) bool { return detect.Ours(h, tlsDeclared) }
		r.Grace = 0 // the race knows better
	}
	res, err := r.Run(ctx, st.down)
	if !res.Ours {
		st.side.proxy.record.Detected(metrics.Detection{
			Protocol: res.Protocol, How: string(res.How), Waited: res.Waited,
			Speculated: res.Speculated, Adopted: res.Adopted, Capped: res.Capped,
		})
	}
	if err != nil {
		return res, fmt.Errorf("detect: %w", err)
	}
	if res.Up != nil && st.backend.relays(res.Protocol) { // the server has said so, on speculation
		tunnel.Abort(res.Up)
		res.Up, st.up = nil, nil
	}
	return res, nil
}

// open opens the upstream connection for what was detected, and none for what is
// relayed as messages: each of them opens its own.
func (st *stream) open(ctx context.Context, detected tlsctx.Protocol) (tunnel.Conn, error) {
	if st.backend.relays(detected) {
		return nil, nil //nolint:nilnil // documented
	}
	st.begin()
	up, err := st.backend.open(ctx, st, detected)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	st.up = up
	return up.Conn, nil
}

// accept answers a stream of a mux session, whose downstream connection there is
// only from then on.
func (st *stream) accept() error {
	if st.incoming == nil {
		return nil
	}
	in := st.incoming
	st.incoming = nil
	down, err := in.Accept()
	if err != nil {
		return fmt.Errorf("accept: answer the stream: %w", err)
	}
	st.down = down
	return nil
}

// refuse ends a stream that is not carried, so that the client knows: where it
// can be told why, with the reason, and else by a reset.
func (st *stream) refuse(err error) {
	if st.incoming != nil {
		status, reason := answerOf(err)
		_ = st.incoming.Reject(status, reason)
		return
	}
	if st.down != nil {
		tunnel.Abort(st.down)
	}
}

// forward moves the bytes until both directions have ended.
func (st *stream) forward(ctx context.Context, res detect.Result, record *metrics.Connection) error {
	timeouts := st.side.plan.config.Proxy.Spec.Timeouts
	return tunnel.Pipe{
		Down: res.Down, Up: res.Up,
		Sent: &record.Sent, Received: &record.Received,
		HalfOpen: timeouts.HalfOpen, Idle: timeouts.Idle,
	}.Run(ctx)
}

// record opens the record of the stream, and counts it among those of its session
// until done is called.
func (st *stream) record(res detect.Result) (record *metrics.Connection, done func()) {
	st.begin()
	s := st.side
	via, done := st.session, func() {}
	if st.up != nil && st.up.via != nil {
		via = st.up.via
	}
	info := metrics.ConnectionInfo{
		Reporter: s.reporter, Listener: s.name, Peer: st.peer, Session: st.peer.Session,
		Client: st.client, Local: st.local, Origin: st.origin, Trace: st.trace, Span: st.span, Start: st.start,
		Protocol: res.Protocol, How: string(res.How),
	}
	if st.backend != nil {
		info.Service, info.Target = st.backend.service, st.backend.target
	}
	if s.reporter == metrics.Source {
		info.Peer, info.Session = nil, ""
	}
	if st.up != nil {
		info.Upstream = st.up.address
		if s.reporter == metrics.Source {
			info.Peer, info.Session = st.up.peer, st.up.session
		}
	}
	if via != nil {
		info.Via, done = via.record, via.record.OpenStream()
	}
	return s.proxy.record.OpenConnection(info), done
}
