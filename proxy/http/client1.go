package http

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// client1 is a connection of HTTP/1 to an application, for one request at a
// time. Its reader waits for what comes next, whether a request is under way or
// not.
type client1 struct {
	plain   *Plain
	conn    net.Conn
	address netip.AddrPort // its far end, or zero
	in      *h1.In
	out     *h1.Out
	since   time.Time // when it became idle; the pool's

	mu     sync.Mutex
	up     *attempt1 // of the request under way
	dead   bool      // it has ended, or is about to
	used   int       // how many requests it has been given
	unsent int       // bytes of content that have been queued and not been sent

	// The reader's.
	deadline time.Time // of reading, zero if none
	response h1.Response
	decoder  h1.Decoder
	trailing []message.Field
	ended    latch // a tunnel's both directions have ended
}

func newClient1(p *Plain, conn net.Conn) *client1 {
	c := &client1{plain: p, conn: conn, address: addressOf(conn), in: h1.NewIn(conn, nil)}
	c.out = h1.NewOut(conn, p.config.Write, c.sent, c.failed)
	return c
}

// addressOf returns the far end of a connection, or zero.
func addressOf(conn net.Conn) netip.AddrPort {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	a := tcp.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// current returns the attempt under way, or nil.
func (c *client1) current() *attempt1 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}

// sent is told by the writer what is on its way.
func (c *client1) sent(n int) {
	c.mu.Lock()
	up := c.up
	n = min(n, c.unsent)
	c.unsent -= n
	if up != nil {
		up.x.hold()
	}
	c.mu.Unlock()
	if up != nil {
		up.x.upSent(n)
		up.x.release()
	}
}

// failed is told by the writer that the application cannot be written to. If it
// has closed the connection, what it said before is still to be read.
func (c *client1) failed(err error) {
	if h1.Expired(err) {
		_ = c.conn.Close()
	}
}

// run reads response after response until the connection ends.
func (c *client1) run() {
	err := c.read()
	c.mu.Lock()
	c.dead = true
	up := c.up
	c.up = nil
	used := c.used
	c.mu.Unlock()
	c.plain.remove(c, 0)
	_ = c.conn.Close()
	c.out.Wait()
	if up == nil {
		return
	}
	f, failed := errors.AsType[*Failure](err)
	switch {
	case failed || err == nil:
	default:
		_, malformed := errors.AsType[*message.Error](err)
		f = &Failure{Reason: UpstreamReset, Err: err}
		if malformed {
			up.x.invalid(up, err)
		} else if errors.Is(err, errNothing) {
			f.Reused = used > 1
		}
	}
	up.x.upClosed(up, f)
}

// errNothing says that a connection ended before any byte of a response.
var errNothing = errors.New("the connection ended before an answer began")

// read reads until the connection ends.
func (c *client1) read() error {
	for {
		if err := c.first(); err != nil {
			return err
		}
		up := c.current()
		if up == nil {
			return message.Refuse(message.UnexpectedBytes, "%.40q", c.in.Bytes())
		}
		if goOn, err := c.answer(up); !goOn {
			return err
		}
	}
}

// first waits for the first bytes of a response, or for the end of an idle
// connection.
func (c *client1) first() error {
	if len(c.in.Bytes()) > 0 {
		return nil
	}
	for {
		if c.deadline.IsZero() { // else the last one still stands
			if err := c.arm(c.plain.expires(c)); err != nil {
				return err
			}
		}
		err := c.in.Wait()
		switch {
		case err == nil:
			return nil
		case !h1.Expired(err):
			return errors.Join(errNothing, err)
		case c.plain.remove(c, c.plain.config.Idle):
			return err
		}
		c.deadline = time.Time{} // it was armed for an earlier response: again
	}
}

// arm sets the deadline of reading, the zero time for none.
func (c *client1) arm(t time.Time) error {
	c.deadline = t
	return c.in.SetDeadline(t)
}

// more reads more of a response.
func (c *client1) more() error {
	for {
		err := c.in.More()
		switch {
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case !h1.Expired(err):
			return err
		}
		if err := c.arm(time.Time{}); err != nil {
			return err
		}
	}
}

// head reads the head of a response.
func (c *client1) head(up *attempt1) error {
	seen := 0
	for {
		b := c.in.Bytes()
		n, err := c.response.Parse(b, seen, up.method, &c.plain.config.Limits)
		if err != nil {
			return err
		}
		if n > 0 {
			c.in.Take(n)
			return nil
		}
		seen = len(b)
		if err := c.more(); err != nil {
			return err
		}
	}
}

