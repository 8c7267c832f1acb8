package metrics

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// fixture is a recorder of the workload /ns/db/sa/postgres of example.org.
type fixture struct {
	*Recorder
	domain   *ca.Domain
	snapshot *identity.Snapshot
}

// kubernetes are the templates of example.org and partner.test.
func kubernetes() tlsctx.Templates {
	templates := make(tlsctx.Templates)
	for _, name := range []string{"example.org", "partner.test"} {
		templates[spiffeid.RequireTrustDomainFromString(name)] = []tlsctx.Template{tlsctx.KubernetesTemplate()}
	}
	return templates
}

func newFixture(tb testing.TB, config Config) fixture {
	tb.Helper()
	domain := ca.New(tb, "example.org")
	snapshot := domain.Snapshot(tb, "/ns/db/sa/postgres", ca.Attributes(tb, "k8s.deployment.name", "pg", "service.version", "17"))
	config.Identity = identity.Static{Current: snapshot}
	config.Templates = kubernetes()
	r, err := New(config)
	if err != nil {
		tb.Fatal(err)
	}
	return fixture{r, domain, snapshot}
}

// peer is who a handshake has established. Its attributes are given as names,
// values and provenances.
func peer(tb testing.TB, id string, attributes ...tlsctx.Attribute) *tlsctx.Peer {
	tb.Helper()
	parsed := spiffeid.RequireFromString(id)
	p := &tlsctx.Peer{ID: parsed, Aware: true, Session: tlsctx.Raw, Attributes: attributes}
	if stated, ok := tlsctx.KubernetesTemplate().Match(parsed); ok {
		for _, a := range stated {
			p.Attributes = append(p.Attributes, tlsctx.Attribute{Name: a.Name, Value: a.Value, Provenance: tlsctx.Verified})
		}
	}
	slices.SortFunc(p.Attributes, func(a, b tlsctx.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return p
}

func web(tb testing.TB, attributes ...tlsctx.Attribute) *tlsctx.Peer {
	tb.Helper()
	return peer(tb, "spiffe://example.org/ns/shop/sa/web", attributes...)
}

// series returns the metrics of a name, gathered from the registry.
func (f fixture) series(tb testing.TB, name string) []*dto.Metric {
	tb.Helper()
	families, err := f.Gatherer().Gather()
	if err != nil {
		tb.Fatalf("gather: %v", err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()
		}
	}
	return nil
}

// one returns the labels and the value of the only series of a name.
func (f fixture) one(tb testing.TB, name string) (labels map[string]string, value float64) {
	tb.Helper()
	all := f.series(tb, name)
	if len(all) != 1 {
		tb.Fatalf("%s has %d series, want 1: %v", name, len(all), all)
	}
	return labelsOf(all[0]), valueOf(all[0])
}

func labelsOf(m *dto.Metric) map[string]string {
	labels := make(map[string]string)
	for _, pair := range m.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	return labels
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	default:
		return float64(m.Histogram.GetSampleCount())
	}
}

// value returns the value of the series with these labels, alternating, and no
// others that matter; 0 if there is none.
func (f fixture) value(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	for _, m := range f.series(tb, name) {
		have := labelsOf(m)
		matches := true
		for pair := range slices.Chunk(labels, 2) {
			matches = matches && have[pair[0]] == pair[1]
		}
		if matches {
			return valueOf(m)
		}
	}
	return 0
}

// inbound is a connection that the peer has opened to us.
func inbound(p *tlsctx.Peer) ConnectionInfo {
	return ConnectionInfo{
		Reporter: Destination, Peer: p, Service: Service{Host: "postgres.db.svc.cluster.local"},
		Target: "postgres", Listener: "in", Client: netip.MustParseAddrPort("10.0.0.1:40000"), Session: tlsctx.Raw,
	}
}

// want fails for every label that is not as wanted.
func want(tb testing.TB, labels map[string]string, namesAndValues ...string) {
	tb.Helper()
	for pair := range slices.Chunk(namesAndValues, 2) {
		if got, ok := labels[pair[0]]; !ok || got != pair[1] {
			tb.Errorf("label %s is %q (there: %v), want %q", pair[0], got, ok, pair[1])
		}
	}
}

func TestStandardLabels(t *testing.T) {
	f := newFixture(t, Config{})
	f.OpenConnection(inbound(web(t,
		tlsctx.Attribute{Name: "k8s.deployment.name", Value: "web-7", Provenance: tlsctx.Attested},
		tlsctx.Attribute{Name: "k8s.cluster.name", Value: "east", Provenance: tlsctx.Attested},
		tlsctx.Attribute{Name: "service.version", Value: "2.1", Provenance: tlsctx.Attested},
	))).Close(Outcome{Flag: FlagDownstreamTermination, Reason: "reset"})

	labels, value := f.one(t, "istio_tcp_connections_opened_total")
	if value != 1 {
		t.Errorf("opened %v, want 1", value)
	}
	whole := []string{
		"reporter", "destination", "request_protocol", "tcp", "connection_security_policy", "mutual_tls", "response_flags", "-",
		"source_workload", "web-7", "source_workload_namespace", "shop", "source_app", "web-7", "source_version", "2.1",
		"source_cluster", "east", "source_canonical_service", "web-7", "source_canonical_revision", "2.1",
		"source_principal", "spiffe://example.org/ns/shop/sa/web",
		// What we assert of ourselves does not count for us either.
		"destination_workload", "postgres", "destination_workload_namespace", "db", "destination_app", "postgres",
		"destination_version", "unknown", "destination_cluster", "", "destination_canonical_service", "postgres",
		"destination_canonical_revision", "unknown", "destination_principal", "spiffe://example.org/ns/db/sa/postgres",
		"destination_service", "postgres.db.svc.cluster.local", "destination_service_name", "postgres", "destination_service_namespace", "db",
	}
	want(t, labels, whole...)
	if len(labels) != len(whole)/2 {
		t.Errorf("%d labels, want the %d of ztunnel: %v", len(labels), len(whole)/2, labels)
	}
	labels, _ = f.one(t, "istio_tcp_connections_closed_total")
	want(t, labels, "response_flags", "DC", "source_workload", "web-7")
	if got := f.value(t, "hallmark_connections_closed_total", "reporter", "destination", "reason", "reset", "session", "raw"); got != 1 {
		t.Errorf("hallmark_connections_closed_total is %v, want 1", got)
	}
}

// TestNoLie gives what nobody has verified every chance to get into a label.
func TestNoLie(t *testing.T) {
	asserted := []tlsctx.Attribute{
		{Name: "k8s.deployment.name", Value: "billing", Provenance: tlsctx.Asserted},
		{Name: "service.name", Value: "billing", Provenance: tlsctx.Asserted},
		{Name: "service.version", Value: "9", Provenance: tlsctx.Asserted},
		{Name: "k8s.cluster.name", Value: "vault", Provenance: tlsctx.Asserted},
	}
	foreign := "spiffe://partner.test/ns/shop/sa/web"
	partner := spiffeid.RequireTrustDomainFromString("partner.test")
	for _, test := range []struct {
		name  string
		rules Rules
		peer  *tlsctx.Peer
		want  []string
	}{
		{"asserted", Rules{}, web(t, asserted...), []string{
			"source_workload", "web", "source_app", "web", "source_canonical_service", "web", "source_version", "unknown",
			"source_cluster", "", "source_workload_namespace", "shop", "source_principal", "spiffe://example.org/ns/shop/sa/web",
		}},
		{"asserted by opt-in", Rules{MinProvenance: tlsctx.Asserted}, web(t, asserted...), []string{
			"source_workload", "billing", "source_version", "9", "source_cluster", "vault", "destination_workload", "pg",
			"source_principal", "spiffe://example.org/ns/shop/sa/web",
		}},
		{"attested only", Rules{MinProvenance: tlsctx.Attested}, web(t, asserted...), []string{
			"source_workload", "unknown", "source_workload_namespace", "unknown", "source_principal", "spiffe://example.org/ns/shop/sa/web",
		}},
		{"foreign", Rules{}, peer(t, foreign), []string{
			"source_workload", "unknown", "source_workload_namespace", "unknown", "source_principal", foreign,
		}},
		{"foreign by opt-in", Rules{Foreign: []spiffeid.TrustDomain{partner}}, peer(t, foreign), []string{
			"source_workload", "web", "source_workload_namespace", "shop", "source_principal", foreign,
		}},
		{"plaintext", Rules{MinProvenance: tlsctx.Asserted}, &tlsctx.Peer{Attributes: asserted}, []string{
			"source_workload", "unknown", "source_principal", "unknown", "destination_principal", "unknown",
			"destination_workload", "pg", "connection_security_policy", "none",
		}},
		{"nobody", Rules{}, nil, []string{
			"source_workload", "unknown", "source_principal", "unknown", "connection_security_policy", "none",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, Config{})
			test.rules.Templates = kubernetes()
			if err := f.Apply(test.rules); err != nil {
				t.Fatal(err)
			}
			f.OpenConnection(inbound(test.peer)).Close(Outcome{})
			labels, _ := f.one(t, "istio_tcp_connections_opened_total")
			want(t, labels, test.want...)
			session := none // inbound says raw: in plaintext there is none
			if test.peer != nil && test.peer.Secured() {
				session = "raw"
			}
			if got := f.value(t, "hallmark_connections_closed_total", "session", session); got != 1 {
				t.Errorf("session: %v", f.series(t, "hallmark_connections_closed_total"))
			}
		})
	}
}

