package apps

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
)

// grpcPatience is how long one call may take on a loaded machine.
const grpcPatience = time.Minute

// GRPC is a running grpc-go server, in this process, that echoes. The server
// speaks first: SETTINGS.
type GRPC struct {
	Addr string // host:port that clients connect to
}

// StartGRPC runs the gRPC server.
func StartGRPC(tb testing.TB) *GRPC {
	tb.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		tb.Fatalf("apps: gRPC server: %v", err)
	}
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, echo{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Errorf("apps: gRPC server: %v", err)
		}
	})
	return &GRPC{Addr: listener.Addr().String()}
}

// Via returns the handle of the same server behind another address.
func (g *GRPC) Via(addr string) *GRPC { return &GRPC{Addr: addr} }

// echo sends every payload back.
type echo struct {
	grpc_testing.UnimplementedTestServiceServer
}

// UnaryCall returns the payload.
func (echo) UnaryCall(_ context.Context, in *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	return &grpc_testing.SimpleResponse{Payload: in.GetPayload()}, nil
}

// FullDuplexCall returns each payload as it comes.
func (echo) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: in.GetPayload()}); err != nil {
			return err
		}
	}
}

// Dial returns a client on a connection of its own, closed when the test ends.
func (g *GRPC) Dial(tb testing.TB) grpc_testing.TestServiceClient {
	tb.Helper()
	conn, err := grpc.NewClient("passthrough:///"+g.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatalf("apps: gRPC client: %v", err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return grpc_testing.NewTestServiceClient(conn)
}

// Echo makes one unary call and returns the payload of the answer.
func (g *GRPC) Echo(tb testing.TB, payload string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), grpcPatience)
	defer cancel()
	in := &grpc_testing.SimpleRequest{Payload: &grpc_testing.Payload{Body: []byte(payload)}}
	out, err := g.Dial(tb).UnaryCall(ctx, in, grpc.WaitForReady(true))
	if err != nil {
		tb.Fatalf("apps: unary call: %v", err)
	}
	return string(out.GetPayload().GetBody())
}

// EchoStream makes one call with a stream both ways, sends the payloads one at
// a time, each after the answer to the one before, and returns the answers.
func (g *GRPC) EchoStream(tb testing.TB, payloads ...string) []string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), grpcPatience)
	defer cancel()
	stream, err := g.Dial(tb).FullDuplexCall(ctx, grpc.WaitForReady(true))
	if err != nil {
		tb.Fatalf("apps: streaming call: %v", err)
	}
	var answers []string
	for _, p := range payloads {
		if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: []byte(p)}}); err != nil {
			tb.Fatalf("apps: streaming call: send: %v", err)
		}
		out, err := stream.Recv()
		if err != nil {
			tb.Fatalf("apps: streaming call: receive: %v", err)
		}
		answers = append(answers, string(out.GetPayload().GetBody()))
	}
	if err := stream.CloseSend(); err != nil {
		tb.Fatalf("apps: streaming call: close: %v", err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		tb.Fatalf("apps: streaming call ended with %v, want EOF", err)
	}
	return answers
}
