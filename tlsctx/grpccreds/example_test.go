package grpccreds_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/hallmark-mesh/hallmark/tlsctx/grpccreds"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
)

// greeter is a service that knows who calls.
type greeter struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (greeter) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if caller, ok := grpccreds.PeerFromContext(ctx); ok {
		fmt.Println("called by", caller.ID)
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// Transport credentials make both ends full peers. Programs get their identity
// from packages identity/workload or identity/files.
func Example() {
	t := ca.ForExample()
	domain := ca.New(t, "example.org")
	web := identity.Static{Current: domain.Snapshot(t, "/ns/shop/sa/web", identity.Attributes{})}
	api := identity.Static{Current: domain.Snapshot(t, "/ns/shop/sa/api", identity.Attributes{})}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(grpccreds.NewServer(tlsctx.ServerConfig{Source: api})))
	grpc_health_v1.RegisterHealthServer(server, greeter{})
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()

	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(),
		grpc.WithTransportCredentials(grpccreds.NewClient(tlsctx.ClientConfig{Source: web})))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	var reached peer.Peer
	response, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&reached))
	if err != nil {
		log.Fatal(err)
	}
	callee, _ := grpccreds.PeerOf(&reached)
	fmt.Println(response.GetStatus(), "from", callee.ID)
	server.Stop()
	fmt.Println(<-served)
	// Output:
	// called by spiffe://example.org/ns/shop/sa/web
	// SERVING from spiffe://example.org/ns/shop/sa/api
	// <nil>
}
