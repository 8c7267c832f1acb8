package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// RunCmd is the subcommand run.
type RunCmd struct {
	identityFlags
	listenFlags

	Metrics     string        `help:"Serve /metrics, /healthz and /readyz at this address." placeholder:"[HOST]:PORT" env:"HALLMARK_METRICS"`
	Admin       string        `help:"Serve the operator's port (for a browser, hallmark stat and hallmark tap) at this address, on loopback unless --admin-allow is given." placeholder:"[HOST]:PORT" env:"HALLMARK_ADMIN"`
	AdminAllow  []string      `sep:";" help:"Serve the address of --admin by mutual TLS, to this SPIFFE ID, one with /* at its end for what is below a path, or spiffe://DOMAIN/* for any of a trust domain. May be repeated." placeholder:"ID" env:"HALLMARK_ADMIN_ALLOW"`
	PProf       bool          `name:"pprof" help:"Serve Go's profiles at the address of --admin as well." env:"HALLMARK_PPROF"`
	AccessLog   string        `help:"Where a line for each connection goes: stdout, stderr, none or a file." placeholder:"OUTPUT" env:"HALLMARK_ACCESS_LOG"`
	AccessLevel string        `help:"The least to log of connections: Info, or Warn for those that were refused or broke." placeholder:"LEVEL" env:"HALLMARK_ACCESS_LOG_LEVEL"`
	LogLevel    string        `help:"The least to log of our own doings: Debug, Info, Warn or Error." placeholder:"LEVEL" env:"HALLMARK_LOG_LEVEL"`
	LogFormat   string        `help:"JSON or Console, for both logs." placeholder:"FORMAT" env:"HALLMARK_LOG_FORMAT"`
	Drain       time.Duration `help:"How long connections may go on after SIGTERM. Default: 30s." placeholder:"DURATION" env:"HALLMARK_DRAIN"`
	Handover    string        `type:"path" help:"Unix socket at which a process started later with the same flag takes the listening sockets over, so that a restart loses no connection." placeholder:"PATH" env:"HALLMARK_HANDOVER"`
}

// listenFlags say what to listen for and where it goes, for run and check.
type listenFlags struct {
	Config   string   `type:"path" help:"Configuration file, or a directory of *.yaml, *.yml and *.json files. Read again when it changes, and on SIGHUP. See docs/configuration.md." placeholder:"PATH" env:"HALLMARK_CONFIG"`
	Inbound  []string `sep:";" help:"Accept mutual TLS from peers at LISTEN and forward to the application at ADDRESS. May be repeated." placeholder:"LISTEN=ADDRESS[,key=value…]" env:"HALLMARK_INBOUND"`
	Outbound []string `sep:";" help:"Accept an application's connections at LISTEN and forward them by mutual TLS to the peer at ADDRESS. May be repeated." placeholder:"LISTEN=ADDRESS[,key=value…]" env:"HALLMARK_OUTBOUND"`
	Expect   []string `sep:";" help:"The identity that the peers of --outbound must have: a SPIFFE ID, one with /* at its end for what is below a path, or spiffe://DOMAIN/* for any of a trust domain. May be repeated; expect=ID in an --outbound goes before." placeholder:"ID" env:"HALLMARK_EXPECT"`
	Template []string `sep:";" help:"What the SPIFFE IDs of a trust domain state, such as 'example.org=/ns/{k8s.namespace.name}/sa/{k8s.service_account.name}', which is the default for the own trust domain. May be repeated." placeholder:"DOMAIN=PATH" env:"HALLMARK_TEMPLATE"`
	Attested []string `sep:";" help:"Believe what the CA of this trust domain attests inside an SVID. May be repeated." placeholder:"DOMAIN" env:"HALLMARK_ATTESTED"`
}

// Help is the long description of the subcommand.
func (*RunCmd) Help() string {
	return `Runs the sidecar: any number of listeners, inbound (mutual TLS from peers, on to an
application) and outbound (an application's connections, by mutual TLS to a peer). The
peer's SPIFFE ID, attributes, protocol and target come with the handshake.

  hallmark run --inbound :8443=127.0.0.1:5432
  hallmark run --outbound 127.0.0.1:15432=db.internal:8443 \
      --expect spiffe://example.org/ns/db/sa/postgres --metrics :15020
  hallmark run --config /etc/hallmark

The keys of --inbound are target, protocol, server-first, proxy-protocol, peers, plaintext
and accept-proxy-protocol; those of --outbound target, protocol, server-first, session,
peers, sni, expect and accept-proxy-protocol. They mean what the fields of the same names
mean in a configuration, to which flags add; docs/configuration.md explains them.

SIGHUP reads the configuration again. SIGTERM and SIGINT end: /readyz fails, inbound takes
no more connections, outbound goes on until it has none, and after the time of --drain
what is left is cut. Sockets of systemd's socket activation are used where their addresses
are configured, and systemd is told when the process is ready.

` + exitCodes
}

// Run runs until ctx ends.
func (c *RunCmd) Run(ctx context.Context) error {
	allow, err := expectations("--admin-allow", c.AdminAllow)
	if err != nil {
		return coded(exitUsage, err)
	}
	source, err := c.source(func(spec *config.ProxySpec) {
		c.override(spec)
		spec.Admin.Allow = append(spec.Admin.Allow, allow...)
	})
	if err != nil {
		return coded(exitUsage, err)
	}
	current, err := source.Load()
	if err != nil {
		return coded(exitUsage, err)
	}
	if len(current.Inbounds)+len(current.Outbounds) == 0 {
		return coded(exitUsage, fmt.Errorf("nothing to do: give --inbound, --outbound or --config"))
	}
	s := &sidecar{flags: c, source: source}
	return s.run(ctx, current)
}

