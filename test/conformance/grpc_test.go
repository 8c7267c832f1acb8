package conformance_test

import (
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
)

// TestGRPCInterop: gRPC's interop tests, the soaks by several at a time.
func TestGRPCInterop(t *testing.T) {
	apps.GRPCInterop(t, through(t, apps.StartGRPCInterop(t)).Addr(0),
		"-soak_iterations=100", "-soak_num_threads=4", "-soak_overall_timeout_seconds=300")
}
