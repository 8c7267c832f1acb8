package metrics

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func TestHandshakes(t *testing.T) {
	f := newFixture(t, Config{})
	attested := web(t, tlsctx.Attribute{Name: "service.name", Value: "x", Provenance: tlsctx.Attested})
	attested.KeyExchange = tls.X25519MLKEM768
	unaware := peer(t, "spiffe://example.org/other")
	unaware.Aware, unaware.KeyExchange = false, tls.X25519
	f.Handshake(Server, time.Millisecond, attested, nil)
	f.Handshake(Client, time.Millisecond, unaware, nil)
	f.Handshake(Server, time.Second, nil, fmt.Errorf("wrapped: %w", &tlsctx.Error{Reason: tlsctx.Untrusted, Err: errors.New("x")}))
	for _, test := range []struct {
		name   string
		labels []string
	}{
		{"hallmark_handshake_duration_seconds", []string{"side", "server"}},
		{"hallmark_handshake_duration_seconds", []string{"side", "client"}},
		{"hallmark_handshake_failures_total", []string{"side", "server", "reason", "untrusted_identity"}},
		{"hallmark_handshakes_total", []string{"side", "server", "key_exchange", "X25519MLKEM768"}},
		{"hallmark_handshakes_total", []string{"side", "client", "key_exchange", "X25519"}},
		{"hallmark_peers_total", []string{"side", "server", "awareness", "aware", "provenance", "attested"}},
		{"hallmark_peers_total", []string{"side", "client", "awareness", "unaware", "provenance", "none"}},
	} {
		if got := f.value(t, test.name, test.labels...); got != 1 {
			t.Errorf("%s%q is %v, want 1: %v", test.name, test.labels, got, f.series(t, test.name))
		}
	}
	h := f.series(t, "hallmark_handshake_duration_seconds")[0].GetHistogram()
	if len(h.GetBucket()) != len(handshakeBuckets()) {
		t.Errorf("%d classic buckets", len(h.GetBucket()))
	}
	if h.GetSchema() != 3 || len(h.GetPositiveSpan()) == 0 { // factor 2^(2^-3) = 1.09
		t.Errorf("no native histogram of factor 1.1: schema %d", h.GetSchema())
	}
}

func TestDetections(t *testing.T) {
	f := newFixture(t, Config{})
	f.Detected(Detection{Protocol: tlsctx.Redis, How: "client", Waited: time.Millisecond})
	f.Detected(Detection{Protocol: tlsctx.MySQL, How: "server", Speculated: true, Adopted: true})
	f.Detected(Detection{Protocol: tlsctx.HTTP1, How: "client", Speculated: true})
	f.Detected(Detection{Protocol: tlsctx.Opaque, How: "stalled", Capped: true})
	for outcome, want := range map[string]float64{"opened": 2, "adopted": 1, "discarded": 1, "capped": 1} {
		if got := f.value(t, "hallmark_speculations_total", "outcome", outcome); got != want {
			t.Errorf("%s %v, want %v", outcome, got, want)
		}
	}
	if got := f.value(t, "hallmark_detections_total", "protocol", "mysql", "how", "server"); got != 1 {
		t.Errorf("mysql %v, want 1", got)
	}
	if _, got := f.one(t, "hallmark_detection_duration_seconds"); got != 1 {
		t.Errorf("%v durations, want that of the one that was waited for", got)
	}
}

