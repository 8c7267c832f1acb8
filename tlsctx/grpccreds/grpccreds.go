// Package grpccreds makes a grpc-go program a full peer: transport credentials
// that run the handshake of package tlsctx, and access to the peer from a
// handler. It is apart from tlsctx so that importing that brings no gRPC.
//
// It never does anything per RPC.
package grpccreds

import (
	"context"
	"errors"
	"net"

	"github.com/hallmark-mesh/hallmark/tlsctx"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// AuthInfo is what a handshake left with grpc-go.
type AuthInfo struct {
	credentials.CommonAuthInfo

	// Peer is who is at the other end. It is never nil.
	Peer *tlsctx.Peer
}

// AuthType returns "hallmark".
func (AuthInfo) AuthType() string { return protocol }

const protocol = "hallmark"

// NewClient returns credentials for grpc.WithTransportCredentials. Unless the
// configuration says otherwise, it offers an h2 session that carries HTTP/2.
func NewClient(config tlsctx.ClientConfig) credentials.TransportCredentials {
	if config.Sessions == nil {
		config.Sessions = []tlsctx.Session{tlsctx.H2}
	}
	if config.Detected == "" {
		config.Detected = tlsctx.HTTP2
	}
	return &clientCredentials{config: config}
}

// NewServer returns credentials for grpc.Creds. Unless the configuration says
// otherwise, it takes h2 sessions, and the ALPN identifier h2 from clients that
// know no hallmark token.
func NewServer(config tlsctx.ServerConfig) credentials.TransportCredentials {
	if config.Sessions == nil {
		config.Sessions = []tlsctx.Session{tlsctx.H2}
	}
	if config.Registered == nil {
		config.Registered = []string{tlsctx.HTTP2.Registered()}
	}
	return &serverCredentials{config: config}
}

// PeerFromContext returns who calls, in a server's handler, or whom a client's
// call reached, through grpc.Peer. It reports false if the connection is not of
// this package's making.
func PeerFromContext(ctx context.Context) (*tlsctx.Peer, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, false
	}
	return PeerOf(p)
}

// PeerOf returns who p is; see [PeerFromContext].
func PeerOf(p *peer.Peer) (*tlsctx.Peer, bool) {
	info, ok := p.AuthInfo.(AuthInfo)
	return info.Peer, ok
}

func authInfo(p *tlsctx.Peer) AuthInfo {
	return AuthInfo{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		Peer:           p,
	}
}

// Errors of using one side's credentials for the other.
var (
	errNotServer = errors.New("grpccreds: these are client credentials: use NewServer for a server")
	errNotClient = errors.New("grpccreds: these are server credentials: use NewClient for a client")
)

type clientCredentials struct{ config tlsctx.ClientConfig }

func (c *clientCredentials) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, err := tlsctx.Client(ctx, raw, &c.config)
	if err != nil {
		return nil, nil, err
	}
	return conn, authInfo(conn.Peer()), nil
}

func (c *clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errNotServer
}

func (c *clientCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: protocol}
}

func (c *clientCredentials) Clone() credentials.TransportCredentials {
	return &clientCredentials{config: c.config}
}

// OverrideServerName sets the SNI to send; grpc-go has deprecated it.
func (c *clientCredentials) OverrideServerName(name string) error {
	c.config.ServerName = name
	return nil
}

type serverCredentials struct{ config tlsctx.ServerConfig }

func (s *serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errNotClient
}

func (s *serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, err := tlsctx.Server(context.Background(), raw, &s.config)
	if err != nil {
		return nil, nil, err
	}
	return conn, authInfo(conn.Peer()), nil
}

func (s *serverCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: protocol}
}

func (s *serverCredentials) Clone() credentials.TransportCredentials {
	return &serverCredentials{config: s.config}
}

func (s *serverCredentials) OverrideServerName(string) error { return errNotClient }
