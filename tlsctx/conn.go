package tlsctx

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
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
	tls    *tls.Conn
	below  *recordConn // nil if the connection is not a socket
	raw    net.Conn
	peer   *Peer
	read   atomic.Bool // a Read has succeeded, so the peer has taken us
	more   bool        // the next Read need not wait for the network; the reader's own
	writes sync.Mutex  // held by a Write that gathers records
}

// Peer returns who is at the other end. It is never nil.
func (c *Conn) Peer() *Peer { return c.peer }

// ConnectionState returns what crypto/tls says of the connection.
func (c *Conn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// NetConn returns the connection below TLS. Reading from it or writing to it
// breaks this one.
func (c *Conn) NetConn() net.Conn { return c.raw }

// Read reads decrypted bytes. It returns io.EOF only after the peer's
// close_notify: a connection that ends without one is io.ErrUnexpectedEOF, so
// that nobody who can cut it can make less pass for all. In TLS 1.3 a client learns only here that the
// server has refused it: an alert on the first Read is an *[Error] with the
// reason [RefusedByPeer].
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.readRecords(b)
	c.more = c.more || n > 0 && n == len(b) // something of the record may be left
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

// readRecords reads a record, and those that have come whole behind it as long as
// there is room: what came in one packet is one read.
func (c *Conn) readRecords(b []byte) (int, error) {
	c.more = false
	n, err := c.tls.Read(b)
	for err == nil && n < len(b) && c.below != nil && c.below.whole() {
		more, err := c.tls.Read(b[n:])
		n += more
		if err != nil { // it comes again with the next Read
			c.more = true
			return n, nil
		}
	}
	return n, err
}

// Await waits until there is something to read, or Read has an error to return,
// so that who reads need not hold a buffer meanwhile. It is for the goroutine that
// reads. It waits for the network, not for a whole record: Read may have to wait
// for the rest of one. Where the connection is not a socket it does not wait.
func (c *Conn) Await() {
	if c.below != nil && !c.more {
		c.below.await()
	}
}

// Write encrypts and writes b: several records go out in one write to the
// network.
func (c *Conn) Write(b []byte) (int, error) {
	if c.below == nil || len(b) <= maxRecord {
		return c.tls.Write(b)
	}
	c.writes.Lock()
	defer c.writes.Unlock()
	written := 0
	for written < len(b) {
		n, err := c.writeBatch(b[written:min(len(b), written+batch)])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (c *Conn) writeBatch(b []byte) (int, error) {
	c.below.hold()
	n, err := c.tls.Write(b)
	if releaseErr := c.below.release(); err == nil && releaseErr != nil {
		return 0, releaseErr
	}
	return n, err
}

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

// role is one side of a handshake.
type role interface {
	// claimed returns what has been decided of the peer so far, or nil.
	claimed() *Peer

	// publish returns the peer after a complete handshake.
	publish() (*Peer, error)
}

// handshake runs the handshake of side over raw, by tls.Client or tls.Server,
// and publishes the peer only when it has succeeded.
func handshake(ctx context.Context, raw net.Conn, over func(net.Conn, *tls.Config) *tls.Conn, config *tls.Config, timeout time.Duration, side role) (*Conn, error) {
	wire := newRecordConn(raw)
	below, _ := wire.(*recordConn)
	bounded := &boundedConn{Conn: wire, left: maxHandshakeBytes}
	t := over(bounded, config)
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := t.HandshakeContext(ctx)
	if err == nil {
		var peer *Peer
		if peer, err = side.publish(); err == nil {
			bounded.lift()
			return &Conn{tls: t, below: below, raw: raw, peer: peer}, nil
		}
	}
	_ = raw.Close()
	e := classify(ctx, err)
	if p := side.claimed(); p != nil && e.Claimed.IsZero() {
		e.Claimed = p.ID
	}
	return nil, e
}
