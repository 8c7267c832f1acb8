package proxy

import (
	"path/filepath"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/proxy/policy"
)

// What the documentation shows works when it is put together, for a member of
// its trust domain.
func TestExamplesOfDocumentation(t *testing.T) {
	files, err := filepath.Glob("../docs/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		c, err := config.Load(file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if err := Validate(c); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		var policies []policy.Policy
		for i := range c.Policies {
			policies = append(policies, policyOf(&c.Policies[i]))
		}
		if _, err := policy.New(spiffeid.RequireTrustDomainFromString("example.org"), policies); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// What config takes, policy takes: a mistake is told with its line, or not at
// all.
func FuzzPoliciesOfConfig(f *testing.F) {
	f.Add("[{from: [{ids: [spiffe://a.test/x], plaintext: true}], when: [{attribute: env, values: [x]}]}, {}]")
	f.Add("[{from: [{trustDomains: [a.test]}, {pathPrefixes: [spiffe://b.test/y]}], when: [{attribute: env, notValues: [x], trustDomain: b.test, minProvenance: attested}]}]")
	f.Add("[{when: [{attribute: a, values: [x]}, {attribute: b, values: [y]}]}]")
	f.Fuzz(func(t *testing.T, rules string) {
		c, err := config.Parse("f.yaml", []byte("apiVersion: hallmark.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec:\n  action: DENY\n  rules: "+rules+"\n"))
		if err != nil {
			return
		}
		if err := Validate(c); err != nil {
			t.Errorf("%v:\n%s", err, rules)
		}
	})
}
