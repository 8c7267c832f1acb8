package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity/issuer"
)

// IssuerCmd is the subcommand issuer.
type IssuerCmd struct {
	Config        string            `help:"Read the configuration from this YAML file. Flags given besides override its settings, and --workload, --export-bundle and --foreign-bundle add to its lists. SIGHUP reads the registrations in it again." type:"path" placeholder:"FILE" env:"HALLMARK_ISSUER_CONFIG"`
	TrustDomain   string            `help:"Trust domain of the authority, such as example.org." placeholder:"NAME" env:"HALLMARK_ISSUER_TRUST_DOMAIN"`
	Directory     string            `help:"Keep the authority in this directory, so that it survives a restart. The directory is made with mode 0700; one that others can enter is refused. Default: in memory." type:"path" placeholder:"DIR" env:"HALLMARK_ISSUER_DIRECTORY"`
	Socket        string            `help:"Serve the SPIFFE Workload API on this Unix socket, which anybody may open: workloads are told apart by their uid, gid and executable." type:"path" placeholder:"FILE" env:"HALLMARK_ISSUER_SOCKET"`
	Workload      []issuer.Workload `help:"Register a workload: SPIFFE-ID[,key=value...], the keys being uid, gid, path (of the executable), sha256 (of it), socket (of the workload's own), mode (of that socket), hint, attr:NAME (an attribute to attest in the SVID) and federates-with. May be repeated." sep:"none" placeholder:"SPEC" env:"HALLMARK_ISSUER_WORKLOAD"`
	SVIDTTL       time.Duration     `name:"svid-ttl" help:"Lifetime of an SVID, which is replaced at half of it. Default: 1h." placeholder:"DURATION" env:"HALLMARK_ISSUER_SVID_TTL"`
	CATTL         time.Duration     `name:"ca-ttl" help:"Lifetime of an authority, at least three times --svid-ttl. Its successor is published at half of it and signs from two thirds of it. Default: 168h." placeholder:"DURATION" env:"HALLMARK_ISSUER_CA_TTL"`
	KeyType       string            `help:"Key type of SVIDs: ec-p256 (the default), ec-p384, rsa-2048 or ed25519." placeholder:"TYPE" env:"HALLMARK_ISSUER_KEY_TYPE"`
	CAKeyType     string            `name:"ca-key-type" help:"Key type of authorities: as --key-type." placeholder:"TYPE" env:"HALLMARK_ISSUER_CA_KEY_TYPE"`
	Intermediate  bool              `help:"Sign SVIDs by an intermediate CA, which is sent along with them." env:"HALLMARK_ISSUER_INTERMEDIATE"`
	ExportBundle  []string          `help:"Write the own bundle to this file at start and whenever it changes: PEM if it ends in .pem, the SPIFFE bundle format otherwise. May be repeated." type:"path" sep:"none" placeholder:"FILE" env:"HALLMARK_ISSUER_EXPORT_BUNDLE"`
	ForeignBundle map[string]string `help:"Federate with the trust domain NAME, whose bundle is in FILE, in either format; the file is watched. Workloads get the bundle if their registration has federates-with=NAME. May be repeated." mapsep:"none" placeholder:"NAME=FILE" env:"HALLMARK_ISSUER_FOREIGN_BUNDLE"`
	ForeignDir    string            `name:"foreign-bundles" help:"Federate with the trust domains whose bundles are in this directory, in files named after them: other.example.json or other.example.pem. The directory is watched." type:"path" placeholder:"DIR" env:"HALLMARK_ISSUER_FOREIGN_BUNDLES"`
}

