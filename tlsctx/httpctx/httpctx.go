// Package httpctx makes a net/http program a full peer: a server whose handlers
// know who calls, and a transport whose responses say who answered.
//
// It never does anything per request but hand over what the handshake left, and
// it is apart from tlsctx so that importing that brings no net/http.
package httpctx

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// ServerConfig returns the configuration with what an HTTP server wants where
// it says nothing: h2 and raw sessions, and the ALPN identifiers h2 and
// http/1.1 from clients that know no hallmark token.
func ServerConfig(config tlsctx.ServerConfig) *tlsctx.ServerConfig {
	if config.Sessions == nil {
		config.Sessions = []tlsctx.Session{tlsctx.H2, tlsctx.Raw}
	}
	if config.Registered == nil {
		config.Registered = []string{tlsctx.HTTP2.Registered(), tlsctx.HTTP1.Registered()}
	}
	return &config
}

// Serve serves HTTP/1.1 and HTTP/2 on connections from the listener whose
// handshake is complete, until server is shut down or the listener fails; its
// error is never nil. Handlers find the caller by [PeerFromContext], and its
// tls.ConnectionState in Request.TLS. Serve changes server's ConnContext,
// Protocols and Handler, keeping what the first and the last did; it refuses a
// server without a Handler, and closes inner when it returns.
func Serve(server *http.Server, inner net.Listener, config tlsctx.ServerConfig, options tlsctx.ListenerOptions) error {
	if server.Handler == nil {
		_ = inner.Close()
		return errNoHandler
	}
	configure(server)
	return server.Serve(listener{tlsctx.NewListener(inner, ServerConfig(config), options)})
}

// listener hands out connections of which net/http sees no TLS state: it then
// takes one that starts with the HTTP/2 preface for HTTP/2 with prior
// knowledge, whatever ALPN identifier was negotiated.
type listener struct{ *tlsctx.Listener }

// plain hides all of a connection but net.Conn.
type plain struct{ net.Conn }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return plain{c}, nil
}

type connKey struct{}

func configure(server *http.Server) {
	before := server.ConnContext
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, c)
		}
		if hidden, ok := c.(plain); ok {
			c = hidden.Conn
		}
		return context.WithValue(ctx, connKey{}, c)
	}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	server.Handler = withState(server.Handler)
}

// withState fills in Request.TLS, which net/http cannot do for a [plain].
func withState(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*tlsctx.Conn); ok {
			state := c.ConnectionState()
			r.TLS = &state
		}
		next.ServeHTTP(w, r)
	})
}

// PeerFromContext returns who calls, from the context of a request that [Serve]
// took, or who answered, from that of a response's Request. It reports false
// for any other.
func PeerFromContext(ctx context.Context) (*tlsctx.Peer, bool) {
	c, ok := ctx.Value(connKey{}).(*tlsctx.Conn)
	if !ok {
		return nil, false
	}
	return c.Peer(), true
}

// Transport is a [http.RoundTripper] that speaks HTTP/1.1 over raw sessions for
// https URLs, and refuses others. Make one with [NewTransport].
type Transport struct{ inner *http.Transport }

// NewTransport returns a transport that shakes hands by the configuration.
// Connections are kept and reused as by [http.Transport].
func NewTransport(config tlsctx.ClientConfig) *Transport {
	config.Sessions = []tlsctx.Session{tlsctx.Raw}
	config.Detected = tlsctx.HTTP1
	dialer := &tlsctx.Dialer{Config: config}
	return &Transport{inner: &http.Transport{
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, errPlaintext
		},
		MaxIdleConnsPerHost: maxIdlePerHost,
	}}
}

// maxIdlePerHost keeps connections, each of which cost a handshake.
const maxIdlePerHost = 16

// RoundTrip sends the request. PeerFromContext(response.Request.Context()) says
// who answered.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var conn net.Conn
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { conn = info.Conn },
	})
	response, err := t.inner.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	response.Request = r.WithContext(context.WithValue(r.Context(), connKey{}, conn))
	return response, nil
}

// CloseIdleConnections closes the connections that are not in use.
func (t *Transport) CloseIdleConnections() { t.inner.CloseIdleConnections() }
