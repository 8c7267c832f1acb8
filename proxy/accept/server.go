package accept

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limit names a bound that a listener kept; use it as a metric's label.
type Limit string

// The limits.
const (
	// LimitConnections: as many connections are open as may be. The listener
	// does not accept until one ends.
	LimitConnections Limit = "connections"

	// LimitHandshakes: as many handshakes are in progress as may be.
	LimitHandshakes Limit = "handshakes"

	// LimitHandshakesPerSource: as many of them come from one address as may.
	LimitHandshakesPerSource Limit = "handshakes_per_source"

	// LimitDescriptors: the process or the system is out of descriptors.
	LimitDescriptors Limit = "descriptors"
)

// Conn is an accepted connection and what is known of its addresses.
type Conn struct {
	net.Conn

	// Source is the client's address: from a trusted PROXY protocol header,
	// else the peer's. It is invalid for unix sockets.
	Source netip.AddrPort

	// Destination is the address that the client connected to, however it was
	// learnt: from a trusted PROXY protocol header, from the redirect that
	// brought it here, or the local address.
	Destination netip.AddrPort
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Config is how a [Server] accepts. The zero value works.
type Config struct {
	// MaxConnections bounds the open connections; 0 means no bound.
	MaxConnections int

	// Socket sets the options of accepted connections.
	Socket SocketOptions

	// Proxy says whether a PROXY protocol header comes first.
	Proxy ProxyHeader

	// OnLimit is told when a limit is met, and how many connections wait or
	// were dropped is the caller's to count. Nil ignores it.
	OnLimit func(Limit)

	// OnError is told of connections that could not be accepted, or whose
	// PROXY protocol header was refused. Nil ignores it.
	OnError func(error)
}

// Server accepts from one listener and runs a handler a connection.
type Server struct {
	config  Config
	handler func(ctx context.Context, c *Conn)
	slots   chan struct{}

	forced context.Context // ends when draining is over
	force  context.CancelFunc
	conns  sync.WaitGroup
}

// NewServer returns a server that hands connections to handler, which owns the
// connection and returns when it is done with it. The context it gets ends when
// draining is over.
func NewServer(config Config, handler func(ctx context.Context, c *Conn)) *Server {
	s := &Server{config: config, handler: handler}
	if config.MaxConnections > 0 {
		s.slots = make(chan struct{}, config.MaxConnections)
	}
	s.forced, s.force = context.WithCancel(context.Background())
	return s
}

// Backoff after a failed accept, such as one for want of descriptors: doubling
// from the first to the last.
const (
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = time.Second
)

// Serve accepts until ctx ends or the listener is closed, and returns nil; or
// until it fails for good. It closes the listener. Connections live on: see
// [Server.Drain].
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	inherited := s.config.Socket.Inherit(listener)
	defer listener.Close()
	backoff := firstBackoff
	for s.reserve(ctx) {
		raw, err := listener.Accept()
		switch {
		case err == nil:
			backoff = firstBackoff
			s.conns.Go(func() {
				defer s.free()
				if !inherited {
					s.config.Socket.Apply(raw)
				}
				s.serve(raw)
			})
			continue
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			s.free()
			return nil
		case !isTemporary(err):
			s.free()
			return err
		}
		s.free()
		s.failed(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
			backoff = min(2*backoff, lastBackoff)
		}
	}
	return nil
}

// Drain waits for the connections to end, and reports true. When ctx ends first
// it ends them by force, waits, and reports false. Call it when Serve has
// returned.
func (s *Server) Drain(ctx context.Context) bool {
	defer s.force()
	done := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		s.force()
		<-done
		return false
	}
}

// serve prepares one connection and hands it over.
func (s *Server) serve(raw net.Conn) {
	c, err := s.config.Proxy.read(s.forced, raw)
	if err != nil {
		_ = raw.Close()
		s.failed(err)
		return
	}
	s.handler(s.forced, c)
}

// reserve takes a slot before a connection is accepted, so that one over the
// limit waits in the listen queue. It reports false when ctx has ended.
func (s *Server) reserve(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	if s.slots == nil {
		return true
	}
	select {
	case s.slots <- struct{}{}:
		return true
	default:
		s.limited(LimitConnections)
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) free() {
	if s.slots != nil {
		<-s.slots
	}
}

func (s *Server) limited(l Limit) {
	if s.config.OnLimit != nil {
		s.config.OnLimit(l)
	}
}

func (s *Server) failed(err error) {
	if isOutOfDescriptors(err) {
		s.limited(LimitDescriptors)
	}
	if s.config.OnError != nil {
		s.config.OnError(err)
	}
}
