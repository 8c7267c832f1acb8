package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
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
)

// Serve serves handler on listener, which it closes, until ctx ends, and returns
// nil; or until accepting fails. What is being answered then has two seconds
// left. Its complaints about clients go to log, at the level debug.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, log *zap.Logger) error {
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

		DisableGeneralOptionsHandler: true,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(limit(listener, maxConnections, maxPerSource)) }()
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
