package metrics

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// toUs are requests that the peer sends to us.
func toUs(p *tlsctx.Peer) RequestsInfo {
	return RequestsInfo{
		Reporter: Destination, Peer: p, Service: Service{Host: "postgres.db.svc.cluster.local"},
		Target: "postgres", Listener: "in", Session: tlsctx.H2,
	}
}

func TestRequestLabels(t *testing.T) {
	f := newFixture(t, Config{})
	q := f.Requests(toUs(web(t,
		tlsctx.Attribute{Name: "k8s.cluster.name", Value: "east", Provenance: tlsctx.Attested},
		tlsctx.Attribute{Name: "k8s.deployment.name", Value: "billing", Provenance: tlsctx.Asserted},
	)))
	q.Record(Request{
		Method: "GET", Authority: "evil.example", Path: "/x", Status: 200, GRPC: -1, RequestBytes: 10, ResponseBytes: 2000,
		Duration: 7 * time.Millisecond, FirstByte: time.Millisecond,
	})
	common := []string{
		"reporter", "destination", "connection_security_policy", "mutual_tls",
		"source_workload", "web", "source_workload_namespace", "shop", "source_cluster", "east",
		"source_canonical_service", "web", "source_principal", "spiffe://example.org/ns/shop/sa/web",
		"destination_workload", "postgres", "destination_workload_namespace", "db", "destination_cluster", "",
		"destination_principal", "spiffe://example.org/ns/db/sa/postgres",
		"destination_service", "postgres.db.svc.cluster.local", "destination_service_name", "postgres", "destination_service_namespace", "db",
	}
	for name, value := range map[string]float64{
		"istio_requests_total": 1, "istio_request_duration_milliseconds": 1, "istio_request_bytes": 1, "istio_response_bytes": 1,
	} {
		labels, got := f.one(t, name)
		want(t, labels, append(common, "request_protocol", "http", "response_code", "200", "grpc_response_status", "", "response_flags", "-")...)
		if got != value || len(labels) != len(istioLabels())+3 {
			t.Errorf("%s is %v with %d labels", name, got, len(labels))
		}
	}
	h := f.series(t, "istio_request_duration_milliseconds")[0].GetHistogram()
	if h.GetSampleSum() != 7 {
		t.Errorf("a request of 7 ms took %v ms", h.GetSampleSum())
	}
	if h := f.series(t, "istio_response_bytes")[0].GetHistogram(); h.GetSampleSum() != 2000 {
		t.Errorf("a response of 2000 bytes has %v", h.GetSampleSum())
	}
	if all := f.series(t, "istio_request_messages_total"); all != nil {
		t.Errorf("messages of gRPC, although there was none: %v", all)
	}
	if all := f.series(t, "istio_tcp_connections_opened_total"); all != nil {
		t.Errorf("a request is not a connection: %v", all)
	}
}

// TestRequestEndings has requests end in every way.
func TestRequestEndings(t *testing.T) {
	f := newFixture(t, Config{})
	q := f.Requests(toUs(web(t)))
	for _, test := range []struct {
		request                      Request
		protocol, code, status, flag string
	}{
		{Request{Status: 200, GRPC: -1}, "http", "200", "", "-"},
		{Request{Status: 200, GRPC: 13}, "http", "200", "", "-"}, // not gRPC's
		{Request{Status: 200, IsGRPC: true}, "grpc", "200", "0", "-"},
		{Request{Status: 200, IsGRPC: true, GRPC: 14}, "grpc", "200", "14", "-"},
		{Request{Status: 200, IsGRPC: true, GRPC: -1}, "grpc", "200", "", "-"},
		{Request{Status: 200, IsGRPC: true, GRPC: 4711}, "grpc", "200", "2", "-"},
		{Request{GRPC: -1, Outcome: Outcome{Flag: FlagDownstreamTermination, Reason: "client_gone"}}, "http", "0", "", "DC"},
		{Request{Status: 503, Outcome: Outcome{Flag: FlagUpstreamFailure, Reason: "upstream_refused"}}, "http", "503", "", "UF"},
		{Request{Status: 99999, Outcome: Outcome{Flag: 200}}, "http", "0", "", "-"},
		{Request{Status: -5, RequestBytes: -1, ResponseBytes: -1, Duration: -1}, "http", "0", "", "-"},
	} {
		labels := []string{
			"request_protocol", test.protocol, "response_code", test.code, "grpc_response_status", test.status, "response_flags", test.flag,
		}
		before := f.value(t, "istio_requests_total", labels...)
		q.Record(test.request)
		if got := f.value(t, "istio_requests_total", labels...); got != before+1 {
			t.Errorf("%+v: %q is %v, want %v", test.request, labels, got, before+1)
		}
	}
	for reason, n := range map[string]float64{"client_gone": 1, "upstream_refused": 1, ReasonOK: 0} {
		if got := f.value(t, "hallmark_http_failures_total", "reason", reason, "reporter", "destination"); got != n {
			t.Errorf("%s: %v, want %v", reason, got, n)
		}
	}
}

