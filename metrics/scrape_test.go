package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestScrapeHoldsUpNobody opens connections while a scrape is stuck half-way.
func TestScrapeHoldsUpNobody(t *testing.T) {
	f := newFixture(t, Config{Linkerd: true})
	f.OpenConnection(inbound(web(t))).Close(Outcome{})
	ch := make(chan prometheus.Metric)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.traffic.Collect(ch)
	}()
	<-ch // and no further
	f.OpenConnection(inbound(web(t))).Close(Outcome{})
	f.OpenConnection(inbound(peer(t, "spiffe://example.org/ns/shop/sa/new"))).Close(Outcome{})
	for {
		select {
		case <-ch:
		case <-done:
			return
		}
	}
}
