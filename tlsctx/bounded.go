package tlsctx

import "net"

// maxHandshakeBytes bounds what is read from a peer before its handshake is
// complete. A good one needs 40 KiB at the most: 16 of certificates, 4 of ALPN,
// a key exchange, and a record of the application's that came along. crypto/tls
// takes 256 KiB of certificates, and parses them all before it asks anybody.
const maxHandshakeBytes = 64 << 10

// boundedConn stands directly below TLS and fails a handshake that does not end
// within [maxHandshakeBytes].
type boundedConn struct {
	net.Conn
	left int // bytes that may still be read, or unbounded
}

const unbounded = -1

// Read reads within the bound, if there still is one.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left == unbounded {
		return c.Conn.Read(p)
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
