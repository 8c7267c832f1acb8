package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// What ends a session or a connection from our side; the words are those that
// metrics and the log have for it.
var (
	errUntrusted = errors.New("trust or policy has changed, and the peer is not taken any more")
	errDrained   = errors.New("the time for draining is over")
)

// live knows every session with a peer that is open, inbound and outbound: a
// session that lives long is resumption by another name, and is asked again when
// trust or policy changes.
type live struct {
	mu       sync.Mutex
	sessions map[*liveSession]struct{}
}

// liveSession is one connection whose peer is known, with whatever streams it
// carries.
type liveSession struct {
	live   *live
	from   *listener // that it came by, or nil
	record *metrics.Session
	peer   *tlsctx.Peer
	opened time.Time

	// until is when a certificate of either end expires, for sessions that are
	// pooled.
	until time.Time

	// verify asks again about the peer, under what is in force.
	verify func(*tlsctx.Peer) error

	// end breaks the connection, and retire makes it take no new streams.
	end    func(error)
	retire func()

	// release gives back what an accepted session holds of its context's
	// parent, or is nil.
	release func()

	// drain ends when the session is to take no new streams; stop ends it.
	drain context.Context
	stop  context.CancelFunc

	mu     sync.Mutex
	reason string // why it ended, "" in order
}

// add registers a session.
func (l *live) add(s *liveSession) *liveSession {
	s.live, s.opened = l, time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions == nil {
		l.sessions = make(map[*liveSession]struct{})
	}
	l.sessions[s] = struct{}{}
	return s
}

// leave takes the session out when its connection has ended.
func (s *liveSession) leave() {
	s.live.mu.Lock()
	delete(s.live.sessions, s)
	s.live.mu.Unlock()
	s.stop()
	if s.release != nil {
		s.release()
	}
	s.mu.Lock()
	reason := s.reason
	s.mu.Unlock()
	if reason == "" {
		reason = sessionEnded
	}
	s.record.Close(reason)
}

// Why sessions end, beside the pool's reasons.
const (
	sessionEnded  = "ended"
	sessionBroken = "broken"
	sessionTrust  = "trust_changed"
)

// because remembers why the session ends: the first reason counts.
func (s *liveSession) because(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == "" {
		s.reason = reason
	}
}

// ended says how a session's own work ended.
func (s *liveSession) ended(err error) {
	if err != nil {
		s.because(sessionBroken)
	}
}

// enter registers the session of an accepted connection. The context that it
// returns ends when the session is to end.
func (l *live) enter(ctx context.Context, from *listener, st *stream) (context.Context, *liveSession) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &liveSession{
		from: from,
		record: from.proxy.record.OpenSession(metrics.SessionInfo{
			Side: metrics.Server, Kind: st.peer.Session, Peer: st.peer, Remote: st.client.String(),
		}),
		peer:   st.peer,
		verify: func(peer *tlsctx.Peer) error { return from.side.Load().verify(peer) },
		end:    cancel,
	}
	s.drain, s.stop = context.WithCancel(ctx)
	s.retire = s.stop
	s.release = func() { cancel(nil) } // else its parent, which lives on, keeps it
	return ctx, l.add(s)
}

// retireBy says how the session is made to take no new streams.
func (s *liveSession) retireBy(retire func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retire = retire
}

// all returns the sessions that are open.
func (l *live) all() []*liveSession {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := make([]*liveSession, 0, len(l.sessions))
	for s := range l.sessions {
		open = append(open, s)
	}
	return open
}

// review asks again about every session's peer, ends those that are refused now,
// and lets those drain that stale says are of the past, or whose peer's SVID has
// run out: what is open was begun by a peer that proved its identity. It returns
// how many were refused.
func (l *live) review(stale func(*liveSession) bool, tell func(*liveSession, error)) (refused int) {
	for _, s := range l.all() {
		err := s.verify(s.peer)
		expired := tlsctx.ReasonOf(err) == tlsctx.Expired // and nothing else is wrong
		if err != nil && !expired {
			refused++
			s.because(sessionTrust)
			tell(s, err)
			s.end(errUntrusted)
			continue
		}
		if expired || stale(s) {
			s.mu.Lock()
			retire := s.retire
			s.mu.Unlock()
			retire()
		}
	}
	return refused
}

// stopFrom makes the sessions that came by a listener take no new streams.
func (l *live) stopFrom(from *listener) {
	for _, s := range l.all() {
		if s.from == from {
			s.stop()
		}
	}
}
