package metrics

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// edgeLabels are those that Kiali's graph groups requests by
// (graph/telemetry/istio/istio.go), and edgeLabelsTCP those for bytes.
const (
	endLabels = "source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision," +
		"destination_cluster,destination_service_namespace,destination_service,destination_service_name," +
		"destination_workload_namespace,destination_workload,destination_canonical_service,destination_canonical_revision"
	edgeLabels    = endLabels + ",request_protocol,response_code,grpc_response_status,response_flags"
	edgeLabelsTCP = "app," + endLabels + ",response_flags"
)

// sidecarOf is a recorder of a workload, with the identity that a handshake with
// it establishes.
type sidecarOf struct {
	*Recorder

	id *tlsctx.Peer
}

func newSidecar(t *testing.T, domain *ca.Domain, path string) sidecarOf {
	t.Helper()
	c := Config{Identity: identity.Static{Current: domain.Snapshot(t, path, identity.Attributes{})}}
	c.Templates = kubernetes()
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return sidecarOf{r, peer(t, "spiffe://example.org"+path)}
}

// requests returns what both sidecars record requests between them with.
func requests(client, server sidecarOf, host string) func(Request) {
	out := client.Requests(RequestsInfo{Reporter: Source, Peer: server.id, Service: Service{Host: host}, Session: tlsctx.H2})
	in := server.Requests(RequestsInfo{Reporter: Destination, Peer: client.id, Service: Service{Host: host}, Session: tlsctx.H2})
	return func(r Request) {
		out.Record(r)
		in.Record(r)
	}
}

// serve has Prometheus scrape the sidecars, each an instance.
func serve(t *testing.T, all ...sidecarOf) prometheus3 {
	t.Helper()
	var targets []string
	for _, s := range all {
		server := httptest.NewServer(s.Handler())
		t.Cleanup(server.Close)
		targets = append(targets, server.Listener.Addr().String())
	}
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return startPrometheus(t, targets...)
}

// edge is an edge of Kiali's graph.
type edge struct{ from, to, service, protocol, code, flags string }

// edges turns results into edges by Kiali's rules: what has a namespace and is
// said to be in no known cluster is dropped, and a response code of gRPC's is its
// status.
func edges(a results) map[edge]bool {
	known := func(value string) bool { return value != "" && value != unknown }
	found := make(map[edge]bool)
	for _, r := range a.Data.Result {
		m := r.Metric
		for _, end := range []struct{ namespace, cluster string }{
			{"source_workload_namespace", "source_cluster"}, {"destination_service_namespace", "destination_cluster"},
		} {
			if cluster, given := m[end.cluster]; known(m[end.namespace]) && given && !known(cluster) {
				m = nil
			}
		}
		if m == nil || known(m["source_workload_namespace"]) && !known(m["source_workload"]) && !known(m["source_canonical_service"]) {
			continue
		}
		code := m["response_code"]
		status, given := m["grpc_response_status"]
		switch {
		case code == "0":
			code = "-"
		case m["request_protocol"] == "grpc" && !strings.HasPrefix(code, "4") && !strings.HasPrefix(code, "5") && given:
			code = status
		}
		found[edge{
			m["source_workload"] + "." + m["source_workload_namespace"], m["destination_workload"] + "." + m["destination_workload_namespace"],
			m["destination_service_name"] + "." + m["destination_service_namespace"], m["request_protocol"], code, m["response_flags"],
		}] = true
	}
	return found
}

