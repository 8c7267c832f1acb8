package http

import (
	"net"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// respond writes the head of a response.
func (s *server1) respond(x *exchange, r *message.Response, end bool) {
	o := h1.Outgoing{}
	if r.Informational() {
		if x.in.Minor == 1 {
			s.went100 = s.went100 || r.Status == 100
			s.out.End(h1.AppendResponse(s.out.Begin(), r, o), 0)
		}
		return
	}
	o.Body = s.frame(x, r, end)
	asked := x.request().Tunnel()
	if asked && o.Body == h1.Tunnel {
		o.Upgrade = x.request().Protocol
	}
	unsure := x.in.Continue && !s.went100 && !s.bodyRead.Load() // it may send the body, or not
	if o.Body == h1.UntilClose || unsure || asked || s.draining.Load() {
		s.closing.Store(true)
	}
	o.Close = s.closing.Load() && o.Body != h1.Tunnel
	o.KeepAlive = !o.Close && x.in.Minor == 0
	s.mu.Lock()
	s.framing, s.left = o.Body, r.Length
	s.mu.Unlock()
	s.out.End(h1.AppendResponse(s.out.Begin(), r, o), 0)
	if o.Body == h1.Tunnel { // said before the client can know, and end its direction
		s.tunnel.Store(true)
		s.turn.done()
		s.out.Flush()
	}
}

// frame decides how the content of a final response is framed.
func (s *server1) frame(x *exchange, r *message.Response, end bool) h1.Framing {
	method := x.request().Method
	switch {
	case method == "CONNECT" && r.Status < 300:
		return h1.Tunnel
	case !r.HasBody(method):
		return h1.NoBody
	case end:
		r.Length = 0
		return h1.NoBody
	case r.Length >= 0 && (x.in.Minor == 0 || !announced(r.Fields)):
		return h1.Sized
	case x.in.Minor == 1: // trailers have no room behind content of a stated length
		return h1.Chunked
	default:
		return h1.UntilClose
	}
}

// announced reports whether trailers are said to come.
func announced(fields []message.Field) bool {
	_, ok := message.Get(fields, "trailer")
	return ok
}

// data writes content of the response.
func (s *server1) data(x *exchange, chunk h2.Chunk, end bool) {
	s.mu.Lock()
	framing := s.framing
	if framing == h1.Sized {
		s.left -= int64(chunk.Len())
	}
	tooMuch := framing == h1.Sized && s.left < 0 // it would be read as another response
	if framing != h1.NoBody && !tooMuch {
		s.unsent += chunk.Len()
	}
	s.mu.Unlock()
	if tooMuch {
		s.closing.Store(true)
	}
	if framing == h1.NoBody || tooMuch {
		n := chunk.Len()
		chunk.Release()
		x.downSent(n)
		return
	}
	b := s.out.Begin()
	switch {
	case framing != h1.Chunked:
		b = append(b, chunk.Bytes()...)
	case chunk.Len() > 0:
		b = h1.AppendChunk(b, chunk.Bytes())
	}
	if end && framing == h1.Chunked {
		b = h1.AppendLastChunk(b, nil)
	}
	s.out.End(b, chunk.Len())
	chunk.Release()
	if end && framing == h1.Tunnel {
		s.out.CloseWrite()
	}
}

// trailers ends the response with trailers, where its framing has room for them.
func (s *server1) trailers(_ *exchange, fields []message.Field) {
	s.mu.Lock()
	framing := s.framing
	s.mu.Unlock()
	if framing == h1.Chunked {
		s.out.End(h1.AppendLastChunk(s.out.Begin(), fields), 0)
	}
}

func (s *server1) flush() { s.out.Flush() }

// over says that the answer is complete: it is the next request's turn.
func (s *server1) over() {
	s.mu.Lock()
	s.x, s.unsent = nil, 0
	s.mu.Unlock()
	if !s.bodyRead.Load() {
		s.closing.Store(true)
	}
	s.turn.done()
	if s.closing.Load() {
		s.wakeReader() // it may be waiting for the rest, or for another request
	}
}

// wakeReader makes a read that is under way return. What it is to find has been
// set before.
func (s *server1) wakeReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lingering {
		_ = s.conn.SetReadDeadline(past)
	}
}

// leave gives an exchange up.
func (s *server1) leave(x *exchange, err error) {
	s.mu.Lock()
	s.x, s.unsent = nil, 0
	s.mu.Unlock()
	x.downClosed(err)
}

// consumed lets the reader go on.
func (s *server1) consumed(n int) {
	s.mu.Lock()
	x := s.x
	s.mu.Unlock()
	if x != nil {
		x.downGate.pass(n)
	}
}

// abort breaks the response off so that the client knows: only the end of the
// connection tells, and a reset where that end would look like one in order.
func (s *server1) abort(*Failure) {
	s.mu.Lock()
	framing := s.framing
	s.x, s.unsent = nil, 0
	s.mu.Unlock()
	s.closing.Store(true)
	if framing == h1.UntilClose || framing == h1.Tunnel {
		reset(s.conn)
	} else {
		s.out.Close()
	}
	s.turn.done()
	s.wakeReader()
}

// reset closes a connection so that its peer sees a reset.
func reset(c net.Conn) {
	for below := c; ; {
		switch conn := below.(type) {
		case *net.TCPConn:
			_ = conn.SetLinger(0)
			_ = c.Close()
			return
		case interface{ NetConn() net.Conn }:
			below = conn.NetConn()
		default:
			_ = c.Close()
			return
		}
	}
}

// sent is told by the writer what is on its way.
func (s *server1) sent(n int) {
	s.mu.Lock()
	x := s.x
	n = min(n, s.unsent) // the rest was another exchange's
	s.unsent -= n
	if x != nil {
		x.hold()
	}
	s.mu.Unlock()
	if x != nil {
		x.downSent(n)
		x.release()
	}
}

// failed is told by the writer that the client cannot be written to.
func (s *server1) failed(err error) {
	if h1.Expired(err) {
		s.relay.count("write_timeout")
	}
	s.closing.Store(true)
	_ = s.conn.Close()
	s.mu.Lock()
	x := s.x
	if x != nil {
		x.hold()
	}
	s.mu.Unlock()
	if x != nil {
		x.downGone(err)
		x.release()
	}
	s.turn.done()
}
