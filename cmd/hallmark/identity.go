package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/identity/attributes"
	"github.com/hallmark-mesh/hallmark/identity/files"
	"github.com/hallmark-mesh/hallmark/identity/issuer"
	"github.com/hallmark-mesh/hallmark/identity/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// identityFlags say who we are, for every subcommand that shakes hands.
type identityFlags struct {
	WorkloadAPI string `name:"workload-api" group:"identity" help:"Address of the SPIFFE Workload API, such as unix:///run/spire/sockets/agent.sock." placeholder:"URI" env:"SPIFFE_ENDPOINT_SOCKET"`
	SPIFFEID    string `name:"spiffe-id" group:"identity" help:"Which identity to take, where the Workload API or the embedded issuer has several. Default: the first." placeholder:"ID" env:"HALLMARK_SPIFFE_ID"`
	Hint        string `group:"identity" help:"Take the identity with this hint." placeholder:"TEXT" env:"HALLMARK_HINT"`

	Cert   string   `group:"identity" type:"path" help:"Take the identity from this PEM file instead: the X.509-SVID, leaf first, and its intermediates. The files are watched, and may be swapped by symbolic links." placeholder:"FILE" env:"HALLMARK_CERT"`
	Key    string   `group:"identity" type:"path" help:"PEM file with the private key. Default: it is in the file of --cert." placeholder:"FILE" env:"HALLMARK_KEY"`
	Bundle []string `group:"identity" sep:";" help:"File with the authorities of the own trust domain, or of DOMAIN, in PEM or the SPIFFE bundle format; for use with --cert. May be repeated." placeholder:"[DOMAIN=]FILE" env:"HALLMARK_BUNDLE"`

	EmbeddedIssuer string `group:"identity" type:"path" help:"Run an issuer with this configuration file (see hallmark issuer) in this process, and take the identity from it." placeholder:"FILE" env:"HALLMARK_EMBEDDED_ISSUER"`

	Attribute []string `group:"identity" sep:";" help:"An attribute of ours, such as service.name=cart, over what OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME and Kubernetes say. May be repeated." placeholder:"NAME=VALUE" env:"HALLMARK_ATTRIBUTE"`
	PodInfo   string   `group:"identity" type:"path" help:"Folder of a Kubernetes downward API volume with labels and annotations of ours." placeholder:"DIR" default:"/etc/podinfo" env:"HALLMARK_POD_INFO"`

	Patience time.Duration `group:"identity" help:"How long to wait for an identity." placeholder:"DURATION" default:"10s" env:"HALLMARK_PATIENCE"`

	// log is told what goes wrong with the identity; nil means
	// warnings on stderr.
	log *zap.Logger
}

const identityHelp = `The identity comes from the SPIFFE Workload API, unless --cert or --embedded-issuer
is given. In the environment, the values of a flag that may be repeated are separated by
semicolons.`

// open starts to follow the source of our identity and our attributes. The
// caller must call the returned function in the end.
func (f *identityFlags) open(ctx context.Context) (*identity.Store, func(), error) {
	if f.log == nil {
		f.log = warnings()
	}
	own, err := f.ownAttributes()
	if err != nil {
		return nil, nil, coded(exitUsage, err)
	}
	store, closeSource, err := f.openSource(ctx)
	if err != nil {
		return nil, nil, err
	}
	following := attributes.Open(own, store.SetAttributes)
	return store, func() {
		_ = following.Close()
		closeSource()
	}, nil
}

// wait returns the first snapshot, or why there is none in time.
func (f *identityFlags) wait(ctx context.Context, store *identity.Store) (*identity.Snapshot, error) {
	limited, cancel := context.WithTimeout(ctx, f.Patience)
	defer cancel()
	snapshot, err := store.Wait(limited)
	if err == nil {
		return snapshot, nil
	}
	if trouble := store.Err(); trouble != nil {
		err = trouble
	} else if ctx.Err() == nil {
		err = identity.ErrNotReady
	}
	return nil, coded(exitNoIdentity, fmt.Errorf("no identity within %v: %w", f.Patience, err))
}

// warnings logs what an operator has to know on standard error.
func warnings() *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		LevelKey: "level", EncodeLevel: zapcore.LowercaseLevelEncoder,
		MessageKey: "message", ConsoleSeparator: ": ", LineEnding: "\n",
		EncodeTime: zapcore.RFC3339TimeEncoder, EncodeDuration: zapcore.StringDurationEncoder,
	})
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), zap.WarnLevel))
}

