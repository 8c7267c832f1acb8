package conformance_test

import (
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// build is the binary under test, for the life of the test binary.
var build e2e.Build

func TestMain(m *testing.M) { build.Main(m) }
