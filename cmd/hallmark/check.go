package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/proxy"
	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/proxy/discovery"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// CheckCmd is the subcommand check.
type CheckCmd struct {
	identityFlags
	listenFlags

	Schema  bool          `help:"Print the JSON Schema of configurations, for editors, and do nothing else."`
	Offline bool          `help:"Check the configuration alone, and nothing around it."`
	Running bool          `help:"The sidecar is running: do not expect its ports to be free."`
	Timeout time.Duration `help:"How long one address may take." default:"5s" env:"HALLMARK_TIMEOUT"`
	Output  string        `help:"text or json." enum:"text,json" default:"text" env:"HALLMARK_OUTPUT"`
}

// Help is the long description of the subcommand.
func (*CheckCmd) Help() string {
	return `Says whether hallmark run would work with the same flags: whether the configuration is
valid, the SPIFFE Workload API answers, the SVID is valid and for how long, our clock
agrees with it, the ports are free, applications accept connections, and the peers of
outbound are who they are expected to be. Every line begins with ok, warn or fail.

  hallmark check --config /etc/hallmark
  hallmark check --offline --config hallmark.yaml
  hallmark check --schema > hallmark.schema.json

` + exitCodes
}

// finding is one line of a check.
type finding struct {
	Result string `json:"result"` // ok, warn or fail
	What   string `json:"what"`
	Detail string `json:"detail"`
}

// findings are what a check has found.
type findings struct{ list []finding }

func (f *findings) ok(what, format string, args ...any)   { f.add("ok", what, format, args) }
func (f *findings) warn(what, format string, args ...any) { f.add("warn", what, format, args) }
func (f *findings) fail(what, format string, args ...any) { f.add("fail", what, format, args) }

func (f *findings) add(result, what, format string, args []any) {
	f.list = append(f.list, finding{result, what, fmt.Sprintf(format, args...)})
}

// failed returns how many findings are failures.
func (f *findings) failed() int {
	n := 0
	for _, one := range f.list {
		if one.Result == "fail" {
			n++
		}
	}
	return n
}

func (f *findings) write(w io.Writer, output string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(f.list)
	}
	for _, one := range f.list {
		text := strings.ReplaceAll(one.Detail, "\n", "\n"+strings.Repeat(" ", 22))
		if _, err := fmt.Fprintf(w, "%-4s  %-14s  %s\n", one.Result, one.What, text); err != nil {
			return err
		}
	}
	return nil
}

// Run checks everything, and fails if anything is wrong.
func (c *CheckCmd) Run(ctx context.Context, stdout io.Writer) error {
	if c.Schema {
		_, err := stdout.Write(config.Schema())
		return err
	}
	f := new(findings)
	code := c.check(ctx, f)
	if err := f.write(stdout, c.Output); err != nil {
		return err
	}
	if n := f.failed(); n > 0 {
		return coded(code, fmt.Errorf("%d of %d checks failed", n, len(f.list)))
	}
	return nil
}

// check finds out everything and returns the exit code of a failure.
func (c *CheckCmd) check(ctx context.Context, f *findings) int {
	source, err := c.source(nil)
	if err != nil {
		f.fail("configuration", "%v", err)
		return exitUsage
	}
	current, err := source.Load()
	if err != nil {
		f.fail("configuration", "%v", err)
		return exitUsage
	}
	if err := proxy.Validate(current); err != nil {
		f.fail("configuration", "%v", err)
		return exitUsage
	}
	f.ok("configuration", "%d inbound, %d outbound, %d policies", len(current.Inbounds), len(current.Outbounds), len(current.Policies))
	for _, warning := range current.Warnings {
		f.warn("configuration", "%s", warning)
	}
	if c.Offline {
		return exitUsage
	}
	if !c.Running {
		c.ports(ctx, f, current)
	}
	c.applications(ctx, f, current)
	return c.peers(ctx, f, current)
}

