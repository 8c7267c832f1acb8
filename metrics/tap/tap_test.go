package tap

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// names name nobody.
type names struct{}

// Names implements Namer.
func (names) Names(p *tlsctx.Peer) metrics.Names {
	return metrics.Names{Workload: "w", Namespace: "n", Provenance: tlsctx.Verified}
}

func web() *tlsctx.Peer {
	return &tlsctx.Peer{
		ID: spiffeid.RequireFromString("spiffe://example.org/ns/shop/sa/web"), Aware: true,
		Attributes: tlsctx.Attributes{
			{Name: "k8s.namespace.name", Value: "shop", Provenance: tlsctx.Verified},
			{Name: "service.version", Value: "2.1\x1b[31m\u202e", Provenance: tlsctx.Asserted},
		},
	}
}

func orders() *tlsctx.Peer {
	return &tlsctx.Peer{ID: spiffeid.RequireFromString("spiffe://example.org/ns/shop/sa/orders")}
}

// get is a request of web to orders, at orders.
func get() *metrics.RequestEvent {
	return &metrics.RequestEvent{
		RequestsInfo: metrics.RequestsInfo{
			Reporter: metrics.Destination, Peer: web(), Service: metrics.Service{Host: "orders.shop.svc"},
			Target: "orders", Listener: "in", Session: tlsctx.H2,
		},
		Request: metrics.Request{
			Method: "GET", Authority: "orders:80", Path: "/api/orders/7?token=secret", Protocol: tlsctx.HTTP1,
			Client: netip.MustParseAddrPort("[::ffff:10.0.0.1]:40000"), Status: 200, GRPC: -1,
			RequestBytes: 1, ResponseBytes: 2, Start: time.Unix(1000, 0), Duration: 1500 * time.Microsecond, FirstByte: time.Millisecond,
			Attempts: 1, Outcome: metrics.Outcome{Reason: metrics.ReasonOK},
		},
		Own: orders(),
	}
}

// connection is one of web to orders, at web, that has ended.
func connection() *metrics.Event {
	return &metrics.Event{
		ConnectionInfo: metrics.ConnectionInfo{
			Reporter: metrics.Source, Peer: orders(), Service: metrics.Service{Name: "pg"}, Session: tlsctx.Mux,
			Protocol: tlsctx.PostgreSQL, How: "client",
		},
		ID: 7, Own: web(), Sent: 3, Received: 4, Duration: time.Minute,
		Outcome: metrics.Outcome{Flag: metrics.FlagUpstreamTermination, Reason: "upstream_reset", Err: errors.New("forward: \x1b]0;x\a")},
	}
}

func watch(t *testing.T, on *Tap, query string) *Watch {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ParseFilter(values)
	if err != nil {
		t.Fatal(err)
	}
	w, err := on.Watch(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// now returns what is there, without waiting.
func now(t *testing.T, w *Watch) []*Event {
	t.Helper()
	var all []*Event
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		select {
		case i := <-w.queue: // as Next would choose between it and ctx at random
			all = w.show(all, i, names{})
		default:
			return append(all, w.Next(ctx, names{})...)
		}
	}
}

// TestShown shows what is known of either, and nothing that is not to be shown.
func TestShown(t *testing.T) {
	on := new(Tap)
	w := watch(t, on, "")
	on.Requested(get())
	c := connection()
	c.Outcome = metrics.Outcome{}
	on.Opened(c)
	on.Closed(connection())
	events := now(t, w)
	if len(events) != 3 {
		t.Fatalf("%d events", len(events))
	}
	text, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"secret", "token", `\u001b`, "\u202e", `\u0007`} {
		if strings.Contains(string(text), bad) {
			t.Errorf("%q is shown: %s", bad, text)
		}
	}
	r, opened, closed := events[0], events[1], events[2]
	if r.Kind != KindRequest || r.Request.Path != "/api/orders/7" || r.Request.Status != 200 || r.Request.GRPCStatus != nil ||
		r.Source.SPIFFEID != "spiffe://example.org/ns/shop/sa/web" || r.Destination.SPIFFEID != "spiffe://example.org/ns/shop/sa/orders" ||
		r.Direction != Inbound || r.Client != "10.0.0.1:40000" || r.DurationMs != 1.5 || r.Failed || r.Outcome != "ok" ||
		r.Source.Workload != "w" || r.Source.Provenance != "verified" || r.Security != SecurityMutualTLS ||
		!r.Time.Equal(time.Unix(1000, 1_500_000)) || r.Service != "orders.shop.svc" {
		t.Errorf("request: %s", text)
	}
	if opened.Kind != KindOpened || opened.Failed || opened.Outcome != "" || opened.Connection.ID != 7 {
		t.Errorf("opened: %s", text)
	}
	if closed.Kind != KindClosed || !closed.Failed || closed.Flags != "UC" || closed.Connection.BytesReceived != 4 || closed.Direction != Outbound ||
		closed.Source.SPIFFEID != "spiffe://example.org/ns/shop/sa/web" || closed.Protocol != "postgres" || closed.Service != "pg" || closed.Error == "" {
		t.Errorf("closed: %s", text)
	}
}

