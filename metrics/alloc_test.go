//go:build !race

package metrics

import (
	"crypto/tls"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestAllocConnection holds the cost of a connection to its guard: one
// allocation, with which the bytes are counted.
func TestAllocConnection(t *testing.T) {
	f := newFixture(t, Config{})
	info := inbound(web(t, tlsctx.Attribute{Name: "service.name", Value: "web", Provenance: tlsctx.Attested}))
	if n := testing.AllocsPerRun(1000, func() { f.OpenConnection(info).Close(Outcome{}) }); n > 1 {
		t.Errorf("opening and closing a guard allocates %v times, want once", n)
	}
}

// TestAllocCounts holds what is counted beside it to nothing.
func TestAllocCounts(t *testing.T) {
	f := newFixture(t, Config{})
	p := web(t)
	p.KeyExchange = tls.X25519MLKEM768
	for name, count := range map[string]func(){
		"Detected":   func() { f.Detected(Detection{Protocol: tlsctx.Redis, How: "client", Waited: time.Millisecond}) },
		"Authorized": func() { f.Authorized(Allowed, "rule", "allowed") },
		"LimitMet":   func() { f.LimitMet("connections") },
		"Handshake":  func() { f.Handshake(Server, time.Millisecond, p, nil) },
	} {
		if n := testing.AllocsPerRun(1000, count); n > 0 {
			t.Errorf("%s allocates %v times, want none", name, n)
		}
	}
}

// TestAllocRequest holds what a request costs to nothing that the collector sees.
func TestAllocRequest(t *testing.T) {
	f := newFixture(t, Config{Linkerd: true})
	s := f.OpenSession(SessionInfo{Side: Server, Kind: tlsctx.H2, Peer: web(t)})
	defer s.Close("ended")
	info := toUs(web(t))
	info.Via = s
	q := f.Requests(info)
	now := time.Now()
	for name, request := range map[string]Request{
		"HTTP":   {Method: "GET", Path: "/x", Status: 200, Start: now, Duration: time.Millisecond, RequestBytes: 10, ResponseBytes: 2000},
		"gRPC":   {Method: "POST", Path: "/x", Status: 200, IsGRPC: true, Start: now, Duration: time.Millisecond, RequestMessages: 1},
		"failed": {Status: 503, Start: now, Outcome: Outcome{Flag: FlagUpstreamFailure, Reason: "upstream_refused"}},
	} {
		q.Record(request)
		if n := testing.AllocsPerRun(1000, func() {
			s.StreamOpened()
			q.Record(request)
			s.StreamClosed()
		}); n > 0 {
			t.Errorf("%s: recording a request allocates %v times, want none", name, n)
		}
	}
}

// TestMemoryPerConnection keeps a guard small: there are thousands of idle ones.
func TestMemoryPerConnection(t *testing.T) {
	const most = 1024
	f := newFixture(t, Config{})
	info := inbound(web(t))
	bytes := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.OpenConnection(info).Close(Outcome{})
		}
	}).AllocedBytesPerOp()
	if bytes > most {
		t.Errorf("a guard takes %d bytes, want at most %d", bytes, most)
	}
}

// TestMillionPeers has a million peers, paths and authorities: neither series nor
// memory grow with them.
func TestMillionPeers(t *testing.T) {
	f := newFixture(t, Config{})
	domain := web(t).ID.TrustDomain()
	record := func(from, to int) {
		for i := range to - from {
			name := strconv.Itoa(from + i)
			id, err := spiffeid.FromSegments(domain, "ns", "shop", "sa", name)
			if err != nil {
				t.Fatal(err)
			}
			f.Requests(toUs(&tlsctx.Peer{ID: id})).Record(Request{Method: name, Authority: name, Path: name, Status: 200, Duration: time.Millisecond})
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	record(0, 10_000)
	before := heap()
	record(10_000, 1_000_000)
	if after := heap(); after > before+1<<20 {
		t.Errorf("%d bytes after a million, %d before", after, before)
	}
	if n := len(f.series(t, "istio_requests_total")); n != DefaultMaxCombinations+1 {
		t.Errorf("%d series, want %d", n, DefaultMaxCombinations+1)
	}
	if got, want := f.value(t, "istio_requests_total", "source_principal", "overflow"), 1_000_000.0-DefaultMaxCombinations; got != want {
		t.Errorf("%v under overflow, want %v", got, want)
	}
}
