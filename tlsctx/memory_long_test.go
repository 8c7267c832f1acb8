//go:build long && !race

package tlsctx

import "testing"

// TestLongMemoryIsFlatOverHandshakes: a leak of a byte for each would show.
func TestLongMemoryIsFlatOverHandshakes(t *testing.T) { checkMemory(t, 100_000) }
