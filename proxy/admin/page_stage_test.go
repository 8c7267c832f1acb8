package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/test/chromium"
)

// object is one of JSON.
type object = map[string]any

// hostile is a name that a peer would like to be markup.
const hostile = `<img src=x onerror="document.title='pwned'"><script>document.title='pwned'</script>`

// stage is a port of operators with a page, of which the test says what it shows.
type stage struct {
	url    string
	asked  atomic.Int64  // for stat
	watch  atomic.Int64  // who watches
	gate   chan struct{} // holds stat up, unless it is nil
	events chan []any

	mu    sync.Mutex
	edges []object
	self  object
	fail  bool
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{events: make(chan []any), self: object{
		"spiffeId": "spiffe://example.org/ns/shop/sa/orders", "workload": "orders", "namespace": "shop", "security": "mutual_tls",
		"provenance": "verified", "aware": true, "notAfter": time.Now().Add(43 * time.Minute).UTC(),
		"attributes": []object{
			{"name": "k8s.namespace.name", "value": "shop", "provenance": "verified"},
			{"name": "k8s.service_account.name", "value": "orders", "provenance": "verified"},
			{"name": "service.version", "value": "2.3.0", "provenance": "asserted"},
		},
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- Serve(ctx, l, Operator(s.config()), zap.NewNop())
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *stage) config() OperatorConfig {
	return OperatorConfig{
		Version: "test", Stat: s.stat, Config: func() ([]any, error) { return nil, nil },
		Tap: func(url.Values) (Watch, error) { s.watch.Add(1); return &stagedWatch{s}, nil },
	}
}

func (s *stage) stat(context.Context, time.Duration) (any, error) {
	s.asked.Add(1)
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return nil, errors.New("out of " + hostile)
	}
	edges := s.edges
	if edges == nil {
		edges = []object{}
	}
	return object{"version": "test", "time": time.Now().UTC(), "windowSeconds": 10, "self": s.self, "edges": edges, "truncated": false}, nil
}

// set changes what there is to show.
func (s *stage) set(edges ...object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edges = edges
}

// fails has the port answer that it cannot tell, or go on.
func (s *stage) fails(fail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// send shows events to who watches.
func (s *stage) send(t *testing.T, events ...any) {
	t.Helper()
	select {
	case s.events <- events:
	case <-time.After(patience):
		t.Fatal("nobody watches")
	}
}

// patience is how long something may take on a loaded machine.
const patience = time.Minute

// awaitWatching waits until so many watch.
func (s *stage) awaitWatching(t *testing.T, want int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.watch.Load() != want {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d watch, want %d", s.watch.Load(), want)
		}
	}
}

// request is an event of a request of a caller.
func (s *stage) request(caller, path string, status int) object {
	e := object{
		"kind": "request", "time": time.Now().UTC(), "direction": "inbound", "source": workload(caller, "web", "attested"), "destination": s.self,
		"service": "store.internal", "protocol": "http1", "durationMs": 12.345, "outcome": "ok", "failed": status >= 500,
		"request": object{"method": "GET", "path": path, "status": status, "requestBytes": 0, "responseBytes": 5230, "attempts": 1},
	}
	if status >= 500 {
		e["outcome"] = "upstream_reset"
	}
	return e
}

// stagedWatch is a live view of what the test sends.
type stagedWatch struct{ s *stage }

func (w *stagedWatch) Next(ctx context.Context) []any {
	select {
	case batch := <-w.s.events:
		return batch
	case <-ctx.Done():
		return []any{}
	}
}
func (w *stagedWatch) End() []any { return nil }
func (w *stagedWatch) Close()     { w.s.watch.Add(-1) }

// workload is a peer of the mesh.
func workload(name, namespace, provenance string) object {
	return object{
		"spiffeId": "spiffe://example.org/ns/" + namespace + "/sa/" + name, "workload": name, "namespace": namespace,
		"security": "mutual_tls", "provenance": provenance, "aware": provenance != "none",
		"attributes": []object{{"name": "k8s.namespace.name", "value": namespace, "provenance": "verified"}},
	}
}

// edge is traffic with a peer, at a rate of requests or of connections.
func edge(direction string, peer object, protocol string, rate float64, success float64) object {
	counts := func(seconds float64) object {
		n := rate * seconds
		c := object{
			"requests": 0, "requestsFailed": 0, "successRate": nil, "requestsPerSecond": 0, "p50Ms": nil, "p95Ms": nil, "p99Ms": nil,
			"connectionsOpened": 0, "connectionsFailed": 0, "connectionsPerSecond": 0,
			"bytesSent": n * 300, "bytesReceived": n * 5200, "bytesSentPerSecond": rate * 300, "bytesReceivedPerSecond": rate * 5200,
		}
		if protocol == "tcp" {
			c["connectionsOpened"], c["connectionsPerSecond"], c["connectionsFailed"] = n, rate, n*(1-success)
			return c
		}
		c["requests"], c["requestsPerSecond"], c["requestsFailed"] = n, rate, n*(1-success)
		if n > 0 {
			c["successRate"], c["p50Ms"], c["p95Ms"], c["p99Ms"] = success, 2.31, 11.7, 38.25
		}
		return c
	}
	e := object{
		"direction": direction, "peer": peer, "service": object{"host": "store.internal"}, "protocol": protocol,
		"since": time.Now().UTC(), "lastUsed": time.Now().UTC(), "connectionsOpen": 0, "total": counts(3600), "recent": counts(10),
	}
	if protocol == "tcp" {
		e["connectionsOpen"], e["detected"] = 7, "postgres"
	}
	return e
}

// shop is a mesh with one of everything.
func shop() []object {
	plain := object{"security": "plaintext", "provenance": "plaintext", "aware": false}
	lost := object{"security": "none", "provenance": "none", "aware": false}
	return []object{
		edge("inbound", workload("storefront", "web", "attested"), "http", 412.4, 0.9995),
		edge("inbound", workload("mobile-gateway", "web", "verified"), "grpc", 88.2, 0.981),
		edge("inbound", workload("reporting", "back-office", "asserted"), "http", 3.1, 0.74),
		edge("inbound", plain, "http", 0.4, 1),
		edge("outbound", workload("postgres", "data", "attested"), "tcp", 1.2, 1),
		edge("outbound", workload("payments", "money", "verified"), "grpc", 41, 0.9991),
		edge("outbound", workload("a-name-of-a-workload-that-is-really-much-too-long-for-a-card", "money", "none"), "http", 0.02, 1),
		edge("outbound", lost, "http", 0.3, 0),
	}
}

// many are a hundred callers and a hundred callees.
func many() []object {
	var all []object
	for i := range 100 {
		all = append(all, edge("inbound", workload(fmt.Sprintf("caller-%02d", i), "web", "verified"), "http", float64(1+i*7%100), 1))
	}
	for i := range 100 {
		all = append(all, edge("outbound", workload(fmt.Sprintf("callee-%02d", i), "data", "attested"), "tcp", float64(1+i*7%100), 1))
	}
	return all
}

// show opens the page, with something to show.
func (s *stage) show(tab *chromium.Tab, edges ...object) {
	s.set(edges...)
	tab.Resize(1280, 800)
	tab.Load(s.url)
	tab.Await(`document.body.dataset.state === "live"`)
	chromium.Eval[any](tab, "void "+pageJS)
}
