package metrics

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// SessionInfo is what is known of a session when it opens.
type SessionInfo struct {
	// Side says who dialled. Required.
	Side Side

	// Kind is how bytes are framed.
	Kind tlsctx.Session

	// Peer is who is at the other end, never nil.
	Peer *tlsctx.Peer

	// Remote is the peer's address, for display.
	Remote string
}

// Session is the guard of a session: an established connection to a peer,
// whether it carries one stream or many. Its methods may be called from any
// goroutine. It must be closed.
type Session struct {
	r        *Recorder
	id       uint64
	info     SessionInfo
	opened   time.Time
	closed   atomic.Bool
	streams  atomic.Int64
	total    atomic.Uint64
	sent     atomic.Uint64 // by streams that have ended
	received atomic.Uint64
}

// sessions holds the open sessions.
type sessions struct {
	mu  sync.Mutex
	all map[*Session]struct{}
}

// OpenSession counts a session and returns its guard.
func (r *Recorder) OpenSession(info SessionInfo) *Session {
	s := &Session{r: r, id: r.ids.Add(1), info: info, opened: time.Now()}
	r.sessions.mu.Lock()
	if r.sessions.all == nil {
		r.sessions.all = make(map[*Session]struct{})
	}
	r.sessions.all[s] = struct{}{}
	r.sessions.mu.Unlock()
	r.process.sessionOpened(info.Side, info.Kind)
	return s
}

// ID tells the sessions of one process apart.
func (s *Session) ID() uint64 { return s.id }

// Close counts the end of the session, for a reason out of a small set. Only the
// first call does anything.
func (s *Session) Close(reason string) {
	if s.closed.Swap(true) {
		return
	}
	s.r.sessions.mu.Lock()
	delete(s.r.sessions.all, s)
	s.r.sessions.mu.Unlock()
	s.r.process.sessionClosed(s.info.Side, s.info.Kind, reason)
}

// OpenStream counts a stream of the session; done, to be called once, its end.
// Its bytes are counted by [ConnectionInfo].Via.
func (s *Session) OpenStream() (done func()) {
	s.StreamOpened()
	return s.StreamClosed
}

// StreamOpened counts a stream of the session, without an allocation: for
// requests. Each is to be followed by one [Session.StreamClosed]. The bytes of
// requests are counted by [RequestsInfo].Via.
func (s *Session) StreamOpened() {
	s.total.Add(1)
	s.streams.Add(1)
	s.r.process.life.stream(s.info.Side).open.Inc()
	s.r.process.life.stream(s.info.Side).opened.Inc()
}

// StreamClosed counts the end of a stream.
func (s *Session) StreamClosed() {
	s.streams.Add(-1)
	s.r.process.life.stream(s.info.Side).open.Dec()
}

// carried adds what a stream that ends has carried.
func (s *Session) carried(sent, received uint64) {
	s.sent.Add(sent)
	s.received.Add(received)
}

// SessionState is what is known of an open session.
type SessionState struct {
	SessionInfo

	// ID tells the sessions of one process apart.
	ID uint64

	// Opened is when it was established.
	Opened time.Time

	// Streams are open now; Total have been opened.
	Streams int64
	Total   uint64

	// Sent and Received are the bytes of its streams towards the destination
	// and back, as in [Connection].
	Sent, Received uint64
}

// Sessions returns the open sessions, oldest first; up to most of them if most
// is not 0.
func (r *Recorder) Sessions(most int) []SessionState {
	r.sessions.mu.Lock()
	open := make([]*Session, 0, len(r.sessions.all))
	for s := range r.sessions.all {
		open = append(open, s)
	}
	r.sessions.mu.Unlock()
	slices.SortFunc(open, func(a, b *Session) int { return cmp.Compare(a.id, b.id) })
	if most > 0 && len(open) > most {
		open = open[:most]
	}
	flowing := r.live.bySession()
	states := make([]SessionState, len(open))
	for i, s := range open {
		b := flowing[s]
		states[i] = SessionState{
			SessionInfo: s.info, ID: s.id, Opened: s.opened,
			Streams: s.streams.Load(), Total: s.total.Load(),
			Sent: s.sent.Load() + b.sent, Received: s.received.Load() + b.received,
		}
	}
	return states
}

// flow is what the open streams of a session have carried.
type flow struct{ sent, received uint64 }

// bySession sums up the open connections by the session that they are streams
// of.
func (l *live) bySession() map[*Session]flow {
	sums := make(map[*Session]flow)
	for c := range l.all() {
		if via := c.via; via != nil {
			f := sums[via]
			f.sent += c.Sent.Load()
			f.received += c.Received.Load()
			sums[via] = f
		}
	}
	return sums
}
