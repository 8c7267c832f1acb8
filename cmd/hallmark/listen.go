package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
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

It runs until SIGINT or SIGTERM, or until --count handshakes have come: it then
exits with status 4 if one of them has failed. With --output json it prints one
object a line, the first one {"listening": "ADDRESS", "spiffe_id": "ID"}.

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
	c.announce(stdout, inner.Addr(), snapshot.ID())
	return c.accept(ctx, inner, config, stdout)
}

// announce says where we listen and who we are: whoever asked for port 0 learns
// the port from it.
func (c *ListenCmd) announce(w io.Writer, address net.Addr, id spiffeid.ID) {
	if c.Output == "text" {
		fmt.Fprintf(w, "listening on %s as %s\n\n", address, id)
		return
	}
	_ = json.NewEncoder(w).Encode(struct {
		Listening string `json:"listening"`
		ID        string `json:"spiffe_id"`
	}{address.String(), id.String()})
}

// accept prints one report a handshake.
func (c *ListenCmd) accept(ctx context.Context, inner net.Listener, config *tlsctx.ServerConfig, stdout io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	visitors := &visitors{ListenCmd: c, stdout: stdout, enough: cancel}
	listener := tlsctx.NewListener(inner, config, tlsctx.ListenerOptions{
		OnError: func(remote net.Addr, err error) { visitors.show(reportError(remote.String(), err)) },
	})
	stop := context.AfterFunc(ctx, func() { _ = inner.Close() })
	defer stop()
	defer listener.Close()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return visitors.verdict()
			}
			return err
		}
		if met, ok := conn.(*tlsctx.Conn); ok {
			visitors.show(reportPeer(conn.RemoteAddr().String(), met.Peer()))
		}
		_ = conn.Close()
	}
}

// visitors prints who came, from several goroutines.
type visitors struct {
	*ListenCmd
	stdout io.Writer
	enough func()

	mu           sync.Mutex
	seen, failed int
}

// show prints one report, unless enough have come.
func (v *visitors) show(r report) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Count > 0 && v.seen >= v.Count {
		return
	}
	v.seen++
	if r.Error != nil {
		v.failed++
	}
	_ = r.write(v.stdout, v.Output)
	if v.Output == "text" {
		fmt.Fprintln(v.stdout)
	}
	if v.seen == v.Count {
		v.enough()
	}
}

// verdict is the result of a command that was to see a number of handshakes.
func (v *visitors) verdict() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Count > 0 && v.failed > 0 {
		return coded(exitHandshake, fmt.Errorf("%d of %d handshakes failed", v.failed, v.seen))
	}
	return nil
}
