//go:build long && !race

package observability

import (
	"testing"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/test/bench/proc"
)

// TestCrowdOfTenThousandMemory has ten thousand callers, paths and hosts: series
// stay under their bound, and memory does not grow with those who come past it.
func TestCrowdOfTenThousandMemory(t *testing.T) {
	c := startCrowd(t, metrics.DefaultMaxCombinations)
	resident := func() int64 {
		c.check(t, metrics.DefaultMaxCombinations)
		m, err := proc.MemoryOf(c.process.Pid())
		if err != nil {
			t.Fatal(err)
		}
		return m.Resident
	}
	c.call(t, 4000)
	before := resident()
	c.call(t, 6000)
	after := resident()
	t.Logf("%d KiB resident after 4,000 callers, %d KiB after 10,000", before>>10, after>>10)
	if after > before+before/10+8<<20 {
		t.Errorf("memory grew from %d to %d bytes", before, after)
	}
}
