package e2e_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// build is the binary under test, for the life of the test binary.
var build e2e.Build

func TestMain(m *testing.M) {
	for role, be := range map[string]func(address string) error{appRole: beApplication, echoRole: beEcho} {
		if address := os.Getenv(role); address != "" {
			fmt.Fprintln(os.Stderr, be(address))
			os.Exit(1)
		}
	}
	os.Exit(build.Run(m))
}