// TestMessages counts those of a stream that goes on.
func TestMessages(t *testing.T) {
	f := newFixture(t, Config{})
	q := f.Requests(toUs(web(t)))
	q.Messages(3, 5)
	q.Record(Request{Status: 200, IsGRPC: true, RequestMessages: 1, ResponseMessages: 2})
	labels, got := f.one(t, "istio_request_messages_total")
	want(t, labels, "request_protocol", "grpc", "source_workload", "web")
	if got != 4 {
		t.Errorf("%v messages of requests, want 4", got)
	}
	if _, got := f.one(t, "istio_response_messages_total"); got != 7 {
		t.Errorf("%v messages of responses, want 7", got)
	}
}

// TestRequestSource is the outbound side: the server's context fills the labels
// of the destination, and there may have been none.
func TestRequestSource(t *testing.T) {
	f := newFixture(t, Config{})
	info := RequestsInfo{Reporter: Source, Service: Service{Host: "shop.shop.svc"}}
	f.Requests(info).Record(Request{Status: 503, Outcome: Outcome{Flag: FlagUpstreamFailure, Reason: "upstream_refused"}})
	info.Peer = web(t)
	f.Requests(info).Record(Request{Status: 200})
	for _, labels := range [][]string{
		{"destination_workload", "unknown", "destination_workload_namespace", "unknown", "destination_cluster", "", "destination_principal", "unknown", "source_principal", "unknown", "connection_security_policy", "none", "response_code", "503", "response_flags", "UF"},
		{"destination_workload", "web", "destination_workload_namespace", "shop", "source_workload", "postgres", "connection_security_policy", "mutual_tls", "response_code", "200"},
	} {
		labels = append(labels, "reporter", "source", "destination_service_name", "shop", "destination_service_namespace", "shop")
		if got := f.value(t, "istio_requests_total", labels...); got != 1 {
			t.Errorf("%q is %v, want 1", labels, got)
		}
	}
}

// TestCluster has nobody say in which cluster they are.
func TestCluster(t *testing.T) {
	f := newFixture(t, Config{Rules: Rules{Cluster: "east"}})
	for _, p := range []*tlsctx.Peer{web(t), peer(t, "spiffe://partner.test/ns/shop/sa/web"), nil} {
		f.Requests(toUs(p)).Record(Request{Status: 200})
	}
	for _, labels := range [][]string{
		{"source_workload", "web", "source_cluster", "east"},
		{"source_principal", "spiffe://partner.test/ns/shop/sa/web", "source_cluster", ""},
		{"connection_security_policy", "none", "source_cluster", ""},
	} {
		if got := f.value(t, "istio_requests_total", append(labels, "destination_cluster", "east")...); got != 1 {
			t.Errorf("%q is %v, want 1", labels, got)
		}
	}
}

// TestRequestsFollow has the rules change and the identity rotate under requests
// that go on.
func TestRequestsFollow(t *testing.T) {
	f := newFixture(t, Config{})
	q := f.Requests(toUs(peer(t, "spiffe://partner.test/ns/shop/sa/web")))
	q.Record(Request{Status: 200})
	q.Record(Request{Status: 200})
	rules := Rules{Templates: kubernetes(), Foreign: []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("partner.test")}}
	if err := f.Apply(rules); err != nil {
		t.Fatal(err)
	}
	q.Record(Request{Status: 200})
	f.own.source = identity.Static{Current: f.domain.Snapshot(t, "/ns/db/sa/mysql", identity.Attributes{})}
	q.Record(Request{Status: 200})
	for labels, n := range map[[2]string]float64{{"unknown", "postgres"}: 2, {"web", "postgres"}: 1, {"web", "mysql"}: 1} {
		if got := f.value(t, "istio_requests_total", "source_workload", labels[0], "destination_workload", labels[1]); got != n {
			t.Errorf("from %s to %s: %v, want %v", labels[0], labels[1], got, n)
		}
	}
}