func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{})
		info := SessionInfo{Side: Server, Kind: tlsctx.Mux, Peer: web(t), Remote: "10.0.0.1:1"}
		s := f.OpenSession(info)
		second := f.OpenSession(SessionInfo{Side: Client, Kind: tlsctx.Raw, Peer: web(t)})
		begun := time.Now()
		time.Sleep(time.Minute)
		for range 3 {
			done := s.OpenStream()
			c := f.OpenConnection(ConnectionInfo{Reporter: Destination, Peer: web(t), Via: s})
			c.Sent.Add(10)
			c.Received.Add(1)
			c.Close(Outcome{})
			done()
		}
		defer s.OpenStream()()
		open := f.OpenConnection(ConnectionInfo{Reporter: Destination, Peer: web(t), Via: s})
		open.Sent.Add(5)

		states := f.Sessions(0)
		if len(states) != 2 {
			t.Fatalf("%d sessions, want 2", len(states))
		}
		got := states[0]
		if got.ID != s.ID() || got.SessionInfo != info || !got.Opened.Equal(begun) || got.Streams != 1 || got.Total != 4 || got.Sent != 35 || got.Received != 3 {
			t.Errorf("session %+v", got)
		}
		if n := len(f.Sessions(1)); n != 1 {
			t.Errorf("%d sessions, want at most 1", n)
		}
		for name, want := range map[string]float64{"hallmark_streams_open": 1, "hallmark_streams_opened_total": 4, "hallmark_sessions_open": 1} {
			if got := f.value(t, name, "side", "server"); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		open.Close(Outcome{})
		s.Close("max_age")
		s.Close("ended") // too late
		second.Close("ended")
		if n := len(f.Sessions(0)); n != 0 {
			t.Errorf("%d sessions, want none", n)
		}
		if got := f.value(t, "hallmark_sessions_closed_total", "side", "server", "kind", "mux", "reason", "max_age"); got != 1 {
			t.Errorf("closed: %v", f.series(t, "hallmark_sessions_closed_total"))
		}
		if got := f.value(t, "hallmark_sessions_open", "side", "server"); got != 0 {
			t.Errorf("open %v, want 0", got)
		}
	})
}

// TestConnections lists what is open.
func TestConnections(t *testing.T) {
	f := newFixture(t, Config{})
	first := f.OpenConnection(inbound(web(t)))
	first.SetProtocol(tlsctx.Redis, "client")
	first.Sent.Add(3)
	second := f.OpenConnection(inbound(web(t)))
	if n := len(f.Connections(1)); n != 1 {
		t.Errorf("%d connections, want at most 1", n)
	}
	second.Close(Outcome{})
	open := f.Connections(0)
	if len(open) != 1 || open[0].ID != first.ID() || open[0].Protocol != tlsctx.Redis || open[0].How != "client" || open[0].Sent != 3 {
		t.Errorf("open %+v", open)
	}
	first.Close(Outcome{})
	if n := len(f.Connections(0)); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
}

func TestReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{})
		f.Reloaded(1, nil)
		at := float64(time.Now().Unix())
		time.Sleep(time.Hour)
		f.Reloaded(1, errors.New("no"))
		for name, want := range map[string]float64{
			"hallmark_config_generation": 1, "hallmark_config_last_reload_successful": 0,
			"hallmark_config_last_reload_success_timestamp_seconds": at,
		} {
			if _, got := f.one(t, name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		for result, want := range map[string]float64{"ok": 1, "failed": 1} {
			if got := f.value(t, "hallmark_config_reloads_total", "result", result); got != want {
				t.Errorf("%s %v, want %v", result, got, want)
			}
		}
	})
}

// TestIdentity follows a store through its life.
func TestIdentity(t *testing.T) {
	store := new(identity.Store)
	r, err := New(Config{Identity: store, Rules: Rules{Templates: kubernetes()}})
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{Recorder: r}
	check := func(ready, up float64) {
		t.Helper()
		if _, got := f.one(t, "hallmark_identity_ready"); got != ready {
			t.Errorf("ready %v, want %v", got, ready)
		}
		if _, got := f.one(t, "hallmark_identity_source_up"); got != up {
			t.Errorf("up %v, want %v", got, up)
		}
	}
	check(0, 1)
	store.Fail(errors.New("away"))
	check(0, 0)
	if all := f.series(t, "hallmark_svid_expiry_timestamp_seconds"); all != nil {
		t.Errorf("an SVID that there is not expires: %v", all)
	}
	domain, partner := ca.New(t, "example.org"), ca.New(t, "partner.test")
	ca.Federate(domain, partner)
	if err := store.Publish(domain.Snapshot(t, "/ns/db/sa/pg", identity.Attributes{})); err != nil {
		t.Fatal(err)
	}
	check(1, 1)
	current, err := store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, got := f.one(t, "hallmark_svid_expiry_timestamp_seconds"); got != float64(current.NotAfter().Unix()) {
		t.Errorf("SVID expires at %v, want %v", got, current.NotAfter().Unix())
	}
	for _, d := range []*ca.Domain{domain, partner} {
		want := float64(d.Bundle().X509Authorities()[0].NotAfter.Unix())
		if got := f.value(t, "hallmark_bundle_expiry_timestamp_seconds", "trust_domain", d.TrustDomain().Name()); got != want {
			t.Errorf("bundle of %s expires at %v, want %v", d.TrustDomain(), got, want)
		}
	}
	store.Fail(errors.New("away again"))
	check(1, 0)

	// Our own labels follow the identity.
	f.OpenConnection(ConnectionInfo{Reporter: Source, Peer: web(t)}).Close(Outcome{})
	if err := store.Publish(domain.Snapshot(t, "/ns/db/sa/mysql", identity.Attributes{})); err != nil {
		t.Fatal(err)
	}
	f.OpenConnection(ConnectionInfo{Reporter: Source, Peer: web(t)}).Close(Outcome{})
	for _, workload := range []string{"pg", "mysql"} {
		if got := f.value(t, "istio_tcp_connections_opened_total", "source_workload", workload); got != 1 {
			t.Errorf("%s opened %v, want 1", workload, got)
		}
	}
}

