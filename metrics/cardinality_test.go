package metrics

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestOverflow meets more peers than there may be combinations.
func TestOverflow(t *testing.T) {
	f := newFixture(t, Config{Rules: Rules{MaxCombinations: 10}})
	for i := range 1000 {
		f.OpenConnection(inbound(peer(t, fmt.Sprintf("spiffe://example.org/ns/shop/sa/w%d", i)))).Close(Outcome{})
	}
	opened := f.series(t, "istio_tcp_connections_opened_total")
	if len(opened) != 11 {
		t.Errorf("%d series, want 10 and the one of the overflow", len(opened))
	}
	total := 0.0
	for _, m := range opened {
		total += valueOf(m)
	}
	if total != 1000 {
		t.Errorf("%v connections opened, want 1000: none is lost", total)
	}
	if got := f.value(t, "istio_tcp_connections_opened_total", "source_workload", "overflow", "source_principal", "overflow"); got != 990 {
		t.Errorf("%v opened under overflow, want 990", got)
	}
	if got := f.value(t, "hallmark_metrics_overflowed_total", "metric", "istio_tcp"); got != 990 {
		t.Errorf("%v counted as overflowed, want 990", got)
	}
}

// TestExpiry forgets who has not called for long, and nobody who is connected.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{Rules: Rules{MaxCombinations: 2, IdleExpiry: time.Hour}, Linkerd: true})
		gone := peer(t, "spiffe://example.org/ns/shop/sa/gone")
		held := f.OpenConnection(inbound(web(t)))
		f.OpenConnection(inbound(gone)).Close(Outcome{})
		time.Sleep(59 * time.Minute)
		if n := len(f.series(t, "istio_tcp_connections_opened_total")); n != 2 {
			t.Errorf("%d series before their time, want 2", n)
		}
		time.Sleep(time.Minute)
		if n := len(f.series(t, "istio_tcp_connections_opened_total")); n != 1 {
			t.Errorf("%d series, want that of the open connection", n)
		}
		held.Close(Outcome{})
		f.OpenConnection(inbound(gone)).Close(Outcome{}) // there is room again
		if got := f.value(t, "hallmark_metrics_overflowed_total", "metric", "istio_tcp"); got != 0 {
			t.Errorf("%v overflowed, want 0", got)
		}
		// Without a scrape in between, being full is what makes room.
		time.Sleep(2 * time.Hour)
		f.OpenConnection(inbound(peer(t, "spiffe://example.org/ns/shop/sa/new"))).Close(Outcome{})
		if got := f.value(t, "istio_tcp_connections_opened_total", "source_workload", "new"); got != 1 {
			t.Errorf("new is %v, want 1", got)
		}
	})
}

// TestExpiryOff keeps everything.
func TestExpiryOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{Rules: Rules{IdleExpiry: -1}})
		f.OpenConnection(inbound(web(t))).Close(Outcome{})
		time.Sleep(1000 * time.Hour)
		if n := len(f.series(t, "istio_tcp_connections_opened_total")); n != 1 {
			t.Errorf("%d series, want 1", n)
		}
	})
}

// TestSameLabels has different things that must not become two series with the
// same labels: a scrape would fail as a whole.
func TestSameLabels(t *testing.T) {
	f := newFixture(t, Config{})
	long := strings.Repeat("x", 300)
	for _, service := range []Service{
		{Host: "a.b.svc"},
		{Host: "a.b.svc", Name: "a"},
		{Host: "a.b.svc", Name: "a", Namespace: "b"},
		{},
		{Host: "unknown"},
		{Name: "unknown", Namespace: "db"},
		{Host: long + "1", Name: "n"},
		{Host: long + "2", Name: "n"},
		{Host: "a\x01"},
		{Host: "a\x02"},
	} {
		for _, reporter := range []Reporter{Source, Destination} {
			info := inbound(web(t))
			info.Reporter, info.Service = reporter, service
			f.OpenConnection(info).Close(Outcome{})
		}
	}
	if got := len(f.series(t, "istio_tcp_connections_opened_total")); got != 4+5 { // fails if gathering does
		t.Errorf("%d series, want 4 of the destination, and 5 of the source, where db is not the destination's namespace", got)
	}
}

func TestServiceNames(t *testing.T) {
	for _, test := range []struct{ given, want Service }{
		{Service{Host: "pg.db.svc.cluster.local"}, Service{"pg.db.svc.cluster.local", "pg", "db"}},
		{Service{Host: "pg.db.svc"}, Service{"pg.db.svc", "pg", "db"}},
		{Service{Host: "db.internal"}, Service{"db.internal", "db.internal", "shop"}},
		{Service{Host: "pg.db.service.consul"}, Service{"pg.db.service.consul", "pg.db.service.consul", "shop"}},
		{Service{Host: "pg.db.svc", Name: "x", Namespace: "y"}, Service{"pg.db.svc", "x", "y"}},
		{Service{}, Service{"unknown", "unknown", "shop"}},
		{Service{Name: "pg"}, Service{"pg", "pg", "shop"}},
	} {
		if got := test.given.complete("shop"); got != test.want {
			t.Errorf("%+v became %+v, want %+v", test.given, got, test.want)
		}
	}
}

// TestOpenSets has more rules, and stranger ones, than a counter holds.
func TestOpenSets(t *testing.T) {
	f := newFixture(t, Config{})
	for i := range maxOpenSet + 50 {
		f.Authorized(Denied, fmt.Sprintf("rule %d", i), "no_match")
	}
	f.Authorized(Allowed, "", "")
	if n := len(f.series(t, "hallmark_authorizations_total")); n != maxOpenSet+1 {
		t.Errorf("%d series, want %d", n, maxOpenSet+1)
	}
	if got := f.value(t, "hallmark_authorizations_total", "rule", "overflow"); got != 51 {
		t.Errorf("overflow is %v, want 51", got)
	}
	if got := f.value(t, "hallmark_metrics_overflowed_total", "metric", "hallmark_authorizations_total"); got != 51 {
		t.Errorf("overflowed is %v, want 51", got)
	}
	f.LimitMet("\n\xffevil\u202e")
	if got := f.value(t, "hallmark_limits_met_total", "limit", "\ufffd\ufffdevil\ufffd"); got != 1 {
		t.Errorf("a strange name: %v", f.series(t, "hallmark_limits_met_total"))
	}
}

// TestPeersWords has a peer choose the protocol and the session.
func TestPeersWords(t *testing.T) {
	f := newFixture(t, Config{})
	for i := range 100 {
		word := fmt.Sprintf("made-up-%d", i)
		info := inbound(web(t))
		info.Protocol, info.Session = tlsctx.Protocol(word), tlsctx.Session(word)
		f.OpenConnection(info).Close(Outcome{})
		f.Detected(Detection{Protocol: tlsctx.Protocol(word), How: "peer"})
		f.OpenSession(SessionInfo{Side: Server, Kind: tlsctx.Session(word), Peer: web(t)}).Close("ended")
	}
	for _, name := range []string{
		"hallmark_connections_closed_total", "hallmark_detections_total", "hallmark_sessions_opened_total",
		"hallmark_sessions_closed_total", "hallmark_sessions_open",
	} {
		if all := f.series(t, name); len(all) != 1 {
			t.Errorf("%s has %d series: %v", name, len(all), all)
		}
	}
	f.Handshake(Server, time.Second, nil, errors.New("not of tlsctx"))
	if got := f.value(t, "hallmark_handshake_failures_total", "reason", "other"); got != 1 {
		t.Errorf("a failure without a reason: %v", f.series(t, "hallmark_handshake_failures_total"))
	}
}