// Help is the long description of the subcommand.
func (*IssuerCmd) Help() string {
	return `A small SPIFFE authority for one machine, for a laptop and for tests: it signs
short-lived X.509-SVIDs and serves them through the SPIFFE Workload API, which
any SPIFFE program knows how to use.

  hallmark issuer --trust-domain example.org --socket /tmp/agent.sock \
    --workload "spiffe://example.org/ns/shop/sa/cart,uid=$(id -u)"

  SPIFFE_ENDPOINT_SOCKET=unix:///tmp/agent.sock spire-agent api fetch x509

A workload is recognised by its uid, gid and executable, as the kernel reports
them, or by a socket of its own: whatever can open that is the workload. Paths
tell the programs of a well-meaning user apart, and uids tell users apart.

It runs until SIGINT or SIGTERM, and then exits with status 0.

` + exitCodes
}

// Run serves until ctx ends, and writes what it serves and where to stdout, and
// its log to stderr.
func (c *IssuerCmd) Run(ctx context.Context, stdout io.Writer) error {
	config, err := c.config()
	if err != nil {
		return coded(exitUsage, err)
	}
	if err := config.Validate(); err != nil {
		return coded(exitUsage, fmt.Errorf("issuer: configure by %s: %w", c.origin(), err))
	}
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	authority, err := issuer.New(config)
	if err != nil {
		return err
	}
	if err := authority.Listen(); err != nil {
		return errors.Join(err, authority.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	go c.reload(ctx, hangup, authority, config.Logger)

	announce(stdout, authority)
	return errors.Join(authority.Serve(ctx), authority.Close())
}

// origin says where the configuration comes from.
func (c *IssuerCmd) origin() string {
	if c.Config == "" {
		return "flags"
	}
	return c.Config + " and flags"
}

// announce says what is served where, one line each.
func announce(w io.Writer, authority *issuer.Issuer) {
	fmt.Fprintf(w, "trust domain %s\n", authority.TrustDomain().Name())
	for _, path := range authority.Sockets() {
		fmt.Fprintf(w, "listening on unix://%s\n", path)
	}
}

// reload registers the workloads of the configuration anew at every hangup.
func (c *IssuerCmd) reload(ctx context.Context, hangup <-chan os.Signal, authority *issuer.Issuer, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		config, err := c.config()
		if err == nil {
			err = authority.SetWorkloads(config.Workloads)
		}
		if err != nil {
			log.Error("reload: the registrations stay as they are", "error", err)
			continue
		}
		log.Info("reloaded", "workloads", len(config.Workloads))
	}
}

// config puts the file and the flags together.
func (c *IssuerCmd) config() (issuer.Config, error) {
	var config issuer.Config
	if c.Config != "" {
		var err error
		if config, err = issuer.ReadConfig(c.Config); err != nil {
			return config, err
		}
	}
	if err := c.trust(&config); err != nil {
		return config, err
	}
	override(&config.Directory, c.Directory)
	override(&config.Socket, c.Socket)
	override(&config.SVIDTTL, c.SVIDTTL)
	override(&config.CATTL, c.CATTL)
	override(&config.KeyType, issuer.KeyType(c.KeyType))
	override(&config.CAKeyType, issuer.KeyType(c.CAKeyType))
	override(&config.Intermediate, c.Intermediate)
	config.ExportBundle = append(config.ExportBundle, c.ExportBundle...)
	config.Workloads = append(config.Workloads, c.Workload...)
	return config, nil
}

// trust sets the own and the foreign trust domains.
func (c *IssuerCmd) trust(config *issuer.Config) error {
	if c.TrustDomain != "" {
		td, err := spiffeid.TrustDomainFromString(c.TrustDomain)
		if err != nil {
			return fmt.Errorf("--trust-domain %q: %w", c.TrustDomain, err)
		}
		config.TrustDomain = td
	}
	for name, file := range c.ForeignBundle {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return fmt.Errorf("--foreign-bundle %q: %w", name, err)
		}
		config.Federation.Bundles = append(config.Federation.Bundles, issuer.ForeignBundle{TrustDomain: td, File: file})
	}
	override(&config.Federation.Directory, c.ForeignDir)
	return nil
}

// override replaces what the file says by what a flag says, if it was given.
func override[T comparable](setting *T, flag T) {
	var unset T
	if flag != unset {
		*setting = flag
	}
}
