package metrics

import (
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

	// Peer is who is at the other end. Required.
	Peer *tlsctx.Peer

	// Remote is the peer's address, for display.
	Remote string
}

// Session is the guard of a session: an established connection to a peer,
// whether it carries one stream or many. Its methods may be called from any
// goroutine. It must be closed.
type Session struct {
	r       *Recorder
	id      uint64
	info    SessionInfo
	opened  time.Time
	streams atomic.Int64
	total   atomic.Uint64
	once    sync.Once
}

// OpenSession counts a session and returns its guard.
func (r *Recorder) OpenSession(info SessionInfo) *Session {
	s := &Session{r: r, id: r.ids.Add(1), info: info, opened: time.Now()}
	r.sessions.Store(s, struct{}{})
	return s
}

// OpenStream counts a stream of the session; done, to be called once, its end.
func (s *Session) OpenStream() (done func()) {
	s.total.Add(1)
	s.streams.Add(1)
	return func() { s.streams.Add(-1) }
}

// Close counts the end of the session, for a reason out of a small set. Only the
// first call does anything.
func (s *Session) Close(reason string) {
	s.once.Do(func() { s.r.sessions.Delete(s) })
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
}

// Sessions returns up to most of the open sessions, all of them if most is 0.
func (r *Recorder) Sessions(most int) []SessionState { return nil }
