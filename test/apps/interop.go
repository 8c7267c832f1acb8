package apps

import (
	"net"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// StartGRPCInterop runs the server of gRPC's interop tests, grpc-go's own, and
// returns where it listens.
func StartGRPCInterop(tb testing.TB) (address string) {
	tb.Helper()
	address = components.FreeAddr(tb)
	_, port := split(tb, address)
	components.Start(tb, components.Process{
		Path:  components.Path(tb, components.GRPCInteropServer),
		Args:  []string{"-port", port},
		Ready: components.Accepts("tcp", address),
	})
	return address
}

// GRPCInterop runs gRPC's interop tests by grpc-go's own client against the server
// behind the address, each as a test of its own: all of its cases that need neither
// a cloud (the credentials') nor several servers (pick_first_unary). It has none of
// compression. More arguments go to the client.
func GRPCInterop(t *testing.T, address string, more ...string) {
	t.Helper()
	host, port := split(t, address)
	for _, c := range []string{
		"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
		"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
		"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service",
		"orca_per_rpc", "orca_oob", "rpc_soak", "channel_soak",
	} {
		t.Run(c, func(t *testing.T) {
			components.Output(t, components.Process{
				Path: components.Path(t, components.GRPCInteropClient),
				Args: append([]string{
					"-server_host", host, "-server_port", port, "-test_case", c,
					"-soak_per_iteration_max_acceptable_latency_ms=100000", // it only stops a hang
					`-service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`,
				}, more...),
			})
		})
	}
}

func split(tb testing.TB, address string) (host, port string) {
	tb.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatalf("apps: %v", err)
	}
	return host, port
}
