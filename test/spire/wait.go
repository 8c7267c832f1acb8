package spire

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// patience is how long something of SPIRE's may take on a loaded machine: an
// agent asks its server every five seconds.
const patience = 3 * time.Minute

// Eventually is [components.Eventually] with the patience that SPIRE needs.
func Eventually(tb testing.TB, what string, until func() error) {
	tb.Helper()
	components.Eventually(tb, patience, what, until)
}

// try runs spire-server's command line and returns its error with its output.
func (d *Domain) try(args ...string) error {
	out, err := exec.Command(d.server, d.withSocket(args)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
