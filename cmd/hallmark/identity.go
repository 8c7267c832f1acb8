package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/identity/workload"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// policyFlags say how peers are judged by inspect and listen.
type policyFlags struct {
	Template []string `help:"What the SPIFFE IDs of a trust domain state, such as 'example.org=/ns/{k8s.namespace.name}/sa/{k8s.service_account.name}', which is the default for the own trust domain. May be repeated." sep:"none" placeholder:"DOMAIN=PATH" env:"HALLMARK_TEMPLATE"`
	Attested []string `help:"Believe what the CA of this trust domain attests inside an SVID. May be repeated." placeholder:"DOMAIN" env:"HALLMARK_ATTESTED"`
	Expect   []string `help:"Take only this SPIFFE ID. May be repeated. Default: any whose SVID verifies." placeholder:"ID" env:"HALLMARK_EXPECT"`
}

// policy parses the flags. own is the own trust domain.
func (f *policyFlags) policy(own spiffeid.TrustDomain) (tlsctx.Policy, error) {
	p := tlsctx.Policy{Templates: tlsctx.Templates{}, Authorize: tlsctx.AuthorizeAny()}
	for _, text := range f.Template {
		domain, path, _ := strings.Cut(text, "=")
		td, err := spiffeid.TrustDomainFromString(domain)
		if err != nil {
			return p, fmt.Errorf("--template %q: want DOMAIN=PATH: %w", text, err)
		}
		t, err := tlsctx.ParseTemplate(path)
		if err != nil {
			return p, fmt.Errorf("--template %q: %w", text, err)
		}
		p.Templates[td] = append(p.Templates[td], t)
	}
	if len(p.Templates[own]) == 0 {
		p.Templates[own] = []tlsctx.Template{tlsctx.KubernetesTemplate()}
	}
	for _, domain := range f.Attested {
		td, err := spiffeid.TrustDomainFromString(domain)
		if err != nil {
			return p, fmt.Errorf("--attested %q: %w", domain, err)
		}
		p.Attested = append(p.Attested, td)
	}
	var ids []spiffeid.ID
	for _, text := range f.Expect {
		id, err := spiffeid.FromString(text)
		if err != nil {
			return p, fmt.Errorf("--expect %q: %w", text, err)
		}
		ids = append(ids, id)
	}
	if len(ids) > 0 {
		p.Authorize = tlsctx.AuthorizeID(ids...)
	}
	return p, nil
}

// identityFlags say who we are.
type identityFlags struct {
	WorkloadAPI string        `name:"workload-api" help:"Address of the SPIFFE Workload API, such as unix:///run/spire/sockets/agent.sock." placeholder:"URI" env:"SPIFFE_ENDPOINT_SOCKET"`
	SPIFFEID    string        `name:"spiffe-id" help:"Which identity to take, where the Workload API offers several. Default: the first." placeholder:"ID" env:"HALLMARK_SPIFFE_ID"`
	Hint        string        `help:"Take the identity with this hint." env:"HALLMARK_HINT"`
	Patience    time.Duration `help:"How long to wait for an identity." default:"10s" env:"HALLMARK_PATIENCE"`
}

// open starts to follow the source of our identity.
func (f *identityFlags) open(context.Context) (*identity.Store, func(), error) {
	config := workload.Config{Address: f.WorkloadAPI, Hint: f.Hint}
	if f.SPIFFEID != "" {
		id, err := spiffeid.FromString(f.SPIFFEID)
		if err != nil {
			return nil, nil, coded(exitUsage, fmt.Errorf("--spiffe-id %q: %w", f.SPIFFEID, err))
		}
		config.ID = id
	}
	source, err := workload.Open(config)
	if err != nil {
		return nil, nil, coded(exitUsage, err)
	}
	return &source.Store, func() { _ = source.Close() }, nil
}

// wait returns the first snapshot, or why there is none in time.
func (f *identityFlags) wait(ctx context.Context, store *identity.Store) (*identity.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, f.Patience)
	defer cancel()
	snapshot, err := store.Wait(ctx)
	return snapshot, coded(exitNoIdentity, err)
}
