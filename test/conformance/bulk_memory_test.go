//go:build !race

package conformance_test

import (
	"fmt"
	"testing"
)

// TestBulkMemory: a gigabyte each way passes, and costs no memory.
func TestBulkMemory(t *testing.T) { bulkMemory(t, 1<<30) }

// bulkMemory sends so much each way by either version of HTTP, and wants neither
// proxy to hold more than a little because of it.
func bulkMemory(t *testing.T, size int64) {
	const little = 64 << 20
	m := through(t, web(t, endless(size)))
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP/%d", version), func(t *testing.T) {
			if err := bulk(t.Context(), browser(t, version), "http://"+m.Addr(0), size); err != nil {
				t.Fatal(err)
			}
			out, in := memory(t, m.Outbound), memory(t, m.Inbound)
			t.Logf("resident after %d MiB each way: %d MiB outbound, %d MiB inbound", size>>20, out>>20, in>>20)
			if out > little || in > little {
				t.Errorf("the proxies hold %d and %d bytes", out, in)
			}
		})
	}
}