// edgesOf asks until the query has as many edges as wanted, and then whether they
// are those.
func (p prometheus3) edgesOf(t *testing.T, query string, want ...edge) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got map[edge]bool
	for {
		if got = edges(p.query(t, "round("+query+",0.001)")); len(got) >= len(want) {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %+v, want %+v", query, got, want)
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, e := range want {
		if !got[e] {
			t.Errorf("%s: no edge %+v", query, e)
		}
		delete(got, e)
	}
	for _, e := range slices.Collect(maps.Keys(got)) {
		t.Errorf("%s: an edge %+v", query, e)
	}
}

// TestKiali sends the queries that Kiali's graph sends, with a real Prometheus
// between, and wants the edges of what happened.
func TestKiali(t *testing.T) {
	domain := ca.New(t, "example.org")
	web, cart, ledger := newSidecar(t, domain, "/ns/shop/sa/web"), newSidecar(t, domain, "/ns/shop/sa/cart"), newSidecar(t, domain, "/ns/bank/sa/ledger")
	webToCart := requests(web, cart, "cart.shop.svc.cluster.local")
	cartToLedger := requests(cart, ledger, "ledger.bank.svc.cluster.local")
	gone := web.Requests(RequestsInfo{Reporter: Source, Service: Service{Host: "ledger.bank.svc.cluster.local"}})
	tcp := web.OpenConnection(ConnectionInfo{Reporter: Source, Peer: ledger.id, Service: Service{Host: "db.bank.svc.cluster.local"}})
	defer tcp.Close(Outcome{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	defer func() {
		stop()
		<-done
	}()
	ticker := time.NewTicker(20 * time.Millisecond) // a rate needs traffic that goes on
	go func() {
		defer close(done)
		defer ticker.Stop()
		for {
			webToCart(Request{Authority: "evil", Status: 200, Duration: 30 * time.Millisecond, ResponseBytes: 1000})
			webToCart(Request{Status: 500, Duration: time.Millisecond})
			cartToLedger(Request{Status: 200, IsGRPC: true, Duration: time.Millisecond, RequestMessages: 1, ResponseMessages: 2})
			cartToLedger(Request{Status: 200, IsGRPC: true, GRPC: 14, Duration: time.Millisecond})
			gone.Record(Request{Status: 503, Outcome: Outcome{Flag: FlagUpstreamFailure, Reason: "upstream_refused"}})
			tcp.Received.Add(100)
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	p := serve(t, web, cart, ledger)

	const wc, cl = "cart.shop", "ledger.bank"
	fine, failed := edge{"web.shop", wc, wc, "http", "200", "-"}, edge{"web.shop", wc, wc, "http", "500", "-"}
	ok, unavailable := edge{wc, cl, cl, "grpc", "0", "-"}, edge{wc, cl, cl, "grpc", "14", "-"}
	refused := edge{"web.shop", "unknown.unknown", cl, "http", "503", "UF"}
	query := func(metric, selector, by string) string {
		return fmt.Sprintf(`sum(rate(%s{%s} [10s])) by (%s) > 0`, metric, selector, by)
	}
	unserviced := func(namespace string) string {
		return fmt.Sprintf(`reporter="source",source_workload_namespace!="%s",destination_workload_namespace="unknown",destination_workload="unknown",destination_service=~"^.+\\.%s\\..+$"`, namespace, namespace)
	}
	// Requests: those that reach nobody, those that come in, those that go out.
	p.edgesOf(t, query("istio_requests_total", unserviced("bank"), edgeLabels), refused)
	p.edgesOf(t, query("istio_requests_total", `reporter="destination",destination_workload_namespace="shop"`, edgeLabels), fine, failed)
	p.edgesOf(t, query("istio_requests_total", `reporter="destination",destination_workload_namespace="bank"`, edgeLabels), ok, unavailable)
	p.edgesOf(t, query("istio_requests_total", `reporter="source",source_workload_namespace="shop"`, edgeLabels), fine, failed, ok, unavailable, refused)
	// Messages of gRPC, and bytes of TCP.
	messages := edge{from: wc, to: cl, service: cl}
	for _, metric := range []string{"istio_request_messages_total", "istio_response_messages_total"} {
		p.edgesOf(t, query(metric, `reporter="destination",destination_workload_namespace="bank"`, endLabels), messages)
	}
	p.edgesOf(t, query("istio_tcp_sent_bytes_total", `app!="ztunnel",reporter="source",source_workload_namespace="shop"`, edgeLabelsTCP),
		edge{from: "web.shop", to: cl, service: "db.bank", flags: "-"})
	// Response times, from classic buckets, and their average; throughput. A scrape
	// may come between two requests of a round: they are not exactly as many.
	took := func(query string, least, most float64) {
		t.Helper()
		a := p.query(t, query)
		for _, r := range a.Data.Result {
			if got, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64); err != nil || got < least || got > most {
				t.Errorf("%s: %v, want %v to %v", query, r.Value, least, most)
			}
		}
	}
	const incoming = `reporter=~"destination|waypoint",destination_service_namespace="shop"`
	took(`histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{`+incoming+`}[10s])) by (le,`+endLabels+`,request_protocol)) > 0`, 25, 50)
	took(`sum(rate(istio_request_duration_milliseconds_sum{`+incoming+`}[10s])) by (`+endLabels+`) / sum(rate(istio_request_duration_milliseconds_count{`+incoming+`}[10s])) by (`+endLabels+`) > 0`, 13, 18)
	took(`sum(rate(istio_response_bytes_sum{`+incoming+`}[10s])) / sum(rate(istio_response_bytes_count{`+incoming+`}[10s]))`, 430, 570)
}

// TestQuantile has two instances serve a load with a heavy tail, the one much
// slower than the other, and wants the 99th percentile of both together within 5%
// of the exact one: native buckets add up, and are narrow everywhere.
func TestQuantile(t *testing.T) {
	domain := ca.New(t, "example.org")
	client := newSidecar(t, domain, "/ns/shop/sa/web")
	fast, slow := newSidecar(t, domain, "/ns/shop/sa/cart"), newSidecar(t, domain, "/ns/shop/sa/cart")
	p := serve(t, fast, slow)
	start := p.query(t, `count(up{job="hallmark"} == 1) == 2`) // both are there before they count anything
	if len(start.Data.Result) != 1 {
		t.Fatalf("%+v", start)
	}
	r := rand.New(rand.NewPCG(5, 6))
	var all []float64
	for _, load := range []struct {
		server sidecarOf
		median float64 // in milliseconds
		n      int
	}{{fast, 2, 20_000}, {slow, 40, 5_000}} {
		q := load.server.Requests(RequestsInfo{Reporter: Destination, Peer: client.id, Service: Service{Host: "cart.shop.svc"}, Session: tlsctx.H2})
		for range load.n { // Pareto, whose tail is a power
			ms := load.median / math.Pow(1-r.Float64(), 1/1.2)
			took := time.Duration(ms * float64(time.Millisecond))
			q.Record(Request{Status: 200, Duration: took})
			all = append(all, float64(took)/float64(time.Millisecond))
		}
	}
	slices.Sort(all)
	for _, quantile := range []float64{.5, .9, .99, .999} {
		exact := all[int(quantile*float64(len(all)))-1]
		a := p.query(t, fmt.Sprintf(`histogram_quantile(%v, sum by (destination_workload) (istio_request_duration_milliseconds{reporter="destination"})) and on () (sum(istio_requests_total) == %d)`, quantile, len(all)))
		got, err := strconv.ParseFloat(fmt.Sprint(a.Data.Result[0].Value[1]), 64)
		if err != nil || math.Abs(got/exact-1) > .05 {
			t.Errorf("p%v is %v ms, want %v within 5%%", 100*quantile, got, exact)
		}
		t.Logf("p%v: exact %.3f ms, native %.3f ms (%+.2f%%)", 100*quantile, exact, got, 100*(got/exact-1))
	}
	// What classic buckets make of it.
	a := p.query(t, `histogram_quantile(0.99, sum by (le) (istio_request_duration_milliseconds_bucket))`)
	t.Logf("p99 from classic buckets: %v ms", a.Data.Result[0].Value[1])
}
