package grpccreds_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/hallmark-mesh/hallmark/tlsctx/grpccreds"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// health answers SERVING, and tells the test who asked.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	asked chan *tlsctx.Peer
}

func (h *health) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	p, _ := grpccreds.PeerFromContext(ctx)
	h.asked <- p
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func serve(t *testing.T, creds credentials.TransportCredentials) (string, chan *tlsctx.Peer) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &health{asked: make(chan *tlsctx.Peer, 1)}
	server := grpc.NewServer(grpc.Creds(creds))
	grpc_health_v1.RegisterHealthServer(server, h)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String(), h.asked
}

func check(t *testing.T, address string, creds credentials.TransportCredentials) (*peer.Peer, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var p peer.Peer
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&p))
	return &p, err
}

func TestBothEndsKnowEachOther(t *testing.T) {
	domain := ca.New(t, "example.org")
	serverID := identity.Static{Current: domain.Snapshot(t, "/ns/shop/sa/db", identity.Attributes{})}
	clientID := identity.Static{Current: domain.Snapshot(t, "/ns/shop/sa/web", ca.Attributes(t, "k8s.pod.name", "web-0"))}

	address, asked := serve(t, grpccreds.NewServer(tlsctx.ServerConfig{Source: serverID}))
	reached, err := check(t, address, grpccreds.NewClient(tlsctx.ClientConfig{Source: clientID}))
	if err != nil {
		t.Fatal(err)
	}
	server, ok := grpccreds.PeerOf(reached)
	if !ok || server.ID != serverID.Current.ID() || !server.Aware {
		t.Errorf("client reached %+v, want an aware %s", server, serverID.Current.ID())
	}
	client := <-asked
	if client.ID != clientID.Current.ID() || client.Session != tlsctx.H2 || client.Detected != tlsctx.HTTP2 {
		t.Errorf("server was asked by %s over %s/%s", client.ID, client.Session, client.Detected)
	}
	if pod := client.Attributes.Value("k8s.pod.name", tlsctx.Asserted); pod != "web-0" {
		t.Errorf("server learnt k8s.pod.name=%q, want web-0", pod)
	}
}

func TestPlainSPIFFEClientIsTaken(t *testing.T) {
	domain := ca.New(t, "example.org")
	serverID := domain.Snapshot(t, "/server", identity.Attributes{})
	clientID := domain.Snapshot(t, "/client", identity.Attributes{})
	address, asked := serve(t, grpccreds.NewServer(tlsctx.ServerConfig{Source: identity.Static{Current: serverID}}))

	plain := credentials.NewTLS(tlsconfig.MTLSClientConfig(clientID.SVID, clientID.Bundles, tlsconfig.AuthorizeID(serverID.ID())))
	if _, err := check(t, address, plain); err != nil {
		t.Fatal(err)
	}
	if p := <-asked; p.Aware || p.ID != clientID.ID() {
		t.Errorf("server was asked by %s, aware=%t", p.ID, p.Aware)
	}
}

func TestUnexpectedServerIsRefused(t *testing.T) {
	domain := ca.New(t, "example.org")
	source := identity.Static{Current: domain.Snapshot(t, "/a", identity.Attributes{})}
	address, _ := serve(t, grpccreds.NewServer(tlsctx.ServerConfig{Source: source}))
	_, err := check(t, address, grpccreds.NewClient(tlsctx.ClientConfig{
		Source: source,
		Policy: tlsctx.Policy{Authorize: tlsctx.AuthorizeID(domain.ID(t, "/b"))},
	}))
	if status.Code(err) != codes.Unavailable {
		t.Errorf("call to an unexpected server: %v, want Unavailable", err)
	}
}

func TestCredentialsOfTheOtherSide(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	_, _, err := grpccreds.NewClient(tlsctx.ClientConfig{}).ServerHandshake(near)
	_, _, err2 := grpccreds.NewServer(tlsctx.ServerConfig{}).ClientHandshake(t.Context(), "", far)
	if err == nil || err2 == nil {
		t.Errorf("credentials of one side served the other: %v, %v", err, err2)
	}
}