// ownAttributes says where ours come from.
func (f *identityFlags) ownAttributes() (attributes.Config, error) {
	config := attributes.Config{PodInfo: f.PodInfo, Logger: f.log}
	for _, text := range f.Attribute {
		a, err := attributes.ParseFlag(text)
		if err != nil {
			return config, fmt.Errorf("--attribute: %w", err)
		}
		config.Flags = append(config.Flags, a)
	}
	return config, nil
}

// openSource opens where our identity comes from.
func (f *identityFlags) openSource(ctx context.Context) (*identity.Store, func(), error) {
	switch {
	case f.Cert != "" && f.EmbeddedIssuer != "":
		return nil, nil, coded(exitUsage, errors.New("--cert and --embedded-issuer exclude each other"))
	case f.Cert != "":
		return f.openFiles()
	case f.Key != "" || len(f.Bundle) > 0:
		return nil, nil, coded(exitUsage, errors.New("--key and --bundle need --cert"))
	case f.EmbeddedIssuer != "":
		return f.openIssuer(ctx)
	default:
		return f.openWorkloadAPI()
	}
}

func (f *identityFlags) openWorkloadAPI() (*identity.Store, func(), error) {
	config := workload.Config{Address: f.WorkloadAPI, Hint: f.Hint, Logger: f.log}
	if f.SPIFFEID != "" {
		id, err := spiffeid.FromString(f.SPIFFEID)
		if err != nil {
			return nil, nil, coded(exitUsage, fmt.Errorf("--spiffe-id %q: %w", f.SPIFFEID, err))
		}
		config.ID = id
	}
	source, err := workload.Open(config)
	if err != nil {
		return nil, nil, coded(exitUsage, fmt.Errorf("%w (or give --workload-api, --cert or --embedded-issuer; hallmark issuer --help has a trial without SPIRE)", err))
	}
	return &source.Store, func() { _ = source.Close() }, nil
}

func (f *identityFlags) openFiles() (*identity.Store, func(), error) {
	if f.SPIFFEID != "" || f.Hint != "" {
		return nil, nil, coded(exitUsage, errors.New("--spiffe-id and --hint choose among several identities: --cert has one"))
	}
	config := files.Config{Certificates: f.Cert, Key: f.Key, Federated: make(map[spiffeid.TrustDomain]string), Logger: f.log}
	for _, text := range f.Bundle {
		td, path := splitBundle(text)
		_, twice := config.Federated[td]
		switch {
		case td.IsZero() && config.Bundle != "", twice:
			return nil, nil, coded(exitUsage, fmt.Errorf("--bundle %q: there is one for that trust domain already", text))
		case td.IsZero():
			config.Bundle = path
		default:
			config.Federated[td] = path
		}
	}
	source, err := files.Open(config)
	if err != nil {
		return nil, nil, coded(exitUsage, fmt.Errorf("--cert and --bundle: %w", err))
	}
	return &source.Store, func() { _ = source.Close() }, nil
}

// splitBundle splits [DOMAIN=]FILE.
func splitBundle(text string) (spiffeid.TrustDomain, string) {
	name, path, found := strings.Cut(text, "=")
	if !found || strings.Contains(name, "/") {
		return spiffeid.TrustDomain{}, text
	}
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return spiffeid.TrustDomain{}, text
	}
	return td, path
}

// openIssuer runs an issuer, for others as well if its configuration names a
// socket.
func (f *identityFlags) openIssuer(ctx context.Context) (*identity.Store, func(), error) {
	config, err := issuer.ReadConfig(f.EmbeddedIssuer)
	if err != nil {
		return nil, nil, coded(exitUsage, fmt.Errorf("--embedded-issuer: %w", err))
	}
	i := slices.IndexFunc(config.Workloads, func(w issuer.Workload) bool {
		return (f.SPIFFEID == "" || w.ID.String() == f.SPIFFEID) && (f.Hint == "" || w.Hint == f.Hint)
	})
	if i < 0 {
		return nil, nil, coded(exitUsage, fmt.Errorf("--embedded-issuer: %s registers no workload that --spiffe-id and --hint ask for", f.EmbeddedIssuer))
	}
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	authority, err := issuer.New(config)
	if err != nil {
		return nil, nil, coded(exitUsage, fmt.Errorf("--embedded-issuer: %w", err))
	}
	if err := authority.Listen(); err != nil {
		return nil, nil, coded(exitUsage, fmt.Errorf("--embedded-issuer: %w", errors.Join(err, authority.Close())))
	}
	store := new(identity.Store)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { authority.Feed(ctx, config.Workloads[i].ID, store) })
	wg.Go(func() {
		if err := authority.Serve(ctx); err != nil {
			f.log.Error("the embedded issuer has ended", zap.Error(err))
			store.Fail(err)
		}
	})
	return store, func() {
		cancel()
		wg.Wait()
		_ = authority.Close()
	}, nil
}
