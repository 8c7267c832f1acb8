package observability

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// build is the binary under test, for the life of the test binary.
var build e2e.Build

func TestMain(m *testing.M) {
	code := m.Run()
	build.Remove()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
