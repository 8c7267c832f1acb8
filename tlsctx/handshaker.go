package tlsctx

import (
	"context"
	"net"
)

// Handshaker turns an accepted or dialled connection into one whose peer is
// known. On failure it closes the connection. Implementations are
// [ClientConfig.Handshaker], [ServerConfig.Handshaker] and [Plain]; code that
// forwards bytes need not know which it has.
type Handshaker interface {
	Handshake(ctx context.Context, conn net.Conn) (net.Conn, *Peer, error)
}

// HandshakerFunc makes a function a [Handshaker].
type HandshakerFunc func(ctx context.Context, conn net.Conn) (net.Conn, *Peer, error)

// Handshake calls f.
func (f HandshakerFunc) Handshake(ctx context.Context, conn net.Conn) (net.Conn, *Peer, error) {
	return f(ctx, conn)
}

// Handshaker returns the client's side of the handshake.
func (c *ClientConfig) Handshaker() Handshaker {
	return HandshakerFunc(func(ctx context.Context, conn net.Conn) (net.Conn, *Peer, error) {
		return published(Client(ctx, conn, c))
	})
}

// Handshaker returns the server's side of the handshake.
func (c *ServerConfig) Handshaker() Handshaker {
	return HandshakerFunc(func(ctx context.Context, conn net.Conn) (net.Conn, *Peer, error) {
		return published(Server(ctx, conn, c))
	})
}

func published(c *Conn, err error) (net.Conn, *Peer, error) {
	if err != nil {
		return nil, nil, err
	}
	return c, c.Peer(), nil
}

// Plain is the handshake that is none: it authenticates nobody and sends
// nothing. Its peer has no SPIFFE ID.
type Plain struct {
	// Detected is what the connection is known to speak; "" means [Unknown].
	Detected Protocol
}

// Handshake returns conn as it is, and a peer of which nothing is known.
func (p Plain) Handshake(_ context.Context, conn net.Conn) (net.Conn, *Peer, error) {
	detected := p.Detected
	if detected == "" {
		detected = Unknown
	}
	return conn, &Peer{Session: Raw, Detected: detected}, nil
}
