package detect

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

// Conn is a stream with half-close: CloseWrite says that nothing more will be
// written, and reading goes on.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Replay is a connection of which some bytes have been read already: Read
// returns these first. Everything else is the connection's own. It is as safe
// for concurrent use as the connection is.
type Replay struct {
	net.Conn

	mu     sync.Mutex
	unread []byte
}

// NewReplay returns the connection with the bytes that were read from it. It
// keeps them without a copy.
func NewReplay(conn net.Conn, unread []byte) *Replay { return &Replay{Conn: conn, unread: unread} }

// Read returns what was read already, and then what the connection reads.
func (r *Replay) Read(b []byte) (int, error) {
	r.mu.Lock()
	if len(r.unread) == 0 {
		r.mu.Unlock()
		return r.Conn.Read(b)
	}
	defer r.mu.Unlock()
	n := copy(b, r.unread)
	if r.unread = r.unread[n:]; len(r.unread) == 0 {
		r.unread = nil
	}
	return n, nil
}

// CloseWrite ends the writing half, and fails with errors.ErrUnsupported where
// the connection has no halves.
func (r *Replay) CloseWrite() error {
	half, ok := r.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("detect: close the writing half of a %T: %w", r.Conn, errors.ErrUnsupported)
	}
	return half.CloseWrite()
}

// NetConn returns the connection below, whose next bytes are not the next of
// this one as long as there are unread ones.
func (r *Replay) NetConn() net.Conn { return r.Conn }
