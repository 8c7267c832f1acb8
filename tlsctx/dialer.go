package tlsctx

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Dialer opens connections and shakes hands as a client.
type Dialer struct {
	// Config is how to shake hands.
	Config ClientConfig

	// Dial opens the network connection; nil means a net.Dialer's
	// DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// DialContext opens a connection to the address and shakes hands.
//
// A server that answers alert 120 to a protocol without a registered ALPN
// identifier may still be a plain SPIFFE server with other protocols of its
// own: where such a server will do, DialContext dials once more and offers no
// ALPN at all. It never offers less after any other failure: early alerts and
// resets can be forged.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (*Conn, error) {
	conn, err := d.dial(ctx, network, address, &d.Config)
	if !errors.Is(err, NoOverlap) || !d.mayGoWithout() {
		return conn, err
	}
	without := d.Config
	without.Sessions = []Session{}
	return d.dial(ctx, network, address, &without)
}

// mayGoWithout reports whether a connection without ALPN is good enough.
func (d *Dialer) mayGoWithout() bool {
	offered, err := d.Config.offer()
	return err == nil && len(offered) > 0 && d.Config.Awareness == Prefer && d.Config.Detected.Registered() == ""
}

func (d *Dialer) dial(ctx context.Context, network, address string, config *ClientConfig) (*Conn, error) {
	dial := d.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("tlsctx: dial %s: %w", address, err)
	}
	return Client(ctx, raw, config)
}
