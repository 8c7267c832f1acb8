package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
)

// GRPC calls [ServeGRPC], each caller on a connection of its own.
type GRPC struct {
	Size int // bytes of payload each way
	// Stream makes calls messages on one stream; otherwise each is a call.
	Stream bool
}

// String names the call.
func (k GRPC) String() string {
	if k.Stream {
		return fmt.Sprintf("gRPC message of %d bytes and its answer", k.Size)
	}
	return fmt.Sprintf("gRPC unary call of %d bytes", k.Size)
}

// Open connects.
func (k GRPC) Open(ctx context.Context, address string) (Caller, error) {
	_, host := direct(address)
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if host != address {
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := dial(ctx, address)
			if err != nil {
				return nil, err
			}
			return conn, conn.SetDeadline(time.Time{}) // the context's is for connecting
		}))
	}
	conn, err := grpc.NewClient("passthrough:///"+host, options...)
	if err != nil {
		return nil, err
	}
	c := &grpcCaller{ClientConn: conn, ctx: ctx, client: grpc_testing.NewTestServiceClient(conn), payload: &grpc_testing.Payload{Body: make([]byte, k.Size)}}
	if !k.Stream {
		return c, nil
	}
	if c.stream, err = c.client.FullDuplexCall(ctx, grpc.WaitForReady(true)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

type grpcCaller struct {
	*grpc.ClientConn
	ctx     context.Context
	client  grpc_testing.TestServiceClient
	stream  grpc_testing.TestService_FullDuplexCallClient // nil for unary calls
	payload *grpc_testing.Payload
}

// Call makes one unary call, or sends one message and waits for its answer.
func (c *grpcCaller) Call() (int, error) {
	var back *grpc_testing.Payload
	if c.stream == nil {
		out, err := c.client.UnaryCall(c.ctx, &grpc_testing.SimpleRequest{Payload: c.payload}, grpc.WaitForReady(true))
		if err != nil {
			return 0, err
		}
		back = out.GetPayload()
	} else {
		if err := c.stream.Send(&grpc_testing.StreamingOutputCallRequest{Payload: c.payload}); err != nil {
			return 0, err
		}
		out, err := c.stream.Recv()
		if err != nil {
			return 0, err
		}
		back = out.GetPayload()
	}
	if len(back.GetBody()) != len(c.payload.Body) {
		return 0, fmt.Errorf("load: %d bytes came back, want %d", len(back.GetBody()), len(c.payload.Body))
	}
	return 2 * len(c.payload.Body), nil
}

// ServeGRPC is the application at the other end of gRPC calls: it echoes, until
// ctx ends.
func ServeGRPC(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, echo{})
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Serve(listener)
}

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
