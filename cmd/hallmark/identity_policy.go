package main

import (
	"fmt"
	"strings"

	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// policyFlags say how peers are judged by inspect and listen.
type policyFlags struct {
	Template []string `group:"peer" help:"What the SPIFFE IDs of a trust domain state, such as 'example.org=/ns/{k8s.namespace.name}/sa/{k8s.service_account.name}', which is the default for the own trust domain. May be repeated." sep:";" placeholder:"DOMAIN=PATH" env:"HALLMARK_TEMPLATE"`
	Attested []string `group:"peer" sep:";" help:"Believe what the CA of this trust domain attests inside an SVID. May be repeated." placeholder:"DOMAIN" env:"HALLMARK_ATTESTED"`
	Expect   []string `group:"peer" sep:";" help:"Take only this SPIFFE ID. May be repeated. Default: any whose SVID verifies." placeholder:"ID" env:"HALLMARK_EXPECT"`
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
