package tlsctx

import (
	"errors"
	"fmt"
	"io"
	"net"
)

// maxHandshakeBytes bounds what is read from a peer before its handshake is
// complete. A good one needs 40 KiB at the most: 16 of certificates, 4 of ALPN,
// a key exchange, and a record of the application's that came along. crypto/tls
// takes 256 KiB of certificates, and parses them all before it asks anybody.
const maxHandshakeBytes = 64 << 10

// errTruncated is the end of the network's bytes where close_notify should have
// come first (RFC 8446, section 6.1). crypto/tls takes io.EOF, and
// io.ErrUnexpectedEOF itself, between records for an orderly end.
var errTruncated = fmt.Errorf("the connection ended without close_notify: %w", io.ErrUnexpectedEOF)

// boundedConn stands directly below TLS and fails a handshake that does not end
// within [maxHandshakeBytes], and a connection that ends without close_notify:
// whoever can cut it, or the peer's crash, must not pass for the peer's own end.
type boundedConn struct {
	net.Conn
	left int // bytes that may still be read, or unbounded
}

const unbounded = -1

// Read reads within the bound, if there still is one.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left == unbounded {
		n, err := c.Conn.Read(p)
		if errors.Is(err, io.EOF) {
			if n > 0 {
				return n, nil // close_notify may be among it; the end comes again
			}
			return 0, errTruncated
		}
		return n, err
	}
	if c.left == 0 {
		return 0, failure(TooLarge, "peer sent %d bytes, and the handshake is not complete", maxHandshakeBytes)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// lift ends the bound. It must not be called while a Read is under way.
func (c *boundedConn) lift() { c.left = unbounded }
