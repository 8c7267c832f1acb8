//go:build long

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// soakTime is how long the soak lasts, unless HALLMARK_SOAK says something else.
const soakTime = 10 * time.Minute

// usage is what a process holds while nothing happens.
type usage struct{ memory, goroutines, descriptors float64 }

// atRest reports until no connection is open at a sidecar.
func atRest(t *testing.T, s *e2e.Sidecar) func() error {
	return func() error {
		if n := s.Sum(t, "hallmark_connections_open"); n != 0 {
			return fmt.Errorf("%v connections are open", n)
		}
		return nil
	}
}

func usageOf(t *testing.T, s *e2e.Sidecar) usage {
	t.Helper()
	e2e.Eventually(t, "it is at rest", atRest(t, s))
	return usage{float64(memory(t, s)), s.Sum(t, "go_goroutines"), s.Sum(t, "process_open_fds")}
}

// TestSoak has connections come, go, stay, end in every way and by the thousand,
// with new identities every few seconds, for ten minutes: what the proxies hold
// between the rounds does not grow.
func TestSoak(t *testing.T) {
	lasts := soakTime
	if text := os.Getenv("HALLMARK_SOAK"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for name, keys := range sessions {
		t.Run(name, func(t *testing.T) {
			options := twoWorkloads
			options.SVIDTTL = 10 * time.Second
			issuer := build.Issuer(t, options)
			pair := e2e.RunPair(t, e2e.Ways{
				Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Keys: keys,
				Backends:    []string{e2e.EchoServer(t), e2e.EchoServer(t)},
				InboundArgs: []string{"--access-log", "none"}, OutboundArgs: []string{"--access-log", "none"},
			})
			var outbound, inbound []usage
			calls := 0
			for end := time.Now().Add(lasts / time.Duration(len(sessions))); time.Now().Before(end) || len(inbound) < 6; {
				calls += round(t, pair)
				outbound, inbound = append(outbound, usageOf(t, pair.Outbound)), append(inbound, usageOf(t, pair.Inbound))
			}
			t.Logf("%d exchanges in %d rounds", calls, len(inbound))
			grows(t, "outbound", outbound)
			grows(t, "inbound", inbound)
		})
	}
}

// round is some traffic of every kind, until it is over and its connections are
// closed.
func round(t *testing.T, pair *e2e.Pair) (calls int) {
	t.Helper()
	t.Run("round", func(t *testing.T) {
		traffic := e2e.StartTraffic(t, pair.Addr(0), 8, 8)
		for range rand.IntN(50) {
			conn := e2e.Keep(t, pair.Addr(1))
			if rand.IntN(2) == 0 {
				_ = conn.Echo()
			}
			conn.Close()
		}
		traffic.Await(t, 4000)
		calls = traffic.MustStop(t)
	})
	return calls
}

// grows fails the test if the last third of what was measured is more than the
// first third, the first measurement aside.
func grows(t *testing.T, who string, all []usage) {
	t.Helper()
	third := len(all) / 3
	early, late := all[1:1+third], all[len(all)-third:]
	for what, m := range map[string]struct {
		of    func(usage) float64
		slack float64
	}{
		"bytes":       {func(u usage) float64 { return u.memory }, 24 << 20},
		"goroutines":  {func(u usage) float64 { return u.goroutines }, 20},
		"descriptors": {func(u usage) float64 { return u.descriptors }, 20},
	} {
		before, after := median(early, m.of), median(late, m.of)
		t.Logf("%s: %.0f %s at rest in the beginning, %.0f in the end", who, before, what, after)
		if after > before*1.1+m.slack {
			t.Errorf("%s: %s grow from %.0f to %.0f", who, what, before, after)
		}
	}
}

func median(all []usage, of func(usage) float64) float64 {
	var values []float64
	for _, u := range all {
		values = append(values, of(u))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
