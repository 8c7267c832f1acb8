package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/accept"
	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/proxy/http"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// listener is a listening socket, and what is done with its connections now.
type listener struct {
	proxy   *Proxy
	address string // as configured
	socket  socket
	side    atomic.Pointer[side]
	open    atomic.Int64 // connections
	flying  atomic.Int64 // requests

	relaysMu sync.Mutex
	relays   map[tlsctx.Protocol]*http.Relay // by what clients' applications speak
	relayed  *config.ProxySpec               // that they were made for

	server *accept.Server
	stop   context.CancelFunc
	served chan struct{}
	turn   *turn
}

// socket is a listening socket that can be accepted from by one server after
// another.
type socket interface {
	net.Listener
	syscall.Conn
	SetDeadline(t time.Time) error
}

// turn is a server's time at a socket: closing it ends the turn, and leaves the
// socket, with the connections in its queue, to the next.
type turn struct {
	socket

	mu   sync.Mutex
	over bool // it takes no more connections
	left bool // the socket is the next one's
}

// Accept returns the next connection, or net.ErrClosed once the turn is over.
func (t *turn) Accept() (net.Conn, error) {
	c, err := t.socket.Accept()
	if err != nil && t.isOver() && errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, net.ErrClosed
	}
	return c, err
}

func (t *turn) isOver() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

// Inherits reports whether connections have the options of the socket.
func (t *turn) Inherits() bool {
	i, ok := t.socket.(interface{ Inherits() bool })
	return ok && i.Inherits()
}

// Close ends the turn.
func (t *turn) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over = true; t.left {
		return nil
	}
	return t.SetDeadline(time.Unix(1, 0))
}

// leave makes the socket ready for the next: a Close that comes late does not
// reach it.
func (t *turn) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left = true
	_ = t.SetDeadline(time.Time{})
}

// listen opens the socket of a side.
func (p *Proxy) listen(ctx context.Context, s *side) (*listener, error) {
	l, err := p.sockets.Listen(ctx, s.listen)
	if err != nil {
		return nil, err
	}
	sock, ok := l.(socket)
	if !ok {
		_ = l.Close()
		return nil, fmt.Errorf("accept: %s is no TCP socket but a %T", s.listen, l)
	}
	return &listener{proxy: p, address: s.listen, socket: sock}, nil
}

// take makes the listener treat connections as the side says, from the next one
// on, and starts to accept if it does not yet.
func (l *listener) take(s *side) {
	old := l.side.Swap(s)
	if old != nil && sameAccept(&old.accept, &s.accept) {
		return
	}
	if old != nil {
		l.pause()
	}
	l.start(s)
}

// sameAccept reports whether a server need not be replaced.
func sameAccept(a, b *accept.Config) bool {
	return a.MaxConnections == b.MaxConnections && a.Socket == b.Socket &&
		a.Proxy.Timeout == b.Proxy.Timeout && slices.Equal(a.Proxy.Trusted, b.Proxy.Trusted)
}

// start starts a server at the socket.
func (l *listener) start(s *side) {
	settings := s.accept
	settings.OnLimit = func(limit accept.Limit) { l.proxy.record.LimitMet(string(limit)) }
	settings.OnError = func(err error) {
		l.proxy.record.AcceptFailed()
		l.proxy.sampled.Warn("a connection could not be accepted", zap.String("listener", s.name), zap.Error(err))
	}
	ctx, stop := context.WithCancel(context.Background())
	server := accept.NewServer(settings, func(ctx context.Context, c *accept.Conn) {
		l.open.Add(1)
		defer l.open.Add(-1)
		l.flow(ctx, c)
	})
	l.server, l.stop, l.served, l.turn = server, stop, make(chan struct{}), &turn{socket: l.socket}
	served, turn := l.served, l.turn
	l.proxy.work.Go(func() {
		defer close(served)
		if err := server.Serve(ctx, turn); err != nil {
			l.proxy.log.Error("a listener has failed: its address takes no more connections",
				zap.String("listener", s.name), zap.String("address", l.address), zap.Error(err))
		}
	})
}

// pause stops accepting; connections live on.
func (l *listener) pause() {
	l.stop()
	<-l.served
	l.turn.leave()
	l.proxy.letGo(l.server, 0)
}

// close stops accepting for good and closes the socket.
func (l *listener) close() {
	l.stop()
	<-l.served
	_ = l.socket.Close()
}

// inbound reports whether the listener is for peers.
func (l *listener) inbound() bool { return l.side.Load().reporter == metrics.Destination }
