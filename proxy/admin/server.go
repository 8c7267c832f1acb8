package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Bounds of a port, so that whoever can connect can hold up neither the proxy
// nor, from one address, the others who ask.
const (
	headerTimeout  = 5 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 8 << 10
	maxConnections = 128
	maxPerSource   = 32
	grace          = 2 * time.Second
	maxRefusals    = 5 // that are logged, of each second
)

// Serve serves handler on listener, which it closes, until ctx ends, and returns
// nil; or until accepting fails. What is being answered then has two seconds
// left. Its complaints about clients go to log, at the level debug.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, log *zap.Logger) error {
	return serveOn(ctx, limit(listener, maxConnections, maxPerSource), handler, log)
}

// ServeMutual is [Serve] by mutual TLS, with HTTP/1.1: config says who we are, and
// its policy who may look; its sessions are none of the caller's business. Who is
// refused is told by the handshake, and log.
func ServeMutual(ctx context.Context, listener net.Listener, handler http.Handler, config tlsctx.ServerConfig, log *zap.Logger) error {
	config.Sessions, config.Registered = []tlsctx.Session{tlsctx.Raw}, []string{tlsctx.HTTP1.Registered()}
	config.Awareness, config.Select = tlsctx.Prefer, nil
	few := log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, maxRefusals, 0)
	}))
	secured := tlsctx.NewListener(limit(listener, maxConnections, maxPerSource), &config, tlsctx.ListenerOptions{
		MaxHandshakes: maxConnections,
		OnError: func(remote net.Addr, err error) {
			few.Warn("the admin port has refused somebody", zap.Stringer("remote", remote), zap.Error(err))
		},
	})
	return serveOn(ctx, secured, handler, log)
}

// peerKey is where a request's context has the connection to a peer.
type peerKey struct{}

// peerOf returns who asks, if they have shown it.
func peerOf(r *http.Request) (*tlsctx.Peer, bool) {
	conn, ok := r.Context().Value(peerKey{}).(*tlsctx.Conn)
	if !ok {
		return nil, false
	}
	return conn.Peer(), true
}

func serveOn(ctx context.Context, listener net.Listener, handler http.Handler, log *zap.Logger) error {
	errorLog, err := zap.NewStdLogAt(log, zap.DebugLevel)
	if err != nil {
		return fmt.Errorf("admin: prepare the server's log: %w", err)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          errorLog,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, peerKey{}, c) },

		DisableGeneralOptionsHandler: true,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		_ = server.Close()
		return fmt.Errorf("admin: serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: serve %s: %w", listener.Addr(), err)
	}
	return nil
}
