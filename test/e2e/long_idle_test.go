//go:build long

package e2e_test

import (
	"os"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// TestIdleByTheThousand keeps as many idle connections as 20,000 descriptors in
// each process allow, says what each costs the proxies, and has every one of them
// work in the end.
func TestIdleByTheThousand(t *testing.T) {
	for name, c := range map[string]struct {
		keys  string
		count int64
	}{"mux": {",session=Mux", 10_000}, "raw": {",session=Raw", 9_000}} {
		t.Run(name, func(t *testing.T) {
			issuer := build.Issuer(t, twoWorkloads)
			address := components.FreeAddr(t)
			components.Start(t, components.Process{ // whose descriptors are its own
				Name: "application", Path: os.Args[0], Env: []string{echoRole + "=" + address}, ReadyOutput: "listening",
			})
			pair := e2e.RunPair(t, e2e.Ways{
				Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{address}, Keys: c.keys,
			})
			if err := e2e.Exchange(t.Context(), pair.Addr(0)); err != nil {
				t.Fatal(err)
			}
			out, in := memory(t, pair.Outbound), memory(t, pair.Inbound)
			kept := make([]*e2e.Kept, c.count)
			for i := range kept {
				kept[i] = e2e.Keep(t, pair.Addr(0))
				if err := kept[i].Echo(); err != nil {
					t.Fatalf("connection %d: %v", i, err)
				}
			}
			t.Logf("%d idle connections: %d bytes each in the outbound proxy, %d in the inbound one", c.count,
				(memory(t, pair.Outbound)-out)/c.count, (memory(t, pair.Inbound)-in)/c.count)
			if n := pair.Inbound.Sum(t, "hallmark_connections_open"); n != float64(c.count) {
				t.Errorf("%v connections are open", n)
			}
			for i, k := range kept {
				if err := k.Echo(); err != nil {
					t.Fatalf("connection %d after idling: %v", i, err)
				}
				k.Close()
			}
			for name, s := range map[string]*e2e.Sidecar{"inbound": pair.Inbound, "outbound": pair.Outbound} {
				e2e.Eventually(t, "nothing is left open at the "+name+" proxy", atRest(t, s))
			}
		})
	}
}
