package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"

	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy"
	"github.com/hallmark-mesh/hallmark/proxy/accept"
	"github.com/hallmark-mesh/hallmark/proxy/admin"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// pages are the HTTP ports of a running sidecar.
type pages struct {
	listeners map[string]net.Listener // by their configured addresses
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

// openPages serves the ports that are configured.
func (s *sidecar) openPages(ctx context.Context, sockets *accept.Sockets) (*pages, error) {
	spec := &s.fixed.Proxy.Spec
	p := &pages{listeners: make(map[string]net.Listener)}
	ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx)) // they outlive the order to end
	public := admin.Public(admin.PublicConfig{Metrics: s.record.Handler(), Ready: s.proxy.Ready})
	operator := admin.Operator(admin.OperatorConfig{
		Version: version, Metrics: s.record.Handler(), Ready: s.proxy.Ready,
		Config: s.showConfig, Sessions: s.showSessions, PProf: spec.Admin.PProf,
		Stat: s.showStat(), Tap: s.openTap,
	})
	serveAdmin := admin.Serve
	if len(spec.Admin.Allow) > 0 {
		serveAdmin = s.serveMutual
	}
	for _, port := range []struct {
		what, address string
		handler       http.Handler
		serve         func(context.Context, net.Listener, http.Handler, *zap.Logger) error
	}{{"metrics", spec.Metrics.Listen, public, admin.Serve}, {"admin", spec.Admin.Listen, operator, serveAdmin}} {
		if port.address == "" {
			continue
		}
		l, err := sockets.Listen(ctx, port.address)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("%s: %w", port.what, err)
		}
		p.listeners[port.address] = l
		s.log.Info("listening", zap.String("for", port.what), zap.Stringer("address", l.Addr()))
		p.wg.Go(func() {
			if err := port.serve(ctx, l, port.handler, s.log); err != nil {
				s.log.Error("a port for operators has failed", zap.String("for", port.what), zap.Error(err))
			}
		})
	}
	return p, nil
}

// serveMutual serves the operator's port to those who are allowed.
func (s *sidecar) serveMutual(ctx context.Context, l net.Listener, handler http.Handler, log *zap.Logger) error {
	return admin.ServeMutual(ctx, l, handler, tlsctx.ServerConfig{
		Source: s.identity,
		Policy: tlsctx.Policy{Authorize: proxy.Expected(s.fixed.Proxy.Spec.Admin.Allow)},
	}, log)
}

// close ends serving. It may be called more than once.
func (p *pages) close() {
	p.cancel()
	p.wg.Wait()
}

// sockets returns every listening socket by its configured address, for a
// successor.
func (s *sidecar) sockets() map[string]net.Listener {
	all := s.proxy.Sockets()
	maps.Copy(all, s.pages.listeners)
	return all
}

// showConfig returns the configuration in force, with its defaults and without
// secrets.
func (s *sidecar) showConfig() ([]any, error) {
	if c := s.proxy.Config(); c != nil {
		return c.Resources(), nil
	}
	return nil, nil
}

// showSessions returns the open sessions with peers.
func (s *sidecar) showSessions(most int) []admin.Session {
	states := s.record.Sessions(most)
	shown := make([]admin.Session, len(states))
	for i := range states {
		shown[i] = shownSession(&states[i])
	}
	return shown
}

func shownSession(s *metrics.SessionState) admin.Session {
	return admin.Session{
		ID: s.ID, Side: string(s.Side), Kind: s.Kind, Peer: s.Peer, Remote: s.Remote, Opened: s.Opened,
		Streams: s.Streams, Total: s.Total, Sent: s.Sent, Received: s.Received,
	}
}
