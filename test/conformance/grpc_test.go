package conformance_test

import (
	"net"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// TestGRPCInterop: gRPC's interop tests, by grpc-go's own client and server: all
// of its client's cases that need neither a cloud (the credentials') nor several
// servers (pick_first_unary). It has none of compression.
func TestGRPCInterop(t *testing.T) {
	address := components.FreeAddr(t)
	_, backend, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	components.Start(t, components.Process{
		Path:  components.Path(t, components.GRPCInteropServer),
		Args:  []string{"-port", backend},
		Ready: components.Accepts("tcp", address),
	})
	host, port, err := net.SplitHostPort(through(t, address).Addr(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{
		"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
		"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
		"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service",
		"orca_per_rpc", "orca_oob", "rpc_soak", "channel_soak",
	} {
		t.Run(c, func(t *testing.T) {
			components.Output(t, components.Process{
				Path: components.Path(t, components.GRPCInteropClient),
				Args: []string{
					"-server_host", host, "-server_port", port, "-test_case", c,
					// The deadlines of the soaks only stop a hang.
					"-soak_iterations=100", "-soak_num_threads=4", "-soak_overall_timeout_seconds=300", "-soak_per_iteration_max_acceptable_latency_ms=100000",
					`-service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`,
				},
			})
		})
	}
}
