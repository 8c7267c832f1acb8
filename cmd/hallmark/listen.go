package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// ListenCmd is the subcommand listen.
type ListenCmd struct {
	Address string `arg:"" help:"Where to accept handshakes, such as :8443." placeholder:"[HOST]:PORT"`

	identityFlags
	policyFlags
	Disclose []string      `help:"Attributes to tell whoever can connect, besides what the SPIFFE ID implies; '*' for all." placeholder:"NAME" env:"HALLMARK_DISCLOSE"`
	Require  bool          `help:"Refuse peers that send no context." env:"HALLMARK_REQUIRE"`
	Count    int           `help:"Exit after this many handshakes. Default: never." env:"HALLMARK_COUNT"`
	Timeout  time.Duration `help:"How long a handshake may take." default:"10s" env:"HALLMARK_TIMEOUT"`
	Output   string        `help:"text or json." enum:"text,json" default:"text" env:"HALLMARK_OUTPUT"`
}

// Help is the long description of the subcommand.
func (*ListenCmd) Help() string {
	return `The other half of inspect: accepts handshakes, prints for each who came or why it
failed, and closes the connection. Useful to see what a client presents.

  hallmark listen :8443
  hallmark listen --count 1 --output json 127.0.0.1:0

` + exitCodes
}

// Run accepts until ctx ends or enough have come.
func (c *ListenCmd) Run(ctx context.Context, stdout io.Writer) error {
	store, closeIdentity, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer closeIdentity()
	snapshot, err := c.wait(ctx, store)
	if err != nil {
		return err
	}
	policy, err := c.policy(snapshot.ID().TrustDomain())
	if err != nil {
		return coded(exitUsage, err)
	}
	inner, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Address)
	if err != nil {
		return coded(exitUsage, fmt.Errorf("listen on %s: %w", c.Address, err))
	}
	config := &tlsctx.ServerConfig{
		Source: store, Policy: policy, Disclosure: tlsctx.Disclosure{Public: c.Disclose},
		Sessions: []tlsctx.Session{tlsctx.Raw, tlsctx.Mux, tlsctx.H2}, Registered: []string{"h2", "http/1.1"},
		Timeout: c.Timeout,
	}
	if c.Require {
		config.Awareness = tlsctx.Require
	}
	if c.Output == "text" {
		fmt.Fprintf(stdout, "listening on %s as %s\n\n", inner.Addr(), snapshot.ID())
	}
	return c.accept(ctx, inner, config, stdout)
}

// accept prints one report a handshake.
func (c *ListenCmd) accept(ctx context.Context, inner net.Listener, config *tlsctx.ServerConfig, stdout io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	seen := 0
	show := func(r report) {
		mu.Lock()
		defer mu.Unlock()
		if c.Count > 0 && seen >= c.Count {
			return
		}
		seen++
		_ = r.write(stdout, c.Output)
		if c.Output == "text" {
			fmt.Fprintln(stdout)
		}
		if seen == c.Count {
			cancel()
		}
	}
	listener := tlsctx.NewListener(inner, config, tlsctx.ListenerOptions{
		OnError: func(remote net.Addr, err error) { show(reportError(remote.String(), err)) },
	})
	stop := context.AfterFunc(ctx, func() { _ = inner.Close() })
	defer stop()
	defer listener.Close()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if c, ok := conn.(*tlsctx.Conn); ok {
			show(reportPeer(conn.RemoteAddr().String(), c.Peer()))
		}
		_ = conn.Close()
	}
}
