package issuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// securityHeader must come with every request, so that a web browser or proxy
// tricked into connecting gets nothing (SPIFFE Workload Endpoint, section 4.1).
const securityHeader = "workload.spiffe.io"

// attestor finds out who is at the other end of a connection.
type attestor func(net.Conn) (caller, error)

// newServer returns a server for the workloads of one socket, "" being the
// shared one.
func (i *Issuer) newServer(workloadSocket string) *grpc.Server {
	var digests digestCache
	return i.newServerWith(workloadSocket, func(conn net.Conn) (caller, error) {
		return peerProcess(conn, &digests)
	})
}

func (i *Issuer) newServerWith(workloadSocket string, attest attestor) *grpc.Server {
	server := grpc.NewServer(
		grpc.Creds(&peerCredentials{attest: attest, connections: &i.limits.connections}),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreamsPerConn),
		grpc.ConnectionTimeout(maxPrefaceTime),
		grpc.ReadBufferSize(connectionBuffer),
		grpc.WriteBufferSize(connectionBuffer),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfterIdle, Timeout: i.config.Limits.SendTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(i.admitUnary),
		grpc.StreamInterceptor(i.admitStream),
	)
	workload.RegisterSpiffeWorkloadAPIServer(server, &service{issuer: i, socket: workloadSocket})
	return server
}

// serve accepts until ctx ends; every connection is closed when it returns.
func serve(ctx context.Context, server *grpc.Server, listener net.Listener) error {
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	defer server.Stop()
	err := server.Serve(listener)
	if ctx.Err() != nil || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return fmt.Errorf("issuer: accept on %s: %w", listener.Addr(), err)
}

func (i *Issuer) admitUnary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	release, err := i.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return handle(ctx, request)
}

func (i *Issuer) admitStream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	release, err := i.admit(stream.Context())
	if err != nil {
		return err
	}
	defer release()
	return handle(server, stream)
}

// admit lets a request with the security header in, if its user has not too
// many in progress.
func (i *Issuer) admit(ctx context.Context) (release func(), err error) {
	header := metadata.ValueFromIncomingContext(ctx, securityHeader)
	if len(header) != 1 || header[0] != "true" {
		return nil, status.Error(codes.InvalidArgument, "the request lacks the header "+securityHeader+": true (SPIFFE Workload Endpoint, section 4.1)")
	}
	conn, err := connection(ctx)
	if err != nil {
		return nil, err
	}
	uid, _ := conn.caller.ids()
	if !i.limits.streams.acquire(uid) {
		i.logRefusal(ctx, conn.caller, "too many requests of this user are in progress", nil)
		return nil, status.Errorf(codes.ResourceExhausted, "%d requests of uid %d are in progress already", i.config.Limits.StreamsPerUID, uid)
	}
	return func() { i.limits.streams.release(uid) }, nil
}

// logRefusal tells the operator why a caller got nothing, now and then.
func (i *Issuer) logRefusal(ctx context.Context, c caller, reason string, cause error) {
	uid, gid := c.ids()
	if i.limits.refusals.allow(uid, time.Now()) {
		i.config.Logger.WarnContext(ctx, "refused: "+reason, "uid", uid, "gid", gid, "caller", c.String(), "cause", cause)
	}
}

// connection returns the connection that a request came over.
func connection(ctx context.Context) (*peerConn, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if conn, ok := p.AuthInfo.(*peerConn); ok {
			return conn, nil
		}
	}
	return nil, status.Error(codes.Internal, "the connection has no peer credentials")
}

// peerCredentials is gRPC's view of SO_PEERCRED: a handshake in which the kernel
// speaks for the peer, and not a byte is sent.
type peerCredentials struct {
	attest      attestor
	connections *counter
}

// ServerHandshake attests the peer and counts its connection.
func (c *peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	who, err := c.attest(conn)
	if err != nil {
		return nil, nil, fmt.Errorf("issuer: attest: %w", err)
	}
	uid, _ := who.ids()
	if !c.connections.acquire(uid) {
		closeCaller(who)
		return nil, nil, fmt.Errorf("issuer: attest: uid %d has too many connections", uid)
	}
	attested := &peerConn{Conn: conn, caller: who}
	attested.release = sync.OnceFunc(func() {
		c.connections.release(uid)
		closeCaller(who)
	})
	return attested, attested, nil
}

// ClientHandshake is not for servers.
func (c *peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.ErrUnsupported
}

// Info names the protocol.
func (c *peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}

// Clone returns c, which is immutable.
func (c *peerCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName is not for servers.
func (c *peerCredentials) OverrideServerName(string) error { return errors.ErrUnsupported }

// peerConn is a connection whose peer is known.
type peerConn struct {
	net.Conn
	caller  caller
	release func()
}

// AuthType names the way that the peer was authenticated.
func (c *peerConn) AuthType() string { return "peercred" }

// Close closes the connection and lets go of the caller.
func (c *peerConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}

func closeCaller(c caller) {
	if closer, ok := c.(io.Closer); ok {
		_ = closer.Close()
	}
}