// TestRequestOverflow meets more peers, services and answers than there may be.
func TestRequestOverflow(t *testing.T) {
	f := newFixture(t, Config{Linkerd: true, Rules: Rules{MaxCombinations: 10}})
	for i := range 1000 {
		f.Requests(toUs(peer(t, fmt.Sprintf("spiffe://example.org/ns/shop/sa/w%d", i)))).Record(Request{
			Status: 200, Authority: fmt.Sprint(i), Path: fmt.Sprint(i), Method: fmt.Sprint(i),
		})
	}
	if n := len(f.series(t, "istio_requests_total")); n != 11 {
		t.Errorf("%d series, want 10 and the one of the overflow", n)
	}
	if got := f.value(t, "istio_requests_total", "source_workload", "overflow"); got != 990 {
		t.Errorf("%v under overflow, want 990", got)
	}
	if got := f.value(t, "hallmark_metrics_overflowed_total", "metric", "istio_requests"); got != 990 {
		t.Errorf("%v counted as overflowed, want 990", got)
	}
	f = newFixture(t, Config{Linkerd: true})
	q := f.Requests(toUs(web(t)))
	for code := range 600 {
		for flag := range Flag(flags) {
			q.Record(Request{Status: code, IsGRPC: code%2 == 0, GRPC: code % 17, Outcome: Outcome{Flag: flag}})
		}
	}
	if got := f.value(t, "hallmark_metrics_overflowed_total", "metric", "istio_requests"); got == 0 {
		t.Error("what is told apart by its class alone is not counted")
	}
	all := f.series(t, "istio_requests_total")
	if most := 2 * (maxAnswers + 6); len(all) > most {
		t.Errorf("%d series, want at most %d", len(all), most)
	}
	total := 0.0
	for _, m := range all {
		total += valueOf(m)
	}
	if total != 600*float64(flags) {
		t.Errorf("%v requests, want %d: none is lost", total, 600*flags)
	}
	if got := f.value(t, "istio_requests_total", "response_code", "5xx", "response_flags", "overflow"); got == 0 {
		t.Error("none under 5xx")
	}
	if got := f.value(t, "response_total", "status_code", "5xx", "classification", "failure"); got == 0 {
		t.Error("none under 5xx for linkerd")
	}
}

// TestRoomAgain has requests go on that were too many once.
func TestRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{Rules: Rules{MaxCombinations: 2, IdleExpiry: time.Hour}})
		f.Requests(toUs(web(t))).Record(Request{Status: 200})
		f.Requests(toUs(nil)).Record(Request{Status: 200})
		q := f.Requests(toUs(peer(t, "spiffe://example.org/ns/shop/sa/cart")))
		for range 5 {
			q.Record(Request{Status: 200})
			time.Sleep(25 * time.Minute)
		}
		for workload, want := range map[string]float64{"overflow": 3, "cart": 2} {
			if got := f.value(t, "istio_requests_total", "source_workload", workload); got != want {
				t.Errorf("%v of %s, want %v", got, workload, want)
			}
		}
	})
}

// TestManyAnswers has few peers that are answered in more ways, all in all, than
// there may be combinations.
func TestManyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{Rules: Rules{MaxCombinations: 10, IdleExpiry: time.Hour}})
		all := func() {
			for i := range 8 {
				q := f.Requests(toUs(peer(t, fmt.Sprintf("spiffe://example.org/ns/shop/sa/w%d", i))))
				for code := 200; code < 210; code++ {
					q.Record(Request{Status: code})
				}
			}
		}
		all()
		first := len(f.series(t, "istio_requests_total"))
		if most := 8 + 10 + 8; first > most {
			t.Errorf("%d series, want at most %d: one and a coarse one for each peer, and ten more", first, most)
		}
		if got := f.value(t, "istio_requests_total", "source_workload", "w7", "response_code", "2xx"); got != 9 {
			t.Errorf("%v of w7 under 2xx, want 9", got)
		}
		time.Sleep(2 * time.Hour)
		if n := len(f.series(t, "istio_requests_total")); n != 0 {
			t.Fatalf("%d series, want none", n)
		}
		if n := f.traffic.ways.Load(); n != 0 {
			t.Errorf("%d ways are left of nothing", n)
		}
	})
}