// ports finds out whether we could listen.
func (c *CheckCmd) ports(ctx context.Context, f *findings, current *config.Config) {
	addresses := []string{current.Proxy.Spec.Metrics.Listen, current.Proxy.Spec.Admin.Listen}
	for i := range current.Inbounds {
		addresses = append(addresses, current.Inbounds[i].Spec.Listen)
	}
	for i := range current.Outbounds {
		addresses = append(addresses, current.Outbounds[i].Spec.Listen)
	}
	for _, address := range addresses {
		if address == "" {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			f.fail("port", "%v (with --running, ports are not checked)", err)
			continue
		}
		_ = l.Close()
		f.ok("port", "%s is free", address)
	}
}

// applications finds out whether the applications behind inbound answer.
func (c *CheckCmd) applications(ctx context.Context, f *findings, current *config.Config) {
	for i := range current.Inbounds {
		for _, t := range current.Inbounds[i].Spec.Targets {
			ctx, cancel := context.WithTimeout(ctx, c.Timeout)
			network, address := "tcp", t.Address
			if path, unix := strings.CutPrefix(address, "unix:"); unix {
				network, address = "unix", path
			}
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			cancel()
			if err != nil {
				f.fail("application", "target %s: %v", t.Name, err)
				continue
			}
			_ = conn.Close()
			f.ok("application", "target %s answers at %s", t.Name, t.Address)
		}
	}
}

// peers finds out who we are, and whether the peers of outbound are who they are
// expected to be.
func (c *CheckCmd) peers(ctx context.Context, f *findings, current *config.Config) int {
	c.from(&current.Proxy.Spec.Identity)
	store, closeIdentity, err := c.open(ctx)
	if err != nil {
		f.fail("identity", "%v", err)
		return exitNoIdentity
	}
	defer closeIdentity()
	snapshot, err := c.wait(ctx, store)
	if err != nil {
		f.fail("identity", "%v", err)
		return exitNoIdentity
	}
	checkIdentity(f, snapshot, time.Now())
	for i := range current.Outbounds {
		c.peer(ctx, f, snapshot, current, &current.Outbounds[i])
	}
	return exitError
}

// checkIdentity looks at what the Workload API has given us, and at the clock.
func checkIdentity(f *findings, s *identity.Snapshot, now time.Time) {
	leaf := s.SVID.Certificates[0]
	left := leaf.NotAfter.Sub(now).Round(time.Second)
	switch {
	case now.Before(leaf.NotBefore):
		f.fail("clock", "it is %s here, and the SVID, just issued, is valid from %s: our clock is behind", now.UTC().Format(time.RFC3339), leaf.NotBefore.UTC().Format(time.RFC3339))
	case left <= 0:
		f.fail("identity", "%s has expired at %s", s.ID(), leaf.NotAfter.UTC().Format(time.RFC3339))
	default:
		f.ok("identity", "%s, valid for %s more", s.ID(), left)
		f.ok("clock", "it is %s, within the SVID's validity", now.UTC().Format(time.RFC3339))
	}
	var domains []string
	for _, b := range s.Bundles.Bundles() {
		domains = append(domains, b.TrustDomain().Name())
	}
	f.ok("trust", "bundles of %s", strings.Join(domains, ", "))
}

// peer shakes hands with the peer of an outbound.
func (c *CheckCmd) peer(ctx context.Context, f *findings, own *identity.Snapshot, current *config.Config, out *config.Outbound) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	resolver := discovery.New(discovery.Config{})
	defer resolver.Close()
	where, err := resolver.Follow(out.Spec.To)
	if err != nil {
		f.fail("peer", "%s: %v", out.Name, err)
		return
	}
	defer where.Close()
	found, err := discovery.Wait(ctx, where)
	if err == nil && len(found.Addresses) == 0 {
		err = found.Err
	}
	if err != nil {
		f.fail("peer", "%s: %v", out.Name, err)
		return
	}
	for _, address := range found.Addresses {
		dialer := tlsctx.Dialer{Config: proxy.ClientConfig(current, out, own)}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			err = refusal(conn, 300*time.Millisecond)
		}
		if err != nil {
			f.fail("peer", "%s: %v", out.Name, strings.TrimPrefix(err.Error(), "tlsctx: "))
			continue
		}
		peer := conn.Peer()
		_ = conn.Close()
		if !peer.Aware {
			f.warn("peer", "%s: %s at %s knows no handshake context", out.Name, peer.ID, address)
			continue
		}
		f.ok("peer", "%s: %s at %s", out.Name, peer.ID, address)
	}
}
