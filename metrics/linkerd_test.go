package metrics

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func TestLinkerdIsOptional(t *testing.T) {
	f := newFixture(t, Config{})
	f.OpenConnection(inbound(web(t))).Close(Outcome{})
	if all := f.series(t, "tcp_open_total"); all != nil {
		t.Errorf("linkerd's names although nobody asked: %v", all)
	}
}

func TestLinkerdNames(t *testing.T) {
	f := newFixture(t, Config{Linkerd: true})
	id := web(t).ID.String()
	c := f.OpenConnection(inbound(web(t)))
	c.Sent.Add(100)
	c.Received.Add(7)
	// Another service is another combination, and the same to linkerd.
	other := inbound(web(t))
	other.Service = Service{Host: "cache.db.svc"}
	f.OpenConnection(other).Close(Outcome{Flag: FlagUpstreamFailure, Reason: "refused"})
	for _, test := range []struct {
		name   string
		want   float64
		labels []string
	}{
		{"tcp_open_total", 2, []string{"direction", "inbound", "peer", "src", "tls", "true", "client_id", id, "server_id", ""}},
		{"tcp_open_total", 2, []string{"direction", "inbound", "peer", "dst", "tls", "no_identity", "no_tls_reason", "loopback", "client_id", ""}},
		{"tcp_open_connections", 1, []string{"peer", "src"}},
		{"tcp_read_bytes_total", 100, []string{"peer", "src"}},
		{"tcp_write_bytes_total", 7, []string{"peer", "src"}},
		{"tcp_read_bytes_total", 7, []string{"peer", "dst"}},
		{"tcp_write_bytes_total", 100, []string{"peer", "dst"}},
		{"tcp_close_total", 1, []string{"peer", "src", "errno", "ECONNREFUSED"}},
		{"tcp_close_total", 0, []string{"peer", "src", "errno", ""}},
	} {
		if got := f.value(t, test.name, test.labels...); got != test.want {
			t.Errorf("%s%q is %v, want %v", test.name, test.labels, got, test.want)
		}
	}
	c.Close(Outcome{})
	if got := f.value(t, "tcp_close_total", "peer", "dst", "errno", ""); got != 1 {
		t.Errorf("closed in order: %v, want 1", got)
	}
}

// TestLinkerdOutbound has several peers behind one loopback end.
func TestLinkerdOutbound(t *testing.T) {
	f := newFixture(t, Config{Linkerd: true})
	for _, p := range []*tlsctx.Peer{web(t), peer(t, "spiffe://example.org/ns/shop/sa/cart"), nil} {
		f.OpenConnection(ConnectionInfo{Reporter: Source, Peer: p}).Close(Outcome{})
	}
	for _, test := range []struct {
		want   float64
		labels []string
	}{
		{3, []string{"direction", "outbound", "peer", "src", "no_tls_reason", "loopback"}},
		{1, []string{"direction", "outbound", "peer", "dst", "server_id", web(t).ID.String(), "tls", "true"}},
		{1, []string{"direction", "outbound", "peer", "dst", "tls", "no_identity", "no_tls_reason", "not_provided_by_remote"}},
	} {
		if got := f.value(t, "tcp_open_total", test.labels...); got != test.want {
			t.Errorf("%q is %v, want %v", test.labels, got, test.want)
		}
	}
}

// TestLinkerdNeverGoesDown has a combination expire while another goes on that is
// the same to linkerd: to Prometheus a counter that goes down begins anew.
func TestLinkerdNeverGoesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{Linkerd: true, Rules: Rules{IdleExpiry: time.Hour}})
		held := f.OpenConnection(inbound(web(t)))
		brief := inbound(web(t))
		brief.Service = Service{Host: "cache.db.svc"}
		c := f.OpenConnection(brief)
		c.Sent.Add(5)
		c.Close(Outcome{})
		opened := func() float64 { return f.value(t, "tcp_open_total", "peer", "src") }
		if got := opened(); got != 2 {
			t.Fatalf("opened %v, want 2", got)
		}
		time.Sleep(2 * time.Hour)
		for range 2 {
			if got := opened(); got != 2 {
				t.Errorf("opened %v after one combination went, want 2", got)
			}
		}
		if got := f.value(t, "tcp_read_bytes_total", "peer", "src"); got != 5 {
			t.Errorf("read %v, want 5", got)
		}
		held.Close(Outcome{})
		time.Sleep(2 * time.Hour)
		opened() // the last of them goes
		f.OpenConnection(inbound(web(t))).Close(Outcome{})
		if got := opened(); got != 1 {
			t.Errorf("opened %v when all begins anew, want 1", got)
		}
	})
}
