package http

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// What RFC 9110 asks of whoever stands between a client and a server, beside
// passing on what it is given.

// via says that the request came through here (RFC 9110, section 7.6.3), and how.
func (x *exchange) via(r *message.Request) {
	value := x.relay.via.http11
	switch {
	case x.down2.stream != nil:
		value = x.relay.via.http2
	case x.in.Minor == 0:
		value = x.relay.via.http10
	}
	r.Fields = append(r.Fields, message.Field{Name: "via", Value: value})
}

// mostForwards is the most that Max-Forwards is taken for, as whoever receives it
// may choose (RFC 9110, section 7.6.2).
const mostForwards = 255

// forwards counts down the Max-Forwards of OPTIONS and TRACE, and reports whether
// the request goes on. If not, it has been answered (RFC 9110, section 7.6.2).
func (x *exchange) forwards(r *message.Request) bool {
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.Name != "max-forwards" {
			continue
		}
		n, err := message.ParseLength(f.Value)
		switch {
		case err != nil:
			x.abandon(&Failure{Reason: Malformed, Err: message.Refuse(message.BadFieldValue, "max-forwards: %.40q", f.Value)})
			return false
		case n == 0:
			x.lastRecipient(r.Method)
			return false
		}
		f.Value = strconv.FormatInt(min(n, mostForwards)-1, 10)
	}
	return true
}

// lastRecipient answers a request that is to go no further. What TRACE asks for is
// refused: an answer would repeat what the client keeps from its own scripts (RFC
// 9110, section 9.3.8).
func (x *exchange) lastRecipient(method string) {
	x.mu.Lock()
	if x.finished {
		x.mu.Unlock()
		return
	}
	x.finished, x.begun = true, true
	x.stop(&x.timer)
	x.stop(&x.slow)
	x.queue.Clear()
	x.mu.Unlock()
	r := &x.out
	r.Reset()
	r.Status, r.Length = 200, 0
	if method == "TRACE" {
		r.Status = 405
	}
	r.Fields = append(r.Fields,
		message.Field{Name: "allow", Value: "OPTIONS"},
		message.Field{Name: "content-length", Value: "0"},
		message.Field{Name: "date", Value: x.relay.clock.date(time.Now())})
	x.record.Status = r.Status
	x.finish(nil)
	x.down.respond(x, r, false)
	x.down.data(x, h2.Chunk{}, true)
	x.down.over()
	x.down.flush()
}

// dated gives a response that comes without one the time of its coming (RFC 9110,
// section 6.6.1).
func (x *exchange) dated(r *message.Response, now time.Time) {
	if _, ok := message.Get(r.Fields, "date"); !ok {
		r.Fields = append(r.Fields, message.Field{Name: "date", Value: x.relay.clock.date(now)})
	}
}

// clock writes the time down once a second. Its zero value works.
type clock struct{ last atomic.Pointer[written] }

// written is a time as HTTP writes it.
type written struct {
	second int64
	text   string
}

// date returns the time in the form of RFC 9110, section 5.6.7.
func (c *clock) date(now time.Time) string {
	second := now.Unix()
	if last := c.last.Load(); last != nil && last.second == second {
		return last.text
	}
	text := now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	c.last.Store(&written{second, text})
	return text
}