// answer reads the response to a request and hands it on. It reports whether the
// connection can be used again.
func (c *client1) answer(up *attempt1) (bool, error) {
	x, r := up.x, &c.response
	for {
		if err := c.head(up); err != nil {
			return false, err
		}
		if !r.Informational() {
			break
		}
		x.upResponse(up, &r.Response, false)
	}
	if err := up.accept(r); err != nil {
		return false, err
	}
	if r.Body == h1.NoBody {
		goOn := c.next(up)
		x.upResponse(up, &r.Response, true)
		x.upFlush()
		return c.close(up, goOn)
	}
	x.upResponse(up, &r.Response, false)
	switch r.Body {
	case h1.Sized:
		return c.sized(up)
	case h1.Chunked:
		return c.chunked(up)
	default:
		return c.untilClose(up)
	}
}

// next makes the connection another request's, before the end of this response
// is handed on: the client may have its next request ready.
func (c *client1) next(up *attempt1) bool {
	c.mu.Lock()
	ok := c.response.KeepAlive && up.complete && len(c.in.Bytes()) == 0 && !c.dead
	if ok {
		c.up, c.unsent = nil, 0
	}
	c.mu.Unlock()
	if !ok {
		return false
	}
	c.in.Release()
	if c.plain.put(c) {
		return true
	}
	_ = c.conn.Close()
	return true
}

// close ends an attempt whose response has been handed on.
func (c *client1) close(up *attempt1, goOn bool) (bool, error) {
	if goOn {
		up.x.upClosed(up, nil)
		return true, nil
	}
	return false, nil // run does
}

// sized reads content of a stated length.
func (c *client1) sized(up *attempt1) (bool, error) {
	for left := c.response.Length; ; {
		chunk, err := c.chunk(up, left)
		if err != nil {
			return false, err
		}
		left -= int64(chunk.Len())
		if left == 0 {
			goOn := c.next(up)
			up.x.upData(up, chunk, true)
			up.x.upFlush()
			return c.close(up, goOn)
		}
		if !c.hand(up, chunk) {
			return false, nil
		}
	}
}

// chunk reads content.
func (c *client1) chunk(up *attempt1, limit int64) (h2.Chunk, error) {
	if len(c.in.Bytes()) == 0 {
		up.x.upFlush() // it may take a while
	}
	for {
		chunk, err := c.in.Chunk(limit)
		switch {
		case errors.Is(err, io.EOF):
			return chunk, io.ErrUnexpectedEOF
		case !h1.Expired(err):
			return chunk, err
		}
		if err := c.arm(time.Time{}); err != nil {
			return chunk, err
		}
	}
}

// hand hands content on, and waits until there is room for more.
func (c *client1) hand(up *attempt1, chunk h2.Chunk) bool {
	x := up.x
	full := x.upGate.add(chunk.Len())
	x.upData(up, chunk, false)
	if full {
		x.upFlush()
	}
	return x.upGate.wait()
}

// chunked reads content in chunked coding.
func (c *client1) chunked(up *attempt1) (bool, error) {
	x := up.x
	c.decoder.Reset()
	clear(c.trailing)
	c.trailing = c.trailing[:0]
	for {
		b := c.in.Bytes()
		n, used, trailers, err := c.decoder.Decode(b, c.trailing, &c.plain.config.Limits)
		c.trailing = trailers
		if err != nil {
			return false, err
		}
		c.in.Take(used)
		done := c.decoder.Done()
		rest := b[:n]
		for len(rest) > 0 && (!done || len(c.trailing) > 0 || len(rest) > h2.BufferSpace) {
			chunk, size := h2.ChunkOf(rest)
			rest = rest[size:]
			if !c.hand(up, chunk) {
				return false, nil
			}
		}
		if done {
			last, _ := h2.ChunkOf(rest)
			goOn := c.next(up)
			if len(c.trailing) > 0 {
				x.upTrailers(up, c.trailing)
			} else {
				x.upData(up, last, true)
			}
			x.upFlush()
			return c.close(up, goOn)
		}
		x.upFlush()
		if err := c.more(); err != nil {
			return false, err
		}
	}
}

// untilClose reads content, or what comes through a tunnel, until the connection
// ends.
func (c *client1) untilClose(up *attempt1) (bool, error) {
	x, tunnel := up.x, c.response.Body == h1.Tunnel
	for {
		chunk, err := c.chunk(up, 1<<62)
		switch {
		case err == nil:
			if !c.hand(up, chunk) {
				return false, nil
			}
			continue
		case !errors.Is(err, io.ErrUnexpectedEOF):
			return false, err
		}
		x.upData(up, h2.Chunk{}, true)
		x.upFlush()
		if tunnel {
			c.ended.wait()
		}
		return false, nil
	}
}
