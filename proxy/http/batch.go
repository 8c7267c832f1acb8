package http

import "github.com/hallmark-mesh/hallmark/proxy/h2"

// batch is what a reader of HTTP/2 has handed to other connections and not made
// them send yet: that is done when all that it has read is handled, so that a
// head and its content go out together. It is for the reader's goroutine.
type batch struct{ waiting []waiting }

// waiting is an exchange one side of which is to be flushed.
type waiting struct {
	x        *exchange
	response bool
}

// late makes the response of x, or its request, go out at the end of the batch.
func (b *batch) late(x *exchange, response bool) {
	w := waiting{x, response}
	if n := len(b.waiting); n > 0 && b.waiting[n-1] == w {
		return
	}
	x.hold()
	b.waiting = append(b.waiting, w)
}

// Idle is called when everything that was read has been handled.
func (b *batch) Idle(*h2.Conn) {
	for i, w := range b.waiting {
		b.waiting[i] = waiting{}
		if w.response {
			w.x.down.flush()
		} else {
			w.x.requestFlush()
		}
		w.x.release()
	}
	b.waiting = b.waiting[:0]
}