// TestOwnAttested believes our own CA where peers would.
func TestOwnAttested(t *testing.T) {
	domain := ca.New(t, "example.org")
	extension, err := tlsctx.AttestedExtension(ca.Attributes(t, "k8s.deployment.name", "pg-0"))
	if err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string]ca.SVIDOption{"valid": ca.WithKeyType(ca.P256), "expired": ca.Expired()} {
		snapshot := domain.Snapshot(t, "/ns/db/sa/pg", identity.Attributes{}, ca.WithExtension(extension), option)
		rules := Rules{Templates: kubernetes()}
		rules.Attested = append(rules.Attested, domain.TrustDomain())
		r, err := New(Config{Identity: identity.Static{Current: snapshot}, Rules: rules})
		if err != nil {
			t.Fatal(err)
		}
		f := fixture{Recorder: r}
		f.OpenConnection(ConnectionInfo{Reporter: Source, Peer: web(t)}).Close(Outcome{})
		labels, _ := f.one(t, "istio_tcp_connections_opened_total")
		workload := map[string]string{"valid": "pg-0", "expired": "pg"}[name] // what an expired SVID attests is not to be believed
		want(t, labels, "source_workload", workload, "source_workload_namespace", "db", "source_principal", "spiffe://example.org/ns/db/sa/pg")
	}
}

func TestBadLabels(t *testing.T) {
	for _, labels := range []Labels{{"workloads": {"service.name"}}, {LabelApp: {"Not A Name"}}} {
		if _, err := New(Config{Rules: Rules{Labels: labels}}); err == nil {
			t.Errorf("New takes %v", labels)
		}
		f := newFixture(t, Config{})
		if err := f.Apply(Rules{Labels: labels}); err == nil {
			t.Errorf("Apply takes %v", labels)
		}
	}
}

// TestConcurrentUse lets everything happen at once, for the race detector, and
// counts afterwards.
func TestConcurrentUse(t *testing.T) {
	f := newFixture(t, Config{Linkerd: true, Rules: Rules{MaxCombinations: 5}})
	var wg sync.WaitGroup
	const workers, each = 8, 200
	for i := range workers {
		wg.Go(func() {
			p := peer(t, fmt.Sprintf("spiffe://example.org/ns/shop/sa/w%d", i))
			for range each {
				c := f.OpenConnection(inbound(p))
				c.Sent.Add(1)
				c.SetProtocol(tlsctx.Redis, "client")
				c.Close(Outcome{})
			}
		})
	}
	for range 20 {
		if _, err := f.Gatherer().Gather(); err != nil {
			t.Error(err)
		}
		if err := f.Apply(Rules{Templates: kubernetes(), MaxCombinations: 5}); err != nil {
			t.Error(err)
		}
		f.Connections(3)
		f.Sessions(3)
	}
	wg.Wait()
	for _, name := range []string{"istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total", "istio_tcp_received_bytes_total"} {
		total := 0.0
		for _, m := range f.series(t, name) {
			total += valueOf(m)
		}
		if total != workers*each {
			t.Errorf("%s: %v in all, want %d", name, total, workers*each)
		}
	}
}
