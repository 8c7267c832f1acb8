package http

import (
	"errors"
	"strconv"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// upSent says that n bytes of the request are on their way upstream.
func (x *exchange) upSent(n int) {
	if n == 0 {
		return
	}
	x.mu.Lock()
	x.sent += int64(n)
	credit := max(0, x.sent-x.credited) // another attempt sends some again
	x.credited += credit
	x.mu.Unlock()
	if credit > 0 {
		x.down.consumed(int(credit))
	}
}

// listens reports whether what up says still counts. The lock is held.
func (x *exchange) listens(up attempt) bool {
	return x.up == up && !x.finished && x.failing == nil
}

// upResponse takes the head of a response, final or not, from an attempt.
func (x *exchange) upResponse(up attempt, r *message.Response, end bool) {
	x.mu.Lock()
	if !x.listens(up) {
		x.mu.Unlock()
		return
	}
	if r.Informational() {
		x.interim++
		if x.interim > x.relay.config.Limits.Interim {
			x.failing = &Failure{Reason: UpstreamInvalid, Err: message.Refuse(message.TooManyInterim, "more than %d", x.relay.config.Limits.Interim)}
			x.mu.Unlock()
			up.cancel()
			return
		}
		x.mu.Unlock()
		x.down.respond(x, r, false)
		x.down.flush()
		return
	}
	x.begin(r)
	x.last = end && !x.tunnel
	x.mu.Unlock()
	x.down.respond(x, r, end)
	if end {
		x.responseEnded()
	}
}

// begin notes that the final response begins. The lock is held.
func (x *exchange) begin(r *message.Response) {
	x.begun = true
	x.tunnel = x.request().Tunnel() && (r.Status < 300)
	x.replay = x.replay[:0]
	x.stop(&x.slow)
	x.stop(&x.timer)
	x.stop(&x.trial)
	x.record.Status = x.recorded(r.Status)
	x.record.FirstByte = time.Since(x.record.Start)
	x.dated(r, x.record.Start.Add(x.record.FirstByte))
	if x.record.IsGRPC {
		x.noteGRPC(r.Fields)
		x.answered.none = !message.GRPC(r.Fields)
	}
}

// recorded returns the status that is recorded for a response. Between an Upgrade
// of HTTP/1.1 and an extended CONNECT, the 101 of the one is a 200 of the other
// (RFC 8441, section 5): it is a 101 where either side speaks HTTP/1.1.
func (x *exchange) recorded(status int) int {
	if !x.tunnel || x.request().Protocol == "" {
		return status
	}
	_, down := x.down.(*server1)
	_, up := x.up.(*attempt1)
	if down || up {
		return 101
	}
	return status
}

func (x *exchange) noteGRPC(fields []message.Field) {
	if v, ok := message.Get(fields, "grpc-status"); ok {
		if status, err := strconv.ParseUint(v, 10, 16); err == nil {
			x.record.GRPC = int(status)
		}
	}
}

// upData takes content of the response from an attempt.
func (x *exchange) upData(up attempt, chunk h2.Chunk, end bool) {
	x.mu.Lock()
	if !x.listens(up) || !x.begun {
		x.mu.Unlock()
		chunk.Release()
		return
	}
	x.record.ResponseBytes += int64(chunk.Len())
	if x.record.IsGRPC {
		x.carry(&x.answered, chunk.Bytes())
	}
	x.last = end && !x.tunnel
	x.mu.Unlock()
	x.down.data(x, chunk, end)
	if end {
		x.responseEnded()
	}
}

// upTrailers takes the trailers that end the response from an attempt.
func (x *exchange) upTrailers(up attempt, fields []message.Field) {
	x.mu.Lock()
	if !x.listens(up) || !x.begun {
		x.mu.Unlock()
		return
	}
	if x.record.IsGRPC {
		x.noteGRPC(fields)
	}
	x.last = !x.tunnel
	x.mu.Unlock()
	x.out.Fields = h1.DropForbidden(append(x.out.Fields[:0], fields...))
	if len(x.out.Fields) == 0 {
		x.down.data(x, h2.Chunk{}, true)
	} else {
		x.down.trailers(x, x.out.Fields)
	}
	x.responseEnded()
}

// upFlush sends the client what waits for it.
func (x *exchange) upFlush() { x.down.flush() }

// invalid ends an attempt that has answered with what is no response.
func (x *exchange) invalid(up attempt, err error) {
	x.mu.Lock()
	listens := x.listens(up)
	if listens {
		x.failing = &Failure{Reason: UpstreamInvalid, Err: err}
	}
	x.mu.Unlock()
	if !listens {
		return
	}
	if refused, ok := errors.AsType[*message.Error](err); ok {
		x.relay.count("upstream_" + string(refused.Reason))
	}
	up.cancel()
}

// responseEnded completes the exchange, unless it is a tunnel of which the other
// direction goes on.
func (x *exchange) responseEnded() {
	x.mu.Lock()
	x.respEnded = true
	goesOn := x.tunnel && !x.ended
	if goesOn {
		x.watchHalfOpen()
	}
	x.mu.Unlock()
	if goesOn {
		x.down.flush()
		return
	}
	x.complete()
}

// complete ends an exchange whose response has been passed on completely.
func (x *exchange) complete() {
	x.mu.Lock()
	if x.finished {
		x.mu.Unlock()
		return
	}
	x.finished = true
	up, ended := x.up, x.ended
	x.stop(&x.timer)
	x.holdLocked()
	x.mu.Unlock()
	x.finish(nil)
	x.down.over()
	x.down.flush()
	if !ended && up != nil {
		up.cancel()
	}
	x.release()
}

// holdLocked takes a reference. The lock is held.
func (x *exchange) holdLocked() { x.refs++ }

// watchHalfOpen starts the watch of a tunnel of which one direction has ended. The
// lock is held.
func (x *exchange) watchHalfOpen() {
	d := x.relay.config.Timeouts.HalfOpen
	if d <= 0 || x.timer != nil || x.finished {
		return
	}
	x.refs++
	x.timer = time.AfterFunc(d, x.lookHalfOpen)
	x.moved = x.record.RequestBytes + x.record.ResponseBytes
}

// lookHalfOpen ends a half-open tunnel through which nothing has come for a whole
// period.
func (x *exchange) lookHalfOpen() {
	x.mu.Lock()
	x.timer = nil
	moved := x.record.RequestBytes + x.record.ResponseBytes
	switch {
	case x.finished:
	case moved != x.moved:
		x.watchHalfOpen()
	default:
		x.mu.Unlock()
		x.abandon(&Failure{Reason: HalfOpen})
		x.release()
		return
	}
	x.mu.Unlock()
	x.release()
}

// upClosed says that an attempt is over: with nil in order, else with why. It
// gives up the attempt's reference.
func (x *exchange) upClosed(up attempt, f *Failure) {
	defer x.release()
	x.mu.Lock()
	if x.up != up {
		x.mu.Unlock()
		return
	}
	x.up, x.flowing = nil, false
	x.stop(&x.trial)
	if x.failing != nil {
		f = x.failing
	}
	if x.finished {
		x.mu.Unlock()
		return
	}
	if f == nil {
		f = &Failure{Reason: UpstreamReset}
	}
	if !x.begun && x.mayRetry(f) {
		x.again(f)
		return
	}
	x.mu.Unlock()
	x.failed(f)
}

// maxUnsent is how many connections may have ended or taken no more just as a
// request was to go on them, without that counting as having been sent.
const maxUnsent = 10

// mayRetry reports whether a failed attempt may be followed by another. The lock
// is held.
func (x *exchange) mayRetry(f *Failure) bool {
	if !x.replayable || x.parent.Err() != nil {
		return false
	}
	if f.Unsent && x.unsent < maxUnsent {
		return true
	}
	if x.record.Attempts-x.unsent >= x.relay.config.Limits.Attempts {
		return false
	}
	return f.Unprocessed || f.Reused && !x.resent && x.request().Idempotent()
}

// again makes another attempt, with all that came of the request so far. The lock
// is held, and released.
func (x *exchange) again(f *Failure) {
	x.resent, x.why = x.resent || !f.Unprocessed, f.Reason
	if f.Unsent && x.unsent < maxUnsent {
		x.unsent++
	}
	x.queue.Clear()
	for rest := x.replay; len(rest) > 0; {
		chunk, n := h2.ChunkOf(rest)
		x.queue.Push(chunk)
		rest = rest[n:]
	}
	x.endGiven, x.failing = false, nil
	done := x.choice.Done
	x.choice = Choice{}
	x.mu.Unlock()
	if done != nil {
		done(f)
	}
	x.relay.count("retry_" + string(f.Reason))
	x.open(true)
}

// failed ends an exchange that has failed: the client is told, or the response
// broken off.
func (x *exchange) failed(f *Failure) {
	x.mu.Lock()
	if x.finished {
		x.mu.Unlock()
		return
	}
	x.finished = true
	begun := x.begun
	x.begun = true
	x.stop(&x.slow)
	x.stop(&x.timer)
	x.queue.Clear()
	x.holdLocked()
	x.mu.Unlock()
	defer x.release()
	if begun {
		x.finish(&Failure{Reason: Incomplete, Err: f})
		x.down.abort(f)
		return
	}
	x.answer(f)
}

// timedOut is what happens when no response has begun in time.
func (x *exchange) timedOut() {
	defer x.release()
	x.mu.Lock()
	x.timer = nil
	if x.finished || x.begun {
		x.mu.Unlock()
		return
	}
	up, cancel := x.up, x.cancel
	x.mu.Unlock()
	x.failed(&Failure{Reason: Timeout})
	if cancel != nil {
		cancel()
	}
	if up != nil {
		up.cancel()
	}
}

// triedLong is what happens when one attempt takes too long.
func (x *exchange) triedLong() {
	defer x.release()
	x.mu.Lock()
	x.trial = nil
	up := x.up
	if x.finished || x.begun || up == nil {
		x.mu.Unlock()
		return
	}
	x.failing = &Failure{Reason: Timeout, Reused: true}
	x.mu.Unlock()
	up.cancel()
}

// answer tells the client of a failure: a status and a short text, or for gRPC a
// grpc-status, and Proxy-Status (RFC 9209).
func (x *exchange) answer(f *Failure) {
	told := f.Reason.table()
	r := &x.out
	r.Reset()
	status := x.relay.config.Name + "; error=" + told.error + `; details="` + string(f.Reason) + `"`
	r.Fields = append(r.Fields,
		message.Field{Name: "proxy-status", Value: status},
		message.Field{Name: "date", Value: x.relay.clock.date(time.Now())})
	if x.record.IsGRPC {
		r.Status, r.Length = 200, message.Unknown
		r.Fields = append(r.Fields,
			message.Field{Name: "content-type", Value: "application/grpc"},
			message.Field{Name: "grpc-status", Value: strconv.Itoa(told.grpc)},
			message.Field{Name: "grpc-message", Value: told.text})
		x.record.GRPC = told.grpc
	} else {
		r.Status, r.Length = told.status, int64(len(told.text)+1)
		r.Fields = append(r.Fields,
			message.Field{Name: "content-type", Value: "text/plain; charset=utf-8"},
			message.Field{Name: "content-length", Value: strconv.Itoa(len(told.text) + 1)})
	}
	x.record.Status = r.Status
	x.finish(f)
	if x.record.IsGRPC || x.request().Method == "HEAD" {
		x.down.respond(x, r, true)
	} else {
		x.down.respond(x, r, false)
		chunk, _ := h2.ChunkOf([]byte(told.text + "\n"))
		x.down.data(x, chunk, true)
	}
	x.down.over()
	x.down.flush()
}

// finish records what became of the request, once.
func (x *exchange) finish(f *Failure) {
	x.relay.flying(-1)
	x.mu.Lock()
	done := x.choice.Done
	x.choice = Choice{}
	x.record.Duration = time.Since(x.record.Start)
	if f != nil {
		x.record.Reason, x.record.Err = f.Reason, f.Err
	}
	x.record.RequestMessages, x.record.ResponseMessages = x.asked.take(), x.answered.take()
	record := x.relay.config.Record
	x.mu.Unlock()
	if done != nil {
		done(f)
	}
	if record != nil {
		record(&x.record)
	}
	x.downGate.close()
	x.upGate.close()
}