// source returns where the configuration comes from.
func (f *listenFlags) source(override func(*config.ProxySpec)) (config.Source, error) {
	domains, err := f.trustDomains()
	if err != nil {
		return config.Source{}, err
	}
	source := config.Source{Path: f.Config, Override: func(spec *config.ProxySpec) {
		spec.TrustDomains = merge(spec.TrustDomains, domains)
		if override != nil {
			override(spec)
		}
	}}
	expect, err := expectations("--expect", f.Expect)
	if err != nil {
		return source, err
	}
	for _, text := range f.Inbound {
		in, err := config.ParseInboundFlag(text)
		if err != nil {
			return source, fmt.Errorf("--inbound: %w", err)
		}
		source.Inbounds = append(source.Inbounds, in)
	}
	for _, text := range f.Outbound {
		out, err := config.ParseOutboundFlag(text, expect...)
		if err != nil {
			return source, fmt.Errorf("--outbound: %w", err)
		}
		source.Outbounds = append(source.Outbounds, out)
	}
	return source, nil
}

// expectations parses the identities that a flag names.
func expectations(flag string, texts []string) ([]config.Expectation, error) {
	var all []config.Expectation
	for _, text := range texts {
		e, err := config.ParseExpectation(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		all = append(all, e)
	}
	return all, nil
}

// trustDomains are what --template and --attested say.
func (f *listenFlags) trustDomains() ([]config.TrustDomain, error) {
	var domains []config.TrustDomain
	for _, text := range f.Template {
		name, path, _ := strings.Cut(text, "=")
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return nil, fmt.Errorf("--template %q: want DOMAIN=PATH: %w", text, err)
		}
		t, err := tlsctx.ParseTemplate(path)
		if err != nil {
			return nil, fmt.Errorf("--template %q: %w", text, err)
		}
		domains = merge(domains, []config.TrustDomain{{Name: td, Templates: []tlsctx.Template{t}}})
	}
	for _, name := range f.Attested {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return nil, fmt.Errorf("--attested %q: %w", name, err)
		}
		domains = merge(domains, []config.TrustDomain{{Name: td, Attested: true}})
	}
	return domains, nil
}

// merge adds what more says of trust domains to what is known.
func merge(known, more []config.TrustDomain) []config.TrustDomain {
	merged := slices.Clone(known)
next:
	for _, m := range more {
		for i := range merged {
			if merged[i].Name == m.Name {
				merged[i].Templates = slices.Concat(merged[i].Templates, m.Templates)
				merged[i].Attested = merged[i].Attested || m.Attested
				continue next
			}
		}
		merged = append(merged, m)
	}
	return merged
}

// override lets flags go before what files say of the process.
func (c *RunCmd) override(spec *config.ProxySpec) {
	set := func(to *string, flag string) {
		if flag != "" {
			*to = flag
		}
	}
	set(&spec.Metrics.Listen, c.Metrics)
	set(&spec.Admin.Listen, c.Admin)
	set(&spec.AccessLog.Output, c.AccessLog)
	set((*string)(&spec.AccessLog.Level), c.AccessLevel)
	set((*string)(&spec.Log.Level), c.LogLevel)
	set((*string)(&spec.Log.Format), c.LogFormat)
	set((*string)(&spec.AccessLog.Format), c.LogFormat)
	spec.Admin.PProf = spec.Admin.PProf || c.PProf
	if c.Drain > 0 {
		spec.Timeouts.Drain = c.Drain
	}
}

// from lets the flags of the identity go before what files say of it.
func (f *identityFlags) from(id *config.Identity) {
	if f.Cert != "" || f.EmbeddedIssuer != "" {
		return
	}
	if files := &id.Files; files.Certificate != "" {
		f.Cert, f.Key = files.Certificate, files.Key
		f.Bundle = append(f.Bundle, files.Bundle)
		for _, other := range files.Federated {
			f.Bundle = append(f.Bundle, other.TrustDomain.Name()+"="+other.Bundle)
		}
		return
	}
	if id.WorkloadAPI != "" && f.WorkloadAPI == "" {
		f.WorkloadAPI = id.WorkloadAPI
	}
	if !id.SPIFFEID.IsZero() && f.SPIFFEID == "" {
		f.SPIFFEID = id.SPIFFEID.String()
	}
	if id.Hint != "" && f.Hint == "" {
		f.Hint = id.Hint
	}
}

// processLog logs our own doings to standard error.
func processLog(l config.Log) *zap.Logger {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "message",
		EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	})
	if l.Format == config.FormatConsole {
		encoder = zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
			TimeKey: "time", LevelKey: "level", MessageKey: "message",
			EncodeTime:  zapcore.TimeEncoderOfLayout("15:04:05.000"),
			EncodeLevel: zapcore.CapitalLevelEncoder, EncodeDuration: zapcore.StringDurationEncoder,
		})
	}
	return zap.New(zapcore.NewCore(encoder, standardError(), levelOf(l.Level)))
}
