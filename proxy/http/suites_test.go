package http

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestGRPCInterop: grpc-go's own client and server, through a pair, all cases
// that need neither a cloud nor several servers (pick_first_unary).
func TestGRPCInterop(t *testing.T) {
	port := components.FreePort(t)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	components.Start(t, components.Process{
		Path:  components.Path(t, components.GRPCInteropServer),
		Args:  []string{"-port", strconv.Itoa(port)},
		Ready: components.Accepts("tcp", address),
	})
	outbound, _ := pair(t, tlsctx.HTTP2, address)
	host, proxyPort, err := net.SplitHostPort(outbound.address)
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
					"-server_host", host, "-server_port", proxyPort, "-test_case", c, "-soak_per_iteration_max_acceptable_latency_ms=60000",
					`-service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`,
				},
			})
		})
	}
}

// TestH2spec: every test of h2spec, strict ones included, against a listener of
// HTTP/2 with prior knowledge.
func TestH2spec(t *testing.T) {
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "what h2spec wants: content")
	})
	p := start(t, tlsctx.HTTP2, with(to(plain(t, address, tlsctx.HTTP1)), func(c *Config) { c.H2.MaxStreams = 100 }))
	host, port, err := net.SplitHostPort(p.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(components.Output(t, components.Process{
		Path: components.Path(t, components.H2spec),
		Args: []string{"--strict", "-h", host, "-p", port, "-o", "5"},
	}))
}
