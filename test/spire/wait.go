package spire

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// patience is how long something of SPIRE's may take on a loaded machine: an
// agent asks its server every five seconds.
const patience = 3 * time.Minute

// Eventually calls until it returns nil, and fails the test with its last error
// if that takes too long.
func Eventually(tb testing.TB, what string, until func() error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := until()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("spire: waiting until %s: %v", what, err)
		}
	}
}

// try runs spire-server's command line and returns its error with its output.
func (d *Domain) try(args ...string) error {
	out, err := exec.Command(d.server, d.withSocket(args)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
