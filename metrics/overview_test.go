package metrics

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// only returns the edge of a protocol.
func only(t *testing.T, s State, protocol string) *EdgeState {
	t.Helper()
	i := slices.IndexFunc(s.Edges, func(e EdgeState) bool { return e.Protocol == protocol })
	if i < 0 {
		t.Fatalf("no edge of %s in %+v", protocol, s.Edges)
	}
	return &s.Edges[i]
}

func read(t *testing.T, o *Overview, window time.Duration) State {
	t.Helper()
	s, err := o.Read(t.Context(), window)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOverview has somebody ask late, and go on: totals are since the start, and
// rates of the window.
func TestOverview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{})
		p := web(t, tlsctx.Attribute{Name: "k8s.deployment.name", Value: "front", Provenance: tlsctx.Attested})
		q := f.Requests(toUs(p))
		ask := func(n int, r Request) {
			for range n {
				q.Record(r)
			}
		}
		ask(90, Request{Status: 200, Duration: 10 * time.Millisecond, RequestBytes: 1, ResponseBytes: 2})
		ask(10, Request{Status: 503, Duration: 100 * time.Millisecond})
		c := f.OpenConnection(inbound(p))
		c.SetProtocol(tlsctx.PostgreSQL, "client")
		c.Sent.Add(5)
		time.Sleep(time.Hour / 2)

		o := f.Overview()
		begun := time.Now()
		s := read(t, o, 10*time.Second)
		if took := time.Since(begun); took != leastWindow || s.Window != leastWindow {
			t.Errorf("the first answer takes %s, of a window of %s", took, s.Window)
		}
		e := only(t, s, protocolHTTP)
		if e.Total.Requests != 100 || e.Total.FailedRequests != 10 || e.Total.Sent != 90 || e.Total.Received != 180 || e.Recent.Requests != 0 {
			t.Errorf("total %+v, recent %+v", e.Total, e.Recent)
		}
		if e.Principal != p.ID.String() || e.Names.Workload != "front" || e.Names.Namespace != "shop" || e.Provenance != tlsctx.Attested || !e.Secured || !e.Aware {
			t.Errorf("peer %+v", e)
		}
		if e := only(t, s, protocolTCP); e.Open != 1 || e.Total.Connections != 1 || e.Total.Sent != 5 || e.Detected != tlsctx.PostgreSQL {
			t.Errorf("connections: %+v", e)
		}

		time.Sleep(8 * time.Second)
		ask(3, Request{Status: 200, Duration: time.Second})
		c.Close(Outcome{Flag: FlagUpstreamTermination, Reason: "upstream_reset"})
		time.Sleep(time.Second)
		begun = time.Now()
		s = read(t, o, 10*time.Second)
		if took := time.Since(begun); took != 0 || s.Window > 10*time.Second+freshness || s.Window < 9*time.Second {
			t.Errorf("the next answer takes %s, of a window of %s", took, s.Window)
		}
		e = only(t, s, protocolHTTP)
		if got := e.Recent.Durations.Quantile(0.5); e.Recent.Requests != 3 || e.Recent.FailedRequests != 0 || math.Abs(got/1000-1) > 0.05 {
			t.Errorf("recent %+v, median %v", e.Recent, got)
		}
		if e := only(t, s, protocolTCP); e.Open != 0 || e.Recent.FailedConnections != 1 || e.Recent.Connections != 0 {
			t.Errorf("connections: %+v", e)
		}
		time.Sleep(2 * time.Minute) // nobody asks: nothing is held
		synctest.Wait()
		if o.mu.Lock(); o.past != nil || o.latest.counts != nil {
			t.Error("readings are held although nobody asks")
		}
		o.mu.Unlock()
	})
}

// TestOverviewIsBounded has somebody ask without end.
func TestOverviewIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{})
		o := f.Overview()
		for range 500 {
			read(t, o, MaxWindow)
			time.Sleep(300 * time.Millisecond)
		}
		if n := len(o.past); n > maxReadings {
			t.Errorf("%d readings are held, want at most %d", n, maxReadings)
		}
		if s := read(t, o, time.Hour); s.Window > MaxWindow {
			t.Errorf("a window of %s", s.Window)
		}
		o.idle.Stop()
	})
}

