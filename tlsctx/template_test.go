package tlsctx

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// TestParseTemplate refuses everything but a path with whole-segment
// placeholders.
func TestParseTemplate(t *testing.T) {
	for text, want := range map[string]string{
		"/ns/{k8s.namespace.name}/sa/{k8s.service_account.name}": "[k8s.namespace.name k8s.service_account.name]",
		"/{a}":                            "[a]",
		"/{a}/{b}/c":                      "[a b]",
		"":                                "",
		"/":                               "",
		"ns/{a}":                          "",
		"/ns/{a}/":                        "",
		"//{a}":                           "",
		"/ns/shop":                        "",
		"/ns/{}":                          "",
		"/ns/{A}":                         "",
		"/ns/x{a}":                        "",
		"/ns/{a}x":                        "",
		"/ns/{a}{b}":                      "",
		"/ns/{a}/sa/{a}":                  "",
		"/ns/*/{a}":                       "",
		"/../{a}":                         "",
		"/n\x00s/{a}":                     "",
		"/ns%2f/{a}":                      "",
		"/" + strings.Repeat("x/", 600):   "",
		"/ns/{a.}":                        "",
		"/ns/{" + strings.Repeat("a", 64): "",
	} {
		template, err := ParseTemplate(text)
		if (err == nil) != (want != "") {
			t.Errorf("ParseTemplate(%q): %v", text, err)
			continue
		}
		if err != nil {
			checkText(t, err)
			continue
		}
		if fmt.Sprint(template.Names()) != want || template.String() != text {
			t.Errorf("ParseTemplate(%q) = %s with %v, want %s", text, template, template.Names(), want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("MustTemplate took what is none")
		}
	}()
	MustTemplate("nothing")
}

// TestTemplateMatchesTheWholePath and nothing in part.
func TestTemplateMatchesTheWholePath(t *testing.T) {
	kubernetes := KubernetesTemplate()
	for id, want := range map[string]string{
		"spiffe://example.org/ns/shop/sa/web":                           "[{k8s.namespace.name shop} {k8s.service_account.name web}]",
		"spiffe://example.org/ns/sa/sa/sa":                              "[{k8s.namespace.name sa} {k8s.service_account.name sa}]",
		"spiffe://example.org/ns/a.b_c-D/sa/9":                          "[{k8s.namespace.name a.b_c-D} {k8s.service_account.name 9}]",
		"spiffe://example.org":                                          "",
		"spiffe://example.org/ns/shop/sa":                               "",
		"spiffe://example.org/ns/shop":                                  "",
		"spiffe://example.org/ns/shop/sa/web/pod":                       "",
		"spiffe://example.org/x/ns/shop/sa/web":                         "",
		"spiffe://example.org/NS/shop/sa/web":                           "",
		"spiffe://example.org/ns/shop/sb/web":                           "",
		"spiffe://example.org/ns/" + strings.Repeat("x", 256) + "/sa/y": "",
	} {
		derived, ok := kubernetes.Match(mustID(t, id))
		if ok != (want != "") || ok && fmt.Sprint(derived) != want {
			t.Errorf("%s: %v, %t, want %s", id, derived, ok, want)
		}
	}
	if _, ok := (Template{}).Match(mustID(t, "spiffe://example.org/x")); ok {
		t.Error("the zero template matches")
	}
}

// TestTemplatesBelongToTheirTrustDomain, and the first that matches counts.
func TestTemplatesBelongToTheirTrustDomain(t *testing.T) {
	own := spiffeid.RequireTrustDomainFromString("example.org")
	ts := Templates{own: {MustTemplate("/vm/{host.name}"), MustTemplate("/{kind}/{x}")}}
	if got := fmt.Sprint(derive(ts[mustID(t, "spiffe://example.org/vm/h1").TrustDomain()], mustID(t, "spiffe://example.org/vm/h1"))); got != "[{host.name h1}]" {
		t.Error(got)
	}
	if got := fmt.Sprint(derive(ts[mustID(t, "spiffe://example.org/pm/h1").TrustDomain()], mustID(t, "spiffe://example.org/pm/h1"))); got != "[{kind pm} {x h1}]" {
		t.Error(got)
	}
	if got := derive(ts[mustID(t, "spiffe://other.net/vm/h1").TrustDomain()], mustID(t, "spiffe://other.net/vm/h1")); got != nil {
		t.Error(got)
	}
	if !governs(ts[own], "host.name") || !governs(ts[own], "x") || governs(ts[own], "y") ||
		governs(ts[spiffeid.RequireTrustDomainFromString("other.net")], "x") {
		t.Error("governs")
	}
}

// TestMergeOfIDAttestedAndAsserted is the table of who may state what.
func TestMergeOfIDAttestedAndAsserted(t *testing.T) {
	own := spiffeid.RequireTrustDomainFromString("example.org")
	ts := Templates{own: {MustTemplate("/ns/{ns}"), MustTemplate("/vm/{host.name}")}}
	for _, test := range []struct {
		name, id                 string
		attested, asserted, want []string // names and values; want with provenance
	}{
		{"ID alone", "spiffe://example.org/ns/a", nil, nil, []string{"ns=a verified"}},
		{"asserted as the ID says", "spiffe://example.org/ns/a", nil, []string{"ns", "a", "x", "1"}, []string{"ns=a verified", "x=1 asserted"}},
		{"asserted against the ID", "spiffe://example.org/ns/a", nil, []string{"ns", "b"}, nil},
		{"attested as the ID says", "spiffe://example.org/ns/a", []string{"ns", "a"}, nil, []string{"ns=a attested"}},
		{"attested against the ID", "spiffe://example.org/ns/a", []string{"ns", "b"}, nil, nil},
		{"asserted against attested", "spiffe://example.org/ns/a", []string{"x", "1"}, []string{"x", "2"}, nil},
		{"asserted as attested", "spiffe://example.org/ns/a", []string{"x", "1"}, []string{"x", "1"}, []string{"ns=a verified", "x=1 attested"}},
		{"governed, no template matches", "spiffe://example.org/other", nil, []string{"ns", "a"}, nil},
		{"governed by another template than the one that matches", "spiffe://example.org/ns/a", nil, []string{"host.name", "h"}, nil},
		{"governed, attested, no template matches", "spiffe://example.org/other", []string{"ns", "a"}, []string{"ns", "a"}, []string{"ns=a attested"}},
		{"foreign trust domain, no template", "spiffe://other.net/ns/a", nil, []string{"ns", "b"}, []string{"ns=b asserted"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			merged, err := ts.merge(mustID(t, test.id), ca.Attributes(t, test.attested...), ca.Attributes(t, test.asserted...))
			if test.want == nil {
				wantReason(t, outcome{err: err}, ContradictingContext)
				return
			}
			var got []string
			for _, a := range merged {
				got = append(got, a.Name+"="+a.Value+" "+a.Provenance.String())
			}
			if err != nil || strings.Join(got, ",") != strings.Join(test.want, ",") {
				t.Errorf("%v, %v, want %v", got, err, test.want)
			}
		})
	}
}
