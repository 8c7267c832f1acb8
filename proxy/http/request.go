package http

import (
	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// requestData takes content of the request from the client's side.
func (x *exchange) requestData(chunk h2.Chunk, end bool) {
	x.mu.Lock()
	x.ended = x.ended || end
	if x.finished {
		x.mu.Unlock()
		chunk.Release()
		return
	}
	x.record.RequestBytes += int64(chunk.Len())
	if x.record.IsGRPC {
		x.carry(&x.asked, chunk.Bytes())
	}
	x.keep(chunk.Bytes())
	if !x.flowing {
		x.queue.Push(chunk)
		x.mu.Unlock()
		return
	}
	up := x.up
	x.endGiven = x.endGiven || end
	done := end && x.tunnel && x.respEnded
	if end && x.tunnel && !done {
		x.watchHalfOpen()
	}
	x.mu.Unlock()
	up.data(chunk, end)
	if done {
		x.complete()
	}
}

// keep keeps a copy of content for another attempt, while there is room.
func (x *exchange) keep(p []byte) {
	switch {
	case x.begun || !x.replayable:
	case len(x.replay)+len(p) > x.relay.config.Limits.Replay:
		x.replayable, x.replay = false, x.replay[:0]
	default:
		x.replay = append(x.replay, p...)
	}
}

// requestTrailers takes the trailers that end the request.
func (x *exchange) requestTrailers(fields []message.Field) {
	x.mu.Lock()
	if x.finished || x.ended {
		x.mu.Unlock()
		return
	}
	x.trailer = x.relay.fields.strip(h1.DropForbidden(append(x.trailer[:0], fields...)))
	x.ended = true
	if !x.flowing {
		x.mu.Unlock()
		return
	}
	up := x.up
	x.endGiven = true
	x.mu.Unlock()
	if len(x.trailer) > 0 {
		up.trailers(x.trailer)
	} else {
		up.data(h2.Chunk{}, true)
	}
}

// requestEnded reports whether the request has come to its end.
func (x *exchange) requestEnded() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ended
}

// requestFlush sends upstream what waits there.
func (x *exchange) requestFlush() {
	x.mu.Lock()
	up, flowing := x.up, x.flowing
	if !x.ended {
		x.watchBody()
	}
	x.mu.Unlock()
	if flowing {
		up.flush()
	}
}
