package observability

import (
	"os"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// build is the binary under test, for the life of the test binary.
var build e2e.Build

func TestMain(m *testing.M) { os.Exit(build.Run(m)) }