// TestBytesWhileOpen is about connections that live for days.
func TestBytesWhileOpen(t *testing.T) {
	for _, test := range []struct {
		reporter Reporter
		info     ConnectionInfo
	}{
		{Destination, inbound(web(t))},
		{Source, ConnectionInfo{Reporter: Source, Peer: web(t), Service: Service{Host: "shop"}}},
	} {
		t.Run(string(test.reporter), func(t *testing.T) {
			f := newFixture(t, Config{})
			c := f.OpenConnection(test.info)
			c.Sent.Add(100)
			c.Received.Add(7)
			check := func(sent, received float64) {
				t.Helper()
				// Towards the destination is what Istio calls received, at both ends.
				if _, got := f.one(t, "istio_tcp_received_bytes_total"); got != sent {
					t.Errorf("istio_tcp_received_bytes_total is %v, want %v", got, sent)
				}
				if _, got := f.one(t, "istio_tcp_sent_bytes_total"); got != received {
					t.Errorf("istio_tcp_sent_bytes_total is %v, want %v", got, received)
				}
			}
			check(100, 7)
			check(100, 7) // nothing is counted twice
			if got := f.value(t, "hallmark_connections_open", "reporter", string(test.reporter)); got != 1 {
				t.Errorf("hallmark_connections_open is %v, want 1", got)
			}
			c.Sent.Add(1)
			c.Close(Outcome{})
			c.Close(Outcome{Flag: FlagLocalReset}) // too late
			check(101, 7)
			if _, got := f.one(t, "istio_tcp_connections_closed_total"); got != 1 {
				t.Errorf("closed %v, want 1", got)
			}
			if got := f.value(t, "hallmark_connections_open", "reporter", string(test.reporter)); got != 0 {
				t.Errorf("hallmark_connections_open is %v, want 0", got)
			}
		})
	}
}
