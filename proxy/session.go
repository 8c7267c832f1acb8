package proxy

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http"
	"github.com/hallmark-mesh/hallmark/proxy/pool"
	"github.com/hallmark-mesh/hallmark/proxy/tunnel"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// sessionKey is what must be equal for two streams to share a session: the
// remote stands for the local and the expected identities, the target and the
// policy.
type sessionKey struct {
	remote     *remote
	generation uint64 // of the own snapshot
	address    string
	detected   tlsctx.Protocol
	messages   bool // it carries messages, not streams
}

// sharedSession is a session that is shared, by streams or by requests.
type sharedSession struct {
	pool.Session

	streams  *tunnel.Session
	messages *http.Session
	requests *metrics.Requests // what records those that it carries
	peer     *tlsctx.Peer
	live     *liveSession
	address  netip.AddrPort // that was dialled
}

// openStream opens a stream of a shared session to the address.
func (r *remote) openStream(ctx context.Context, st *stream, address string, detected tlsctx.Protocol) (*upstream, error) {
	snapshot, err := r.proxy.awaitIdentity(ctx)
	if err != nil {
		return nil, err
	}
	key := sessionKey{remote: r, generation: snapshot.Generation, address: address, detected: detected}
	for range 3 { // a session may fill up or retire between the two calls
		var shared *sharedSession
		if shared, err = r.proxy.pool.Get(ctx, key); err != nil {
			return nil, err
		}
		var up *upstream
		if up, err = shared.open(ctx, r.spec.Target, st); !errors.Is(err, h2.ErrUnavailable) {
			return up, err
		}
	}
	return nil, err
}

// openWarm is openStream where there is a session already, so that nothing has
// to be waited for; else it returns nil.
func (r *remote) openWarm(ctx context.Context, st *stream, address string, detected tlsctx.Protocol) *upstream {
	snapshot, err := r.proxy.identity.Snapshot()
	if err != nil {
		return nil
	}
	shared, ok := r.proxy.pool.Warm(sessionKey{remote: r, generation: snapshot.Generation, address: address, detected: detected})
	if !ok {
		return nil
	}
	up, err := shared.open(ctx, r.spec.Target, st)
	if err != nil {
		return nil // openStream says why, or has more luck
	}
	return up
}

// open opens a stream to the target of the session.
func (s *sharedSession) open(ctx context.Context, target string, st *stream) (*upstream, error) {
	stream, err := s.streams.Open(ctx, tunnel.Info{Authority: target, Client: st.client, Trace: st.trace})
	if err != nil {
		return nil, err
	}
	return &upstream{Conn: stream, peer: s.peer, via: s.live, session: tlsctx.Mux, address: s.address}, nil
}

// openSession is how the pool opens one.
func (p *Proxy) openSession(ctx context.Context, key sessionKey) (*sharedSession, error) {
	r := key.remote
	want, kinds := tlsctx.Mux, []tlsctx.Session{tlsctx.Mux, tlsctx.Raw}
	if key.messages {
		want, kinds = tlsctx.H2, []tlsctx.Session{tlsctx.H2, tlsctx.Mux, tlsctx.Raw}
	}
	conn, session, err := r.connect(ctx, []string{key.address}, key.detected, tlsctx.Traceparent{}, kinds...)
	if err != nil {
		return nil, err
	}
	if conn.Peer().Session != want {
		return nil, unshared(r.own(conn, session))
	}
	ctx, cancel := context.WithTimeout(ctx, r.plan.config.Proxy.Spec.Timeouts.Handshake)
	defer cancel()
	shared := &sharedSession{peer: conn.Peer(), live: session, address: addressOf(conn)}
	if key.messages {
		shared.requests = r.requests(conn.Peer(), session.record)
	}
	if err := shared.start(ctx, conn, r.plan.h2()); err != nil {
		session.because(sessionBroken)
		session.leave()
		if tlsctx.ReasonOf(err) != "" {
			p.record.Handshake(metrics.Client, 0, nil, err)
		}
		return nil, err
	}
	session.retireBy(shared.Retire)
	p.work.Go(func() {
		<-shared.Done()
		session.leave()
	})
	return shared, nil
}

// start speaks HTTP/2 over the connection, and waits until the peer has taken it.
func (s *sharedSession) start(ctx context.Context, conn *tlsctx.Conn, config h2.Config) (err error) {
	if conn.Peer().Session == tlsctx.Mux {
		s.streams, err = tunnel.NewSession(ctx, conn, tunnel.Config{H2: config})
		s.Session = s.streams
		return err
	}
	s.messages = http.NewSession(conn, config)
	s.Session = s.messages
	if err = s.messages.Await(ctx); err != nil {
		_ = s.messages.Close()
	}
	return err
}

// notShared is why a session is not shared: the peer takes no such. It carries
// the connection that was made, for one of those who waited.
type notShared struct {
	up    *upstream
	taken atomic.Bool
}

// unshared gives the connection to whoever takes it first, and closes it if
// nobody does.
func unshared(up *upstream) *notShared {
	n := &notShared{up: up}
	time.AfterFunc(10*time.Second, func() {
		if up := n.take(); up != nil {
			_ = up.Close()
		}
	})
	return n
}

func (n *notShared) take() *upstream {
	if n.taken.Swap(true) {
		return nil
	}
	return n.up
}

// Error says why.
func (n *notShared) Error() string { return "the peer takes no shared session" }
