package proxy

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// storm plays connections through an address, so many at once, and wants every
// byte of them: what flows, and who ends or resets which direction when, comes
// from the seed.
func storm(t *testing.T, server *e2e.StormServer, address string, seed uint64, connections, atOnce int, size int64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	queue := make(chan e2e.Script)
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for s := range queue {
				if err := s.Play(t.Context(), address); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
	}
	var bytes int64
	for range connections {
		s := e2e.NewScript(random, size)
		bytes += s.Up + s.Down
		queue <- s
	}
	close(queue)
	all.Wait()
	for _, err := range server.Close() {
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%d MB in %d connections", bytes>>20, connections)
}

// TestEveryByte: seeded random data both ways through many connections at once,
// with half-closes and resets: no byte is lost, doubled or out of order, an end
// arrives as an end and a reset as a reset.
func TestEveryByte(t *testing.T) {
	for _, kind := range append(kinds(), "Auto") {
		t.Run(kind, func(t *testing.T) {
			server, err := e2e.NewStormServer()
			if err != nil {
				t.Fatal(err)
			}
			p := newPair(t, server.Addr, []string{"  session: " + kind}, nil)
			storm(t, server, p.address, rand.Uint64(), 150, 32, 1<<20)
			for _, w := range []*workload{p.client, p.server} {
				eventually(t, "no stream is left", func() bool { return w.metric(`^hallmark_connections_open\{`) == 0 })
			}
		})
	}
}