// TestOverviewGivesUp has who asks first leave.
func TestOverviewGivesUp(t *testing.T) {
	f := newFixture(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := f.Overview()
	if _, err := o.Read(ctx, time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
	o.idle.Stop()
}

// TestOverviewOfStrangers tells apart who came without a handshake, and who was
// not reached, and counts those past the bound together.
func TestOverviewOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Config{Rules: Rules{MaxCombinations: 2}})
		f.OpenConnection(inbound(&tlsctx.Peer{})).Close(Outcome{})
		out := ConnectionInfo{Reporter: Source, Service: Service{Host: "nobody"}}
		f.OpenConnection(out).Close(Outcome{Flag: FlagUpstreamFailure, Reason: "connection_refused"})
		f.OpenConnection(inbound(web(t))).Close(Outcome{})
		o := f.Overview()
		var plain, none, others int
		for _, e := range read(t, o, time.Second).Edges {
			switch {
			case e.Principal == overflow:
				others++
				if e.Provenance != 0 || e.Attributes != nil {
					t.Errorf("%+v", e)
				}
			case e.Plaintext && !e.Secured:
				plain++
			case !e.Secured && e.Reporter == Source && e.Total.FailedConnections == 1:
				none++
			}
		}
		if plain != 1 || none != 1 || others != 1 {
			t.Errorf("%d in plaintext, %d not reached, %d of the others; want one of each", plain, none, others)
		}
		o.idle.Stop()
	})
}

// TestQuantiles compares with the exact ones of a heavy-tailed load, read twice.
func TestQuantiles(t *testing.T) {
	h := new(histogram)
	h.init(newScale(1, istioBuckets()))
	random := rand.New(rand.NewPCG(1, 2))
	observe := func(n int, factor float64) []float64 {
		values := make([]float64, n)
		for i := range values {
			v := uint64(factor * math.Exp(random.NormFloat64()*2+6))
			values[i] = float64(v)
			h.observe(v)
		}
		slices.Sort(values)
		return values
	}
	distribution := func() Distribution {
		var sum tally
		sum.add(h)
		return sum.distribution()
	}
	observe(50_000, 1)
	first := distribution()
	exact := observe(50_000, 7)
	later := distribution().since(first)
	if later.Count() != 50_000 {
		t.Fatalf("%d values", later.Count())
	}
	for _, q := range []float64{0.5, 0.9, 0.95, 0.99, 0.999} {
		want := exact[int(q*float64(len(exact)))]
		if got := later.Quantile(q); math.Abs(got/want-1) > 0.05 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	both := first.plus(later)
	if all := distribution(); !slices.Equal(both.buckets, all.buckets) || both.count != all.count {
		t.Error("both together are not the whole")
	}
	if got := (Distribution{}).Quantile(0.5); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
	var zeros tally
	zeros.zeros = 3
	if got := zeros.distribution().Quantile(0.99); got != 0 {
		t.Errorf("a quantile of zeros is %v", got)
	}
}

// TestFailed says the same of a request as of the series that it is counted in.
func TestFailed(t *testing.T) {
	for _, test := range []struct {
		request Request
		want    bool
	}{
		{Request{Status: 200}, false},
		{Request{Status: 404}, false},
		{Request{Status: 499}, false},
		{Request{Status: 500}, true},
		{Request{Status: 403, Outcome: Outcome{Flag: FlagDenied, Reason: "denied"}}, true},
		{Request{Outcome: Outcome{Flag: FlagDownstreamTermination, Reason: "client_gone"}}, true},
		{Request{Status: 200, IsGRPC: true}, false},
		{Request{Status: 200, IsGRPC: true, GRPC: 5}, false},
		{Request{Status: 200, IsGRPC: true, GRPC: 14}, true},
		{Request{Status: 200, IsGRPC: true, GRPC: -1}, false},
		{Request{Status: 200, GRPC: 14}, false},
	} {
		if got, counted := test.request.Failed(), answerOf(&test.request).failed(); got != test.want || counted != test.want {
			t.Errorf("%+v: failed is %v, and counted as %v; want %v", test.request, got, counted, test.want)
		}
	}
}

// TestIdle makes no event for a sink that wants none.
func TestIdle(t *testing.T) {
	s := &sleeper{asleep: true}
	w := new(witness)
	f := newFixture(t, Config{Sinks: []Sink{s, w}})
	act := func() {
		f.OpenConnection(inbound(web(t))).Close(Outcome{})
		f.Requests(toUs(web(t))).Record(Request{Status: 200})
	}
	act()
	if s.opened != nil || s.closed != nil || s.requests != 0 {
		t.Error("a sink that is idle was told")
	}
	s.asleep = false
	act()
	if len(s.opened) != 1 || len(s.closed) != 1 || s.requests != 1 || len(w.opened) != 2 || len(w.closed) != 2 {
		t.Errorf("told of %d, %d and %d; the other of %d and %d", len(s.opened), len(s.closed), s.requests, len(w.opened), len(w.closed))
	}
}

// sleeper is a witness that can be idle.
type sleeper struct {
	witness
	asleep   bool
	requests int
}

// Idle implements Idler.
func (s *sleeper) Idle() bool { return s.asleep }

// Requested implements RequestSink.
func (s *sleeper) Requested(*RequestEvent) { s.requests++ }
