package tlsctx

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// Conn is a connection whose handshake is complete: its peer has proved who it
// is. It is a net.Conn with half-close (CloseWrite sends close_notify), safe
// for one reader and one writer at a time like any other.
//
// It is not a *tls.Conn, so that net/http does not look for an ALPN identifier
// that it knows.
type Conn struct {
	tls  *tls.Conn
	peer *Peer
	read atomic.Bool // a Read has succeeded, so the peer has taken us
}

// Peer returns who is at the other end. It is never nil.
func (c *Conn) Peer() *Peer { return c.peer }

// ConnectionState returns what crypto/tls says of the connection.
func (c *Conn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// NetConn returns the connection below TLS. Reading from it or writing to it
// breaks this one.
func (c *Conn) NetConn() net.Conn { return c.tls.NetConn() }

// Read reads decrypted bytes. In TLS 1.3 a client learns only here that the
// server has refused it: an alert on the first Read is an *[Error] with the
// reason [RefusedByPeer].
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.tls.Read(b)
	switch {
	case n > 0 && !c.read.Load():
		c.read.Store(true)
	case err != nil && !c.read.Load():
		if _, alerted := remoteAlert(err); alerted {
			err = &Error{Reason: RefusedByPeer, Err: err}
		}
	}
	return n, err
}

// Write encrypts and writes b.
func (c *Conn) Write(b []byte) (int, error) { return c.tls.Write(b) }

// CloseWrite says that nothing more will be written; reading goes on.
func (c *Conn) CloseWrite() error { return c.tls.CloseWrite() }

// Close closes the connection.
func (c *Conn) Close() error { return c.tls.Close() }

// LocalAddr returns the local network address.
func (c *Conn) LocalAddr() net.Addr { return c.tls.LocalAddr() }

// RemoteAddr returns the peer's network address.
func (c *Conn) RemoteAddr() net.Addr { return c.tls.RemoteAddr() }

// SetDeadline sets both deadlines. After a Write has timed out the connection
// cannot be written to any more (crypto/tls).
func (c *Conn) SetDeadline(t time.Time) error { return c.tls.SetDeadline(t) }

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.tls.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.tls.SetWriteDeadline(t) }

// handshake runs the handshake of t, which wraps raw, and publishes the peer
// only when it has succeeded.
func handshake(ctx context.Context, raw net.Conn, t *tls.Conn, timeout time.Duration, peer func() *Peer) (*Conn, error) {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, classify(ctx, err)
	}
	p := peer()
	if p == nil {
		_ = raw.Close()
		return nil, &Error{Reason: ProtocolFailure, Err: errors.New("handshake ended without the peer's certificate")}
	}
	return &Conn{tls: t, peer: p}, nil
}
