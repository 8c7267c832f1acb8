//go:build !race

package conformance_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// TestIdleMemory: a sidecar that is ready, and has been asked for its metrics, has
// less than 20 MB resident, its program's own pages included.
func TestIdleMemory(t *testing.T) {
	const most = 20_000 // kB
	m := through(t, web(t, endless(1)))
	for name, s := range map[string]*e2e.Sidecar{"outbound": m.Outbound, "inbound": m.Inbound} {
		s.Sum(t, "hallmark_connections_open")
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		var resident int
		if _, err := fmt.Sscan(rest, &resident); err != nil {
			t.Fatalf("resident memory of the %s sidecar in %s: %v", name, status, err)
		}
		t.Logf("%s: %d kB", name, resident)
		if resident > most {
			t.Errorf("%s: %d kB are resident, more than %d", name, resident, most)
		}
	}
}