// TestRequestExpiry has requests come back to what was forgotten.
func TestRequestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{Rules: Rules{IdleExpiry: time.Hour}, Linkerd: true})
		q := f.Requests(toUs(web(t)))
		q.Record(Request{Status: 200})
		busy := f.Requests(RequestsInfo{Reporter: Destination, Peer: web(t), Service: Service{Host: "cache.db.svc"}})
		for range 3 {
			time.Sleep(59 * time.Minute)
			busy.Record(Request{Status: 200})
		}
		if all := f.series(t, "istio_requests_total"); len(all) != 1 || valueOf(all[0]) != 3 {
			t.Errorf("%v, want what is busy", all)
		}
		if got := f.value(t, "request_total"); got != 4 {
			t.Errorf("linkerd's sum is %v, want 4: it never goes down", got)
		}
		q.Record(Request{Status: 200})
		if got := f.value(t, "istio_requests_total", "destination_service_name", "postgres"); got != 1 {
			t.Errorf("%v, want the one that came back", got)
		}
	})
}

// TestRequestRace has a request end while its series is being forgotten, over and
// over: none is lost to linkerd's sums, which remember.
func TestRequestRace(t *testing.T) {
	f := newFixture(t, Config{Linkerd: true, Rules: Rules{IdleExpiry: time.Hour}})
	q := f.Requests(toUs(web(t)))
	const rounds = 2000
	now := time.Now()
	expired := 0
	for range rounds {
		now = now.Add(3 * time.Hour)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { q.Record(Request{Status: 200, Start: now}) })
		}
		f.traffic.mu.Lock()
		before := len(f.traffic.series)
		f.traffic.expire(f.rules.Load(), now)
		expired += before - len(f.traffic.series)
		f.traffic.mu.Unlock()
		wg.Wait()
	}
	var all []*series
	f.traffic.mu.Lock()
	defer f.traffic.mu.Unlock()
	for _, s := range f.traffic.series {
		all = append(all, s)
	}
	var n uint64
	for _, totals := range f.traffic.linkerd.requests.sum(all) {
		n += totals.count
	}
	if n != 2*rounds {
		t.Errorf("%d requests, want %d, with %d series forgotten", n, 2*rounds, expired)
	}
}

// TestExemplars has traces stand for buckets.
func TestExemplars(t *testing.T) {
	f := newFixture(t, Config{})
	q := f.Requests(toUs(web(t)))
	trace := tlsctx.Traceparent{TraceID: [16]byte{0xab}, SpanID: [8]byte{1}}
	q.Record(Request{Status: 200, Duration: time.Second, Trace: trace}) // not sampled
	trace.Flags = 1
	start := time.Now()
	q.Record(Request{Status: 200, Start: start, Duration: 7 * time.Millisecond, Trace: trace})
	q.Record(Request{Status: 200, Start: start, Duration: 8 * time.Millisecond, Trace: tlsctx.Traceparent{TraceID: [16]byte{0xcd}, Flags: 1}}) // too soon
	q.Record(Request{Status: 200, Start: start, Duration: 1000 * time.Hour, Trace: trace})                                                     // past the last bound
	h := f.series(t, "istio_request_duration_milliseconds")[0].GetHistogram()
	var in []float64
	for _, b := range h.GetBucket() {
		if e := b.GetExemplar(); e != nil {
			in = append(in, b.GetUpperBound())
			if got := e.GetLabel()[1]; got.GetName() != "trace_id" || got.GetValue() != "ab000000000000000000000000000000" {
				t.Errorf("exemplar %v", e)
			}
		}
	}
	if len(in) != 2 || in[0] != 10 || len(h.GetExemplars()) != 2 {
		t.Errorf("exemplars in %v", in)
	}
}

// recorded is a sink that keeps what it is told.
type recorded struct {
	requests []RequestEvent
}

// Opened implements Sink.
func (*recorded) Opened(*Event) {}

// Closed implements Sink.
func (*recorded) Closed(*Event) {}

// Requested implements RequestSink.
func (s *recorded) Requested(e *RequestEvent) { s.requests = append(s.requests, *e) }

