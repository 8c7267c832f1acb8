package http

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// server2 is a connection from a client that speaks HTTP/2: a peer's session, or
// an application's.
type server2 struct {
	batch
	relay  *Relay
	ctx    context.Context
	source *Source
	told   *told

	requests atomic.Uint64 // how many there have been
}

// serveH2 relays the requests of a connection of HTTP/2.
func (r *Relay) serveH2(ctx context.Context, c *Connection) error {
	config := r.config.H2
	config.ConnectProtocol = true
	config.Peeked = c.Peeked
	if config.WriteTimeout == 0 {
		config.WriteTimeout = r.config.Timeouts.Write
	}
	if p := c.Source.Peer; p != nil && p.Aware && p.Session == tlsctx.H2 {
		config.MaxFrameSize = cmp.Or(config.MaxFrameSize, longFrame)
	}
	if config.Count == nil {
		config.Count = func(reason h2.Reason) { r.count("h2_" + string(reason)) }
	}
	s := &server2{relay: r, ctx: ctx, source: c.Source, told: r.fields.of(c.Source)}
	conn := h2.New(c.Conn, h2.Server, config, s)
	stop := context.AfterFunc(c.Drain, conn.Drain)
	defer stop()
	if idle := r.config.Timeouts.Idle; idle > 0 {
		w := &idleWatch{server: s, conn: conn, idle: idle}
		w.start()
		defer w.stop()
	}
	return conn.Run(ctx)
}

// idleWatch drains a connection that has carried nothing for a whole period.
type idleWatch struct {
	server *server2
	conn   *h2.Conn
	idle   time.Duration
	last   uint64 // requests when it last looked

	mu    sync.Mutex
	timer *time.Timer // nil once stopped
}

func (w *idleWatch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.idle, w.look)
}

func (w *idleWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.timer = nil
}

func (w *idleWatch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	now := w.server.requests.Load()
	if now == w.last && w.conn.Streams() == 0 {
		w.conn.Drain()
		return
	}
	w.last = now
	w.timer.Reset(w.idle)
}

// Ready and Changed say nothing that a server has to act on.
func (s *server2) Ready(*h2.Conn)   {}
func (s *server2) Changed(*h2.Conn) {}

// Accept starts an exchange for a request.
func (s *server2) Accept(stream *h2.Stream, h *h2.Headers, end bool) h2.StreamHandler {
	s.requests.Add(1)
	x := s.relay.newExchange(s.ctx, s.source, s.told, nil)
	d := &x.down2
	*d = stream2{x: x, server: s, stream: stream}
	x.down = d
	if refused := requestOf(x.request(), h, end); refused != nil {
		s.relay.count(string(refused.Reason))
		x.ended = end
		x.refuse(&Failure{Reason: ofMessage(refused), Err: refused})
		return d
	}
	s.late(x, false)
	x.start(end)
	return d
}

// stream2 is the client's side of an exchange on a stream of HTTP/2.
type stream2 struct {
	x      *exchange
	server *server2
	stream *h2.Stream
}

// release gives the stream back, of which nothing is known any more.
func (d *stream2) release() {
	if d.stream != nil {
		d.stream.Release()
	}
}

// Headers takes the request's trailers.
func (d *stream2) Headers(_ *h2.Stream, h *h2.Headers, _ bool) {
	d.server.late(d.x, false)
	d.x.requestTrailers(h.Fields)
}

// Data takes content of the request.
func (d *stream2) Data(_ *h2.Stream, chunk h2.Chunk, end bool) {
	d.server.late(d.x, false)
	d.x.requestData(chunk, end)
}

// Sent says that content of the response is on its way.
func (d *stream2) Sent(_ *h2.Stream, n int) { d.x.downSent(n) }

// Closed ends the exchange, if it has not ended.
func (d *stream2) Closed(_ *h2.Stream, err *h2.Error) {
	if err != nil {
		d.x.downClosed(err)
	} else {
		d.x.downClosed(nil)
	}
}

func (d *stream2) respond(_ *exchange, r *message.Response, end bool) {
	h := h2.Headers{Kind: h2.Response, Status: r.Status, Fields: r.Fields}
	if r.Informational() {
		h.Kind = h2.Informational
	}
	_ = d.stream.SendHeaders(&h, end) // a stream that has ended tells Closed
}

func (d *stream2) data(x *exchange, chunk h2.Chunk, end bool) {
	x.downSent(d.stream.Send(chunk, end))
}

func (d *stream2) trailers(_ *exchange, fields []message.Field) {
	_ = d.stream.SendHeaders(&h2.Headers{Kind: h2.Trailers, Fields: fields}, true)
}

func (d *stream2) flush() {}

func (d *stream2) consumed(n int) { d.stream.Consumed(n) }

func (d *stream2) abort(f *Failure) {
	code := h2.InternalError
	if e, ok := errors.AsType[*h2.Error](f); ok && e.Reason == h2.ReasonPeerReset {
		code = e.Code // gRPC makes a status of it
	} else if d.x.tunnel {
		code = h2.ConnectError
	}
	d.stream.Reset(code)
}

// over tells a client that is still sending that nobody listens (RFC 9113,
// section 8.1).
func (d *stream2) over() {
	if !d.x.requestEnded() {
		d.stream.Finish(h2.NoError)
	}
}
