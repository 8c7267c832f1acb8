package http

import (
	"context"
	"net/netip"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// attempt1 is the server's side of an exchange on a connection of HTTP/1.
type attempt1 struct {
	x        *exchange
	plain    *Plain
	conn     *client1 // nil: one has to be opened
	method   string   // as written
	chunked  bool
	tunnel   bool
	left     int64 // of content of a stated length
	complete bool  // the request has been written to its end; under conn.mu
}

func (a *attempt1) prepare(ctx context.Context) *Failure {
	var f *Failure
	a.conn, f = a.plain.open(ctx)
	return f
}

func (a *attempt1) prepared() bool { return a.conn != nil }

func (a *attempt1) unused() {
	if !a.plain.put(a.conn) {
		_ = a.conn.conn.Close()
	}
}

func (a *attempt1) address() netip.AddrPort { return a.conn.address }

func (a *attempt1) request(r *message.Request, end bool) *Failure {
	a.method = r.Method
	a.tunnel = r.Tunnel()
	if r.Protocol != "" {
		a.method = "GET"
	}
	if r.Length > 0 && announced(r.Fields) {
		r.Length = message.Unknown // trailers have no room behind content of a stated length
	}
	a.chunked = r.Length == message.Unknown && !a.tunnel
	a.left = r.Length
	c := a.conn
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return &Failure{Reason: UpstreamReset, Err: errNothing, Unprocessed: true}
	}
	c.up, c.unsent = a, 0
	a.complete = end && !a.chunked
	c.used++
	c.mu.Unlock()
	c.out.End(h1.AppendRequest(c.out.Begin(), r), 0)
	if end && a.chunked {
		a.data(h2.Chunk{}, true)
	}
	return nil
}

// accept decides about a response to a request for a tunnel, and gives a 101 the
// status that it has in HTTP/2 (RFC 8441, section 5).
func (a *attempt1) accept(r *h1.Response) error {
	upgrade := a.x.request().Protocol
	switch {
	case r.Status == 101 && (upgrade == "" || !matches(r.Upgrade, upgrade)):
		return message.Refuse(message.BadUpgrade, "101 to %.40q, asked for %.40q", r.Upgrade, upgrade)
	case r.Status == 101:
		r.Status, r.Length = 200, message.Unknown
	case upgrade != "" && r.Status < 300:
		return message.Refuse(message.BadUpgrade, "status %d where 101 was asked for", r.Status)
	}
	return nil
}

// matches reports whether a server has switched to the protocol that was asked
// for.
func matches(got, asked string) bool { return got == asked }

// ours reports whether the connection is still this attempt's, and notes what
// has been queued for it.
func (a *attempt1) ours(content int, end bool) bool {
	c := a.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up != a {
		return false
	}
	c.unsent += content
	a.complete = a.complete || end
	return true
}

func (a *attempt1) data(chunk h2.Chunk, end bool) {
	defer chunk.Release()
	if !a.chunked && !a.tunnel {
		if a.left -= int64(chunk.Len()); a.left < 0 {
			a.cancel() // more than was stated would be read as another request
			return
		}
	}
	if !a.ours(chunk.Len(), end && !a.tunnel) {
		return
	}
	out := a.conn.out
	b := out.Begin()
	switch {
	case !a.chunked:
		b = append(b, chunk.Bytes()...)
	case chunk.Len() > 0:
		b = h1.AppendChunk(b, chunk.Bytes())
	}
	if end && a.chunked {
		b = h1.AppendLastChunk(b, nil)
	}
	out.End(b, chunk.Len())
	if end && a.tunnel {
		out.CloseWrite()
		a.conn.ended.done()
	}
}

func (a *attempt1) trailers(fields []message.Field) {
	if !a.ours(0, true) || !a.chunked {
		return
	}
	out := a.conn.out
	out.End(h1.AppendLastChunk(out.Begin(), fields), 0)
}

func (a *attempt1) flush() {
	a.conn.out.Flush()
}

func (a *attempt1) consumed(n int) { a.x.upGate.pass(n) }

// cancel ends the connection: HTTP/1 has no other way to say so.
func (a *attempt1) cancel() {
	c := a.conn
	c.mu.Lock()
	ours := c.up == a
	c.mu.Unlock()
	if ours {
		a.x.upGate.close()
		c.ended.done()
		_ = c.conn.Close()
	}
}
