package config

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shop = `
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: sidecar}
spec:
  identity:
    workloadAPI: unix:///run/spire/agent.sock
  attributes:
    k8s.pod.name: cart-0
  trustDomains:
  - name: example.org
    templates: ["/ns/{k8s.namespace.name}/sa/{k8s.service_account.name}"]
  timeouts: {dial: 2s}
  limits: {memory: 256Mi}
  metrics: {listen: ":9090"}
  admin: {listen: "127.0.0.1:9901"}
---
apiVersion: hallmark.dev/v1alpha1
kind: Inbound
metadata:
  name: web
  namespace: shop
spec:
  listen: :8443
  targets:
  - name: postgres
    address: 127.0.0.1:5432
    protocol: postgres
    proxyProtocol: V2
---
apiVersion: hallmark.dev/v1alpha1
kind: Outbound
metadata: {name: db}
spec:
  listen: 127.0.0.1:15432
  to: db.internal:8443
  expect:
  - pathPrefix: spiffe://example.org/ns/db
---
apiVersion: hallmark.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: cart}
spec:
  targets: [postgres]
  rules:
  - from: [{ids: [spiffe://example.org/ns/shop/sa/cart]}]
    when:
    - attribute: k8s.namespace.name
      values: [shop]
      minProvenance: verified
`

func TestParse(t *testing.T) {
	c, err := Parse("shop.yaml", []byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.YAML()
	t.Logf("%s\n%v", text, err)
	again, err := Parse("again.yaml", text)
	if err != nil || again.Version != c.Version {
		t.Errorf("written and read again: %v", err)
	}
}

func TestProblems(t *testing.T) {
	_, err := Parse("bad.yaml", []byte(strings.NewReplacer("listen: :8443", "listen: db:1", "dial: 2s", "dail: 2", "protocol: postgres", "protocol: 7", "target: x", "").Replace(shop)))
	t.Log(err)
}
