package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// InspectCmd is the subcommand inspect.
type InspectCmd struct {
	Address string `arg:"" help:"Where to shake hands, such as db.internal:8443." placeholder:"HOST:PORT"`

	identityFlags
	policyFlags
	Session  []string      `help:"Sessions to offer, in order of preference: raw, mux, h2." default:"raw,mux,h2" env:"HALLMARK_SESSION"`
	Detected string        `help:"The protocol to offer, such as http1 or postgres." default:"unknown" env:"HALLMARK_DETECTED"`
	Target   string        `help:"The target to ask for." env:"HALLMARK_TARGET"`
	SNI      string        `name:"sni" help:"Server name to send, in clear. Default: none." env:"HALLMARK_SNI"`
	Timeout  time.Duration `help:"How long dialling and the handshake may take." default:"10s" env:"HALLMARK_TIMEOUT"`
	Wait     time.Duration `help:"How long to wait afterwards for the server to refuse us: in TLS 1.3 a client has finished before the server has judged it." default:"300ms" env:"HALLMARK_WAIT"`
	Output   string        `help:"text or json." enum:"text,json" default:"text" env:"HALLMARK_OUTPUT"`
}

// Help is the long description of the subcommand.
func (*InspectCmd) Help() string {
	return `Shakes hands with a server and prints its identity, its chain and expiry, its
attributes with their provenance (attested: signed by the CA inside the SVID;
verified: implied by the SPIFFE ID; asserted: the workload's own word), what was
negotiated, and, if it failed, why. Nothing is sent but the handshake.

  hallmark inspect db.internal:8443
  hallmark inspect --output json --expect spiffe://example.org/ns/db/sa/db db.internal:8443
  hallmark inspect --cert svid.pem --key key.pem --bundle bundle.pem db.internal:8443

With --output json it prints one object on one line. A failure has "error" in it,
with a "reason" whose values are stable, such as untrusted_identity, expired,
unauthorized_identity, no_overlap, refused_by_peer, no_identity and unreachable;
an identity that a peer claimed and did not prove is "claimed_spiffe_id".

` + exitCodes
}

// Run shakes hands once.
func (c *InspectCmd) Run(ctx context.Context, stdout io.Writer) error {
	if err := c.validate(); err != nil {
		return coded(exitUsage, err)
	}
	store, closeIdentity, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer closeIdentity()
	snapshot, err := c.wait(ctx, store)
	if err != nil {
		return c.print(stdout, nil, err)
	}
	policy, err := c.policy(snapshot.ID().TrustDomain())
	if err != nil {
		return coded(exitUsage, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	dialer := tlsctx.Dialer{Config: tlsctx.ClientConfig{
		Source: store, Policy: policy, Sessions: c.sessions(), Detected: tlsctx.Protocol(c.Detected),
		Target: c.Target, ServerName: c.SNI, Timeout: c.Timeout,
	}}
	conn, err := dialer.DialContext(ctx, "tcp", c.Address)
	if err == nil {
		defer conn.Close()
		err = refusal(conn, c.Wait)
	}
	return c.print(stdout, conn, err)
}

// validate judges the flags that need no identity for it.
func (c *InspectCmd) validate() error {
	if _, port, err := net.SplitHostPort(c.Address); err != nil || port == "" {
		return fmt.Errorf("%q is no address: want HOST:PORT", c.Address)
	}
	for _, s := range c.sessions() {
		if !s.Valid() {
			return fmt.Errorf("--session %q: want a kind of session, such as raw, mux or h2", s)
		}
	}
	if !tlsctx.Protocol(c.Detected).Valid() {
		return fmt.Errorf("--detected %q: want the name of a protocol, such as http1", c.Detected)
	}
	return nil
}

func (c *InspectCmd) sessions() []tlsctx.Session {
	sessions := make([]tlsctx.Session, len(c.Session))
	for i, s := range c.Session {
		sessions[i] = tlsctx.Session(s)
	}
	return sessions
}

// refusal waits for the server to refuse us, and takes silence for consent.
func refusal(conn *tlsctx.Conn, wait time.Duration) error {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	if errors.Is(err, tlsctx.RefusedByPeer) {
		return err
	}
	return nil
}

func (c *InspectCmd) print(w io.Writer, conn *tlsctx.Conn, err error) error {
	if err == nil {
		return reportPeer(c.Address, conn.Peer()).write(w, c.Output)
	}
	if writeErr := reportError(c.Address, err).write(w, c.Output); writeErr != nil {
		return writeErr
	}
	if _, ok := errors.AsType[*codedError](err); ok {
		return err
	}
	return coded(handshakeCode(err), err)
}

// handshakeCode returns the exit code of a failed dial or handshake.
func handshakeCode(err error) int {
	switch reason := tlsctx.ReasonOf(err); {
	case reason == tlsctx.RefusedByPeer:
		return exitRefused
	case reason == tlsctx.NoIdentity:
		return exitNoIdentity
	case reason != "":
		return exitHandshake
	default:
		return exitUnreachable
	}
}
