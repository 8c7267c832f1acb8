package h2

import (
	"context"
	"net"
)

// Conn is one HTTP/2 connection. Its methods are safe for concurrent use and do
// not block, but for Run.
type Conn struct{ err *Error }

// New returns a connection over conn. Nothing is read or written before
// [Conn.Run].
func New(conn net.Conn, role Role, config Config, handler Handler) *Conn { return &Conn{} }

// Run speaks HTTP/2 until the connection has ended and returns why: nil if it
// drained in order, otherwise an [*Error]. When ctx ends, so does the
// connection. On return conn is closed, every stream's handler has been told,
// and no goroutine is left.
func (c *Conn) Run(ctx context.Context) error { return c.err }

// Open opens a stream with a request, whose end is said to be at once or not.
// It returns [ErrUnavailable] if the connection takes no new stream. The
// handler's calls may come before Open has returned. (Client.)
func (c *Conn) Open(h *Headers, end bool, handler StreamHandler) (*Stream, error) {
	return nil, ErrUnavailable
}

// Available reports whether a stream can be opened now. (Client.)
func (c *Conn) Available() bool { return false }

// Streams returns how many streams are open.
func (c *Conn) Streams() int { return 0 }

// Room returns how many more streams may be opened now. (Client.)
func (c *Conn) Room() int { return 0 }

// ConnectProtocol reports whether the peer takes extended CONNECT (RFC 8441).
func (c *Conn) ConnectProtocol() bool { return false }

// Drain ends the connection in order: no new streams (GOAWAY), and the end after
// the last of those that there are. A server goes on taking streams until the
// peer has seen the GOAWAY.
func (c *Conn) Drain() {}

// Close ends the connection and all its streams with GOAWAY(code).
func (c *Conn) Close(code Code) {}

// Done is closed when Run is about to return.
func (c *Conn) Done() <-chan struct{} { return nil }

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return nil }