func TestRequestSinks(t *testing.T) {
	sink := new(recorded)
	f := newFixture(t, Config{Sinks: []Sink{sink, connectionsOnly{}}})
	q := f.Requests(toUs(web(t)))
	failure := errors.New("refused")
	q.Record(Request{Path: "/a", Status: 503, Outcome: Outcome{Reason: "upstream_refused", Err: failure}})
	q.Record(Request{Path: "/b", Status: 200})
	if len(sink.requests) != 2 {
		t.Fatalf("told of %d requests, want 2", len(sink.requests))
	}
	first, second := sink.requests[0], sink.requests[1]
	if first.Path != "/a" || !errors.Is(first.Outcome.Err, failure) || first.Peer.ID != web(t).ID || first.Own == nil || first.Start.IsZero() {
		t.Errorf("first: %+v", first)
	}
	if second.Path != "/b" || second.Outcome.Err != nil || second.Outcome.Reason != ReasonOK {
		t.Errorf("second: %+v", second)
	}
}

// connectionsOnly is a sink that is told of connections alone.
type connectionsOnly struct{}

// Opened implements Sink.
func (connectionsOnly) Opened(*Event) {}

// Closed implements Sink.
func (connectionsOnly) Closed(*Event) {}

// TestSessionRequests has a session carry requests.
func TestSessionRequests(t *testing.T) {
	f := newFixture(t, Config{})
	s := f.OpenSession(SessionInfo{Side: Server, Kind: tlsctx.H2, Peer: web(t)})
	defer s.Close("ended")
	info := toUs(web(t))
	info.Via = s
	q := f.Requests(info)
	for range 3 {
		s.StreamOpened()
	}
	s.StreamClosed()
	q.Record(Request{Status: 200, RequestBytes: 10, ResponseBytes: 20})
	state := f.Sessions(0)[0]
	if state.Streams != 2 || state.Total != 3 || state.Sent != 10 || state.Received != 20 {
		t.Errorf("session %+v", state)
	}
	if got := f.value(t, "hallmark_streams_open", "side", "server"); got != 2 {
		t.Errorf("hallmark_streams_open is %v, want 2", got)
	}
	if got := f.value(t, "hallmark_streams_opened_total", "side", "server"); got != 3 {
		t.Errorf("hallmark_streams_opened_total is %v, want 3", got)
	}
}

func TestLinkerdRequests(t *testing.T) {
	f := newFixture(t, Config{Linkerd: true})
	id := web(t).ID.String()
	q := f.Requests(toUs(web(t)))
	q.Record(Request{Status: 200, FirstByte: 3 * time.Millisecond, Duration: time.Second})
	q.Record(Request{Status: 500, FirstByte: time.Hour, Duration: 2 * time.Hour})
	q.Record(Request{Outcome: Outcome{Flag: FlagDownstreamTermination, Reason: "client_gone"}}) // no response
	q.Record(Request{Status: 200, IsGRPC: true, GRPC: 14})
	for _, test := range []struct {
		name   string
		want   float64
		labels []string
	}{
		{"request_total", 4, []string{"direction", "inbound", "tls", "true", "client_id", id, "server_id", ""}},
		{"response_total", 1, []string{"status_code", "200", "classification", "success", "client_id", id}},
		{"response_total", 1, []string{"status_code", "500", "classification", "failure"}},
		{"response_total", 1, []string{"status_code", "200", "classification", "failure", "grpc_status", "14"}},
		{"response_total", 0, []string{"status_code", "0"}},
		{"response_latency_ms", 1, []string{"status_code", "200", "classification", "success"}},
	} {
		if got := f.value(t, test.name, test.labels...); got != test.want {
			t.Errorf("%s%q is %v, want %v", test.name, test.labels, got, test.want)
		}
	}
	for _, m := range f.series(t, "response_latency_ms") {
		labels := labelsOf(m)
		h := m.GetHistogram()
		if labels["classification"] == "success" && (h.GetSampleSum() != 3 || h.GetBucket()[1].GetCumulativeCount() != 0 || h.GetBucket()[2].GetCumulativeCount() != 1) {
			t.Errorf("3 ms: %v", h)
		}
		if labels["status_code"] == "500" && (h.GetSampleCount() != 1 || h.GetBucket()[len(h.GetBucket())-1].GetCumulativeCount() != 0) {
			t.Errorf("an hour: %v", h)
		}
	}
	f = newFixture(t, Config{Linkerd: true})
	f.Requests(RequestsInfo{Reporter: Source, Peer: web(t)}).Record(Request{Status: 200})
	if got := f.value(t, "request_total", "direction", "outbound", "server_id", id, "client_id", ""); got != 1 {
		t.Errorf("outbound: %v", f.series(t, "request_total"))
	}
}
