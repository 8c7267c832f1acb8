package http

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Defaults of a [PlainConfig].
const (
	// DefaultPlainIdle is less than what common servers keep an idle
	// connection for, so that they do not close it under a request.
	DefaultPlainIdle     = 3 * time.Second
	DefaultPlainMax      = 1024
	DefaultPlainConnects = 5 * time.Second
)

// PlainConfig is how a [Plain] connects. Dial is required.
type PlainConfig struct {
	// Dial opens a connection.
	Dial func(ctx context.Context) (net.Conn, error)

	// Protocol is what the application speaks: [tlsctx.HTTP1], also if it is
	// empty, or [tlsctx.HTTP2] with prior knowledge (RFC 9113, section 3.3).
	Protocol tlsctx.Protocol

	// Idle is how long a connection is kept without a request; 0 means
	// [DefaultPlainIdle]. It has to be less than the application's.
	Idle time.Duration

	// Max bounds the connections of HTTP/1; 0 means [DefaultPlainMax].
	Max int

	// Connect is how long opening a connection may take; 0 means
	// [DefaultPlainConnects].
	Connect time.Duration

	// Write is how long writing 64 KiB may take; 0 means
	// [h1.DefaultWriteTimeout].
	Write time.Duration

	// Limits bound responses of HTTP/1; H2 is how connections of HTTP/2
	// behave.
	Limits h1.Limits
	H2     h2.Config
}

// Plain is an application that requests are sent to, over a pool of connections.
// It is safe for concurrent use.
type Plain struct {
	config PlainConfig

	mu     sync.Mutex
	closed bool
	idle   []*client1 // the one used last is used next
	all    map[*client1]struct{}
	opened int // connections that are open or being opened
	h2     []*Session
	wg     sync.WaitGroup
}

// NewPlain returns a Plain without a connection.
func NewPlain(config PlainConfig) *Plain {
	config.Idle = orDefault(config.Idle, DefaultPlainIdle)
	config.Max = orDefault(config.Max, DefaultPlainMax)
	config.Connect = orDefault(config.Connect, DefaultPlainConnects)
	config.Limits = config.Limits.Defaults()
	return &Plain{config: config, all: make(map[*client1]struct{})}
}

// Close closes every connection, and the requests on them, and waits until their
// readers have ended. Requests that come later fail.
func (p *Plain) Close() {
	p.mu.Lock()
	p.closed = true
	sessions := p.h2
	p.h2 = nil
	conns := make([]*client1, 0, len(p.all))
	for c := range p.all {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	for _, c := range conns {
		_ = c.conn.Close()
	}
	for _, s := range sessions {
		_ = s.Close()
	}
	p.wg.Wait()
}

// Connections returns how many connections there are.
func (p *Plain) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all) + len(p.h2)
}

// Stats returns how many connections are on their way, carry requests, and do
// not.
func (p *Plain) Stats() (opening, busy, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle = len(p.idle)
	for _, s := range p.h2 {
		if s.Streams() == 0 {
			idle++
		}
	}
	there := len(p.all) + len(p.h2)
	return max(p.opened-there, 0), there - idle, idle
}

func (p *Plain) attempt(x *exchange) attempt {
	if p.config.Protocol == tlsctx.HTTP2 {
		var s *Session
		if x.record.Attempts < 2 { // the third time on one that is surely open
			s = p.session()
		}
		return newAttempt2(x, s, p)
	}
	if x.record.Attempts > 0 { // this time on a connection that is surely open
		return &attempt1{x: x, plain: p}
	}
	x.up1 = attempt1{x: x, plain: p, conn: p.take()}
	return &x.up1
}

// take returns the idle connection that was used last, or nil.
func (p *Plain) take() *client1 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c
}

// put keeps a connection for another request. It reports false if it is not
// wanted.
func (p *Plain) put(c *client1) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	c.since = time.Now()
	p.idle = append(p.idle, c)
	return true
}

// remove takes a connection out of those that are idle and reports whether it
// was one of them, for at least so long.
func (p *Plain) remove(c *client1, atLeast time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.idle {
		if other == c {
			if time.Since(c.since) < atLeast {
				return false
			}
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return true
		}
	}
	return false
}

// expires returns when a connection will have been idle for too long: one that is
// in use, as if it were idle from now.
func (p *Plain) expires(c *client1) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if at := c.since.Add(p.config.Idle); at.After(now) {
		return at
	}
	return now.Add(p.config.Idle)
}

// session returns a session that takes a request, or nil.
func (p *Plain) session() *Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.h2 {
		if s.Available() {
			return s
		}
	}
	return nil
}

// dial opens a connection. Its failure says that nothing has been sent.
func (p *Plain) dial(ctx context.Context) (net.Conn, *Failure) {
	p.mu.Lock()
	switch {
	case p.closed:
		p.mu.Unlock()
		return nil, &Failure{Reason: Draining}
	case p.opened >= p.config.Max:
		p.mu.Unlock()
		return nil, &Failure{Reason: Overload}
	}
	p.opened++
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.config.Connect)
	defer cancel()
	conn, err := p.config.Dial(ctx)
	if err == nil {
		return conn, nil
	}
	p.left()
	reason := UpstreamRefused
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		reason = ConnectTimeout
	}
	return nil, &Failure{Reason: reason, Err: err}
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// left notes that a connection is gone.
func (p *Plain) left() {
	p.mu.Lock()
	p.opened--
	p.mu.Unlock()
}

// open opens a connection of HTTP/1, which reads from then on.
func (p *Plain) open(ctx context.Context) (*client1, *Failure) {
	conn, f := p.dial(ctx)
	if f != nil {
		return nil, f
	}
	c := newClient1(p, conn)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		_ = conn.Close()
		p.left()
		return nil, &Failure{Reason: Draining}
	}
	p.all[c] = struct{}{}
	p.wg.Add(1)
	p.mu.Unlock()
	go func() {
		defer p.wg.Done()
		c.run()
		p.mu.Lock()
		delete(p.all, c)
		p.mu.Unlock()
		p.left()
	}()
	return c, nil
}

// openSession opens a connection of HTTP/2, unless another has become available.
func (p *Plain) openSession(ctx context.Context) (*Session, *Failure) {
	conn, f := p.dial(ctx)
	if f != nil {
		return nil, f
	}
	s := NewSession(conn, p.config.H2)
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.h2 = append(p.h2, s)
		p.wg.Add(1)
	}
	p.mu.Unlock()
	if closed {
		_ = s.Close()
		p.left()
		return nil, &Failure{Reason: Draining}
	}
	go func() {
		defer p.wg.Done()
		p.keep(s)
	}()
	if err := s.Await(ctx); err != nil {
		e, ok := errors.AsType[*h2.Error](err)
		lost := ok && e.Reason == h2.ReasonLost // another may be kept
		return nil, &Failure{Reason: UpstreamRefused, Err: err, Unprocessed: lost}
	}
	return s, nil
}

// keep waits until a session has ended, or has been idle for too long.
func (p *Plain) keep(s *Session) {
	idle := time.NewTicker(max(p.config.Idle, time.Second))
	defer idle.Stop()
	quiet := false
	for ended := false; !ended; {
		select {
		case <-s.Done():
			ended = true
		case <-idle.C:
			if quiet && s.Streams() == 0 {
				s.Retire()
			}
			quiet = s.Streams() == 0
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened--
	for i, other := range p.h2 {
		if other == s {
			p.h2 = append(p.h2[:i], p.h2[i+1:]...)
			return
		}
	}
}
