//go:build long

package e2e_test

import (
	"math/rand/v2"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// TestEveryByteOfGigabytes is a long storm through a pair with each kind of
// session, and with the kind that the traffic decides on.
func TestEveryByteOfGigabytes(t *testing.T) {
	for name, keys := range map[string]string{"mux": ",session=Mux", "raw": ",session=Raw", "auto": ""} {
		t.Run(name, func(t *testing.T) {
			issuer := build.Issuer(t, twoWorkloads)
			seed := rand.Uint64()
			n := storm(t, func(backend string) string {
				return e2e.RunPair(t, e2e.Ways{
					Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{backend}, Keys: keys,
				}).Addr(0)
			}, seed, 2000, 100, 8<<20)
			t.Logf("%d MB of payload, seed %d", n>>20, seed)
		})
	}
}
