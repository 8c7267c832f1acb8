package proxy

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/proxy/config"
)

// TestRules has a configuration say whose attributes become labels.
func TestRules(t *testing.T) {
	c, err := config.Parse("f.yaml", []byte(`apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: x}
spec:
  trustDomains:
  - {name: partner.test, labels: true}
  - {name: other.test}
  metrics: {cluster: east, maxSeries: 7, idleExpiry: 0s}
`))
	if err != nil {
		t.Fatal(err)
	}
	pl := &plan{config: c}
	r := pl.rules(spiffeid.RequireTrustDomainFromString("example.org"))
	if len(r.Foreign) != 1 || r.Foreign[0].Name() != "partner.test" {
		t.Errorf("labels of %v, want partner.test", r.Foreign)
	}
	if r.Cluster != "east" || r.MaxCombinations != 7 || r.IdleExpiry >= 0 || r.Labels.Validate() != nil {
		t.Errorf("rules %+v", r)
	}
}
