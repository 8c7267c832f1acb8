package components

import (
	"context"
	"testing"
	"time"
)

// Eventually calls until it returns nil, and fails the test with its last error
// once patience is over, which only stops a hang. It is for what real programs say
// only when they are asked.
func Eventually(tb testing.TB, patience time.Duration, what string, until func() error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := until()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("waiting until %s: %v", what, err)
		}
	}
}
