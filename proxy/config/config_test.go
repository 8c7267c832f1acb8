package config

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

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
  metrics: {listen: ":9090", labels: {app: []}}
  admin: {listen: "127.0.0.1:9901"}
---
apiVersion: hallmark.dev/v1alpha1
kind: Inbound
metadata:
  name: web
  namespace: shop
spec:
  listen: :8443
  acceptProxyProtocol: {from: [10.0.0.0/8]}
  targets:
  - name: postgres
    address: 127.0.0.1:5432
    protocol: postgres
    proxyProtocol: V2
  - name: web
    address: localhost:80
---
apiVersion: hallmark.dev/v1alpha1
kind: Outbound
metadata: {name: db}
spec:
  listen: 127.0.0.1:15432
  to: db.internal:8443
  expect:
  - pathPrefix: spiffe://example.org/ns/db
  - id: spiffe://example.org/db
---
apiVersion: hallmark.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: cart}
spec:
  targets: [postgres]
  ports: [5432]
  rules:
  - from: [{ids: [spiffe://example.org/ns/shop/sa/cart]}]
    when:
    - attribute: k8s.namespace.name
      values: [shop]
      minProvenance: verified
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParse(t *testing.T) {
	c := mustParse(t, shop)
	if got := c.Proxy.Spec.Timeouts; got.Dial != 2*time.Second || got.Handshake != 10*time.Second || got.HalfOpen != time.Hour {
		t.Errorf("timeouts %+v", got)
	}
	if got := c.Proxy.Spec.Limits; got.Memory != 256<<20 || got.Connections != 10_000 {
		t.Errorf("limits %+v", got)
	}
	if got := c.Proxy.Spec.Metrics.Labels; len(got.App) != 0 || got.Namespace[0] != "k8s.namespace.name" {
		t.Errorf("labels %+v", got)
	}
	in := c.Inbounds[0]
	if in.Namespace != "shop" || in.Origin != "f.yaml:18" || !reflect.DeepEqual(in.Spec.Sessions, []Session{H2, Mux, Raw}) {
		t.Errorf("inbound %+v", in)
	}
	if got := in.Spec.Targets; len(got) != 2 || got[0].ProxyProtocol != ProxyProtocolV2 || got[1].ProxyProtocol != ProxyProtocolNone {
		t.Errorf("targets %+v", got)
	}
	if got := c.Outbounds[0].Spec.Expect; got[0].PathPrefix.String() != "spiffe://example.org/ns/db" || got[1].ID.Path() != "/db" {
		t.Errorf("expect %+v", got)
	}
	if got := c.Policies[0].Spec; got.Action != ActionAllow || got.Enforcement != Enforce || got.Ports[0] != 5432 || got.Rules[0].When[0].MinProvenance.String() != "verified" {
		t.Errorf("policy %+v", got)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// What is shown of a configuration is a configuration, and the same.
func TestShownIsTheSame(t *testing.T) {
	c := mustParse(t, shop)
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if again := mustParse(t, string(text)); again.Version != c.Version {
		t.Errorf("version %s became %s:\n%s", c.Version, again.Version, text)
	}
	shown, err := json.Marshal(c)
	if err != nil || !strings.Contains(string(shown), `"version":"`+c.Version+`"`) {
		t.Errorf("as JSON %.200s, %v", shown, err)
	}
	if err := compileSchema(t).validate(text); err != nil {
		t.Errorf("by the schema: %v", err)
	}
}

// Comments and layout make no other version; a setting does.
func TestVersion(t *testing.T) {
	c := mustParse(t, shop)
	if got := mustParse(t, "# A comment.\n"+strings.ReplaceAll(shop, "{name: sidecar}", "\n  name: 'sidecar'")); got.Version != c.Version {
		t.Error("layout makes another version")
	}
	if got := mustParse(t, strings.ReplaceAll(shop, "dial: 2s", "dial: 2000ms")); got.Version != c.Version {
		t.Error("another spelling makes another version")
	}
	if got := mustParse(t, strings.ReplaceAll(shop, "dial: 2s", "dial: 5s")); got.Version == c.Version {
		t.Error("another timeout makes no other version")
	}
	if got := mustParse(t, strings.ReplaceAll(shop, "ns/db", "ns/dc")); got.Version == c.Version {
		t.Error("another expected identity makes no other version")
	}
}

func TestNothingIsAllDefaults(t *testing.T) {
	c := mustParse(t, "# nothing\n---\n")
	if !reflect.DeepEqual(c.Proxy.Spec, withDefaults[ProxySpec]()) || c.Version == "" {
		t.Errorf("got %+v", c)
	}
}

func TestWarnings(t *testing.T) {
	c := mustParse(t, resourceOf(KindOutbound, "\n  listen: :1\n  to: db:1\n  expect:\n  - trustDomain: example.org\n")+
		"\n---\n"+resourceOf(KindInbound, "\n  listen: :2\n  plaintext: Permissive\n  acceptProxyProtocol: {from: [0.0.0.0/0]}\n  targets: [{name: a, address: \"a:1\"}, {name: b, address: \"b:2\"}]\n")+
		"\n---\n"+resourceOf(KindAuthorizationPolicy, "\n  targets: [a]\n")+
		"\n---\n"+resourceOf(KindProxy, "\n  metrics: {minProvenance: asserted}\n"))
	want := []string{
		"f.yaml:5: spec.listen: whoever can connect to :1 speaks with this workload's identity: loopback is safer",
		"f.yaml:8: spec.expect[0].trustDomain: any workload of example.org can be the server: expect an ID or a path prefix",
		"f.yaml:17: spec.acceptProxyProtocol.from[0]: anybody may say where a connection comes from with 0.0.0.0/0",
		"f.yaml:16: spec.plaintext: anybody who can connect reaches b, for which there is no ALLOW policy",
		"f.yaml:32: spec.metrics.minProvenance: labels are any peer's own word with asserted",
	}
	for _, w := range want {
		if !strings.Contains(strings.Join(c.Warnings, "\n"), w) {
			t.Errorf("no warning %q", w)
		}
	}
	if len(c.Warnings) != len(want) {
		t.Errorf("warnings:\n%s", strings.Join(c.Warnings, "\n"))
	}
}

func TestListenersOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{":1", ":1", true},
		{":1", ":2", false},
		{":0", ":0", false},
		{":1", "127.0.0.1:1", true},
		{":1", "[::1]:1", true},
		{"[::]:1", "127.0.0.1:1", true},
		{"0.0.0.0:1", "127.0.0.1:1", true},
		{"0.0.0.0:1", "[::1]:1", false},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"127.0.0.1:1", "[::ffff:127.0.0.1]:1", true},
		{"[fe80::1%a]:1", "[fe80::1%b]:1", false},
	} {
		a, errA := parseListen(c.a)
		b, errB := parseListen(c.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.overlaps(b) != c.want || b.overlaps(a) != c.want {
			t.Errorf("%s and %s overlap: want %v", c.a, c.b, c.want)
		}
	}
}

func TestQuantity(t *testing.T) {
	for text, want := range map[string]Quantity{"0": 0, "1": 1, "1k": 1000, "1Ki": 1024, "3Mi": 3 << 20, "2G": 2e9, "8Gi": 8 << 30, "1500": 1500} {
		q, err := ParseQuantity(text)
		if err != nil || q != want {
			t.Errorf("%s: got %d, %v, want %d", text, q, err, want)
		}
		if again, err := ParseQuantity(q.String()); err != nil || again != q {
			t.Errorf("%s: written as %s, read as %d, %v", text, q, again, err)
		}
	}
	for _, text := range []string{"", "k", "-1", "1.5Gi", "1 Gi", "1gi", "9223372036854775807Ki", "9999999999999999999"} {
		if q, err := ParseQuantity(text); err == nil {
			t.Errorf("took %q as %d", text, q)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Hour: "1h", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", 2*time.Hour + 20*time.Minute: "2h20m",
		time.Hour + time.Second: "1h0m1s", 5 * time.Millisecond: "5ms", 10 * time.Second: "10s", 100 * time.Hour: "100h",
	} {
		got := formatDuration(d)
		if back, err := parseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%v: got %s, %v, want %s", d, got, err, want)
		}
	}
}