// TestSlowWatcher has one not read: it loses events, is told how many, where they
// are missing and in the end, and the others lose nothing.
func TestSlowWatcher(t *testing.T) {
	on := new(Tap)
	slow, quick := watch(t, on, ""), watch(t, on, "")
	const before, lost = QueueLength, 100
	seen := 0
	for range before + lost {
		on.Requested(get()) // returns, whoever reads
		seen += len(quick.Next(t.Context(), names{}))
	}
	if seen != before+lost {
		t.Errorf("the quick one has seen %d", seen)
	}
	first := slow.Next(t.Context(), names{}) // makes room
	for range len(first) {
		on.Requested(get())
	}
	events := append(first, now(t, slow)...)
	for i, e := range events {
		switch {
		case i == before && (e.Kind != KindDropped || e.Dropped != lost):
			t.Errorf("at %d: %+v, want that %d were dropped", i, e, lost)
		case i != before && e.Kind != KindRequest:
			t.Errorf("at %d: %+v", i, e)
		}
	}
	on.Requested(get())
	for range QueueLength + 3 {
		on.Requested(get())
	}
	end := slow.End()
	if len(end) != 2 || end[0].Kind != KindDropped || end[0].Dropped != 4 || end[1].Kind != KindEnd || end[1].Dropped != lost+4 ||
		end[1].End.Reason != "closing" || end[1].End.Shown != before+uint64(len(first)) {
		t.Errorf("end: %+v", end)
	}
	if slow.End() != nil || slow.Next(t.Context(), names{}) != nil {
		t.Error("it goes on after the end")
	}
}

// TestGapAtRest tells of what was dropped although nothing follows.
func TestGapAtRest(t *testing.T) {
	on := new(Tap)
	w := watch(t, on, "rate=1")
	for range 5 {
		on.Requested(get())
	}
	events := now(t, w)
	var shown, dropped uint64
	for _, e := range events {
		shown, dropped = shown+1, dropped+e.Dropped
	}
	if events[len(events)-1].Kind != KindDropped || shown-1+dropped != 5 || dropped < 3 { // a second may begin meanwhile
		t.Errorf("%d shown, %d dropped", shown, dropped)
	}
}

// TestBounds ends after the limit, takes a sample, and lets so many watch.
func TestBounds(t *testing.T) {
	on := new(Tap)
	limited, sampled := watch(t, on, "limit=3"), watch(t, on, "sample=10")
	for range 30 {
		on.Requested(get())
	}
	events := limited.Next(t.Context(), names{})
	if len(events) != 4 || events[3].Kind != KindEnd || events[3].End.Reason != "limit" || events[3].End.Shown != 3 || events[3].End.Matched != 30 {
		t.Errorf("limit: %d events, %+v", len(events), events[len(events)-1].End)
	}
	if n := len(now(t, sampled)); n != 3 {
		t.Errorf("%d of 30 sampled", n)
	}
	sampled.Close()
	sampled.Close()
	if !on.Idle() {
		t.Fatal("watchers are left")
	}
	for range MaxWatches {
		watch(t, on, "")
	}
	if _, err := on.Watch(new(Filter)); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
}

// TestTogether watches, leaves and tells at once.
func TestTogether(t *testing.T) {
	on := new(Tap)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				on.Requested(get())
				on.Closed(connection())
			}
		})
		wg.Go(func() {
			for range 50 {
				w, err := on.Watch(&Filter{Rate: 1000})
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				w.Next(ctx, names{})
				cancel()
				w.Close()
			}
		})
	}
	wg.Wait()
	if !on.Idle() {
		t.Error("watchers are left")
	}
}

// TestBounded keeps no buffer of a connection, however long what a client sends.
func TestBounded(t *testing.T) {
	e := get()
	long := strings.Repeat("\x01", 1<<20)
	e.Method, e.Authority, e.Path, e.Upgrade = long, long, "/"+long, long
	on := new(Tap)
	w := watch(t, on, "")
	on.Requested(e)
	if r := (<-w.queue).request; len(r.Method)+len(r.Authority)+len(r.Path)+len(r.Upgrade) > 16<<10 {
		t.Error("what is queued is long")
	}
	on.Requested(e)
	text, err := json.Marshal(now(t, w))
	if err != nil || len(text) > 64<<10 || strings.ContainsFunc(string(text), unicode.IsControl) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
