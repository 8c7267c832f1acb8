//go:build long && !race

package conformance_test

import "testing"

// TestBulkMemoryLong is TestBulkMemory with ten gigabytes.
func TestBulkMemoryLong(t *testing.T) { bulkMemory(t, 10<<30) }
