package http

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// downstream is the client's side of an exchange. Its methods do not block.
// respond, data and trailers are called by one goroutine at a time.
type downstream interface {
	// respond sends a response's head; end says that nothing follows. Until
	// flush it may wait for what follows.
	respond(x *exchange, r *message.Response, end bool)
	// data sends content, which it owns from then on; what is on its way is
	// told to exchange.downSent.
	data(x *exchange, chunk h2.Chunk, end bool)
	// trailers ends the response with trailers.
	trailers(x *exchange, fields []message.Field)
	// flush sends what waits.
	flush()
	// consumed says that n bytes of the request have left upstream.
	consumed(n int)
	// abort breaks a response off that has begun.
	abort(f *Failure)
	// over says that the exchange asks for nothing more of the request.
	over()
}

// attempt is the server's side of an exchange: one try to send the request. Its
// methods do not block. request, data and trailers are called by one goroutine at
// a time. What it hears goes to exchange.upResponse and so on, the last of them
// exchange.upClosed, once, unless request returns a failure.
type attempt interface {
	// prepared reports whether there is a connection; if not, prepare opens
	// one, and blocks. unused says that nothing will be sent on it after all.
	prepared() bool
	prepare(ctx context.Context) *Failure
	unused()

	// address is the connection's far end, or zero.
	address() netip.AddrPort

	// request sends the head; end says that nothing follows.
	request(r *message.Request, end bool) *Failure
	data(chunk h2.Chunk, end bool)
	trailers(fields []message.Field)
	flush()
	// consumed says that n bytes of the response have left downstream.
	consumed(n int)
	// cancel ends the attempt; upClosed follows.
	cancel()
}

// exchange is one request and its response on their way through: what comes from
// either side, in whatever goroutine, goes to the other. It is reused when both
// sides have let go of it.
//
// Until there is an upstream, and while one is being changed, what comes of the
// request is kept: clients stop by themselves, for they get no credit.
type exchange struct {
	relay  *Relay
	source *Source
	told   *told
	down   downstream
	parent context.Context // the client's connection's
	in     h1.Request      // its message.Request is the request, whatever it came by
	out    message.Response

	// What HTTP/1 readers wait at: they hand out no more than gateSpace that
	// has not left on the other side.
	downGate, upGate gate

	mu      sync.Mutex
	refs    int
	up      attempt // nil while there is none
	flowing bool    // what comes of the request goes straight to up
	cancel  context.CancelFunc

	// What has come of the request and not been passed on.
	queue    h2.Queue
	ended    bool // the request has come to its end
	endGiven bool // and up knows it
	trailer  []message.Field

	// For another attempt.
	replay     []byte
	replayable bool
	resent     bool   // sent again although it may have been acted on
	unsent     int    // attempts that came too late for their connection
	why        Reason // the attempt before has failed
	sent       int64  // bytes of the request that left by this attempt
	credited   int64  // bytes that the client has got credit for

	begun     bool     // the final response's head has been passed on
	tunnel    bool     // and what follows is a tunnel
	respEnded bool     // the tunnel's other direction has ended
	last      bool     // the last of the response is being passed to the client
	finished  bool     // nothing more is
	failing   *Failure // why this side cancels the attempt
	interim   int
	moved     int64       // bytes of a tunnel when it was last looked at
	timer     *time.Timer // of the request; once there is a tunnel, of its half-open state
	trial     *time.Timer
	slow      *time.Timer // while the body is expected
	came      int64       // bytes of the body when it was set

	ask    Ask
	choice Choice
	record Record

	asked, answered grpcMessages // of a gRPC request
	messagesTold    time.Time    // when they were last told of, if they were

	// Either side, where it speaks HTTP/2 or HTTP/1 respectively.
	down2 stream2
	up2   attempt2
	up1   attempt1
}

// keepReplay is the largest replay buffer that is kept for another exchange.
const keepReplay = 4 << 10

// request returns the request.
func (x *exchange) request() *message.Request { return &x.in.Request }

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// newExchange returns an exchange for a request from the source, to be given to
// start or refuse.
func (r *Relay) newExchange(parent context.Context, source *Source, t *told, down downstream) *exchange {
	x, _ := exchanges.Get().(*exchange) // the pool holds nothing else
	x.relay, x.parent, x.source, x.told, x.down = r, parent, source, t, down
	x.refs, x.replayable = 2, true // the client's side's, and that of start or refuse
	x.downGate.open()
	x.upGate.open()
	return x
}

// hold takes a reference.
func (x *exchange) hold() {
	x.mu.Lock()
	x.refs++
	x.mu.Unlock()
}

// release gives up a reference; the last one makes the exchange another's.
func (x *exchange) release() {
	x.mu.Lock()
	x.refs--
	last := x.refs == 0
	x.mu.Unlock()
	if !last {
		return
	}
	x.queue.Clear()
	x.in.Reset()
	x.out.Reset()
	x.in.Minor, x.in.KeepAlive, x.in.Continue = 0, false, false
	clear(x.trailer)
	x.relay, x.source, x.told, x.down, x.parent = nil, nil, nil, nil, nil
	x.up, x.flowing, x.cancel = nil, false, nil
	x.ended, x.endGiven, x.trailer = false, false, x.trailer[:0]
	x.replay, x.replayable, x.resent, x.unsent, x.sent, x.credited = x.replay[:0], false, false, 0, 0, 0
	x.why = ""
	x.last = false
	x.begun, x.tunnel, x.respEnded, x.finished, x.failing, x.interim, x.moved = false, false, false, false, nil, 0, 0
	x.down2.release()
	x.down2, x.up1, x.ask = stream2{}, attempt1{}, Ask{}
	x.up2.reset()
	x.timer, x.trial, x.slow, x.choice, x.record = nil, nil, nil, Choice{}, Record{}
	x.asked, x.answered, x.messagesTold = grpcMessages{}, grpcMessages{}, time.Time{}
	if cap(x.replay) > keepReplay {
		x.replay = nil
	}
	exchanges.Put(x)
}

// start sends the request on its way; end says that it has no content.
func (x *exchange) start(end bool) {
	r := x.request()
	x.relay.flying(1)
	x.ended = end
	x.record = Record{
		Source: x.source, Method: r.Method, Authority: r.Authority, Path: r.Path, Protocol: r.Protocol,
		IsGRPC: r.GRPC(), GRPC: -1, Start: time.Now(),
	}
	r.Fields = x.relay.fields.strip(r.Fields)
	x.relay.fields.set(r, x.told)
	if trace := x.relay.config.Trace; trace != nil {
		x.record.Trace, x.record.Span = trace(r, x.source, x.record.Start)
	} else {
		x.record.Trace = traceOf(r.Fields)
	}
	if x.relay.config.Via {
		x.via(r)
	}
	if (r.Method == "OPTIONS" || r.Method == "TRACE") && !x.forwards(r) {
		x.release()
		return
	}
	if d := x.relay.config.Timeouts.Request; d > 0 {
		x.timer = x.after(d, x.timedOut)
	}
	x.open(false)
	x.release()
}

// after calls f after d, with a reference to x that f has to release.
func (x *exchange) after(d time.Duration, f func()) *time.Timer {
	x.hold()
	return time.AfterFunc(d, f)
}

// stop stops a timer. The lock is held.
func (x *exchange) stop(t **time.Timer) {
	if *t != nil && (*t).Stop() {
		x.refs-- // never the last: whoever stops it has one
	}
	*t = nil
}

// open finds out where the request goes, and sends it there: at once where that
// takes no waiting, else in a goroutine of its own. flush says that nobody else
// will make it go out if it is at once.
func (x *exchange) open(flush bool) {
	x.ask = Ask{Request: x.request(), Source: x.source, Attempt: x.record.Attempts + 1}
	if ready := x.relay.config.Ready; ready != nil {
		if choice, ok := ready(&x.ask); ok {
			x.send(choice, flush)
			return
		}
	}
	x.park(func(ctx context.Context) {
		choice, err := x.relay.config.Open(ctx, &x.ask)
		if err != nil {
			x.failed(failureOf(err, UpstreamRefused))
			return
		}
		x.send(choice, true)
	})
}

// send makes an attempt, in a goroutine of its own if a connection has to be
// opened first.
func (x *exchange) send(choice Choice, flush bool) {
	up := choice.Upstream.attempt(x)
	if up.prepared() {
		x.sendOn(choice, up, flush)
		return
	}
	x.park(func(ctx context.Context) {
		f := up.prepare(ctx)
		if f == nil {
			x.sendOn(choice, up, true)
			return
		}
		x.notSent(choice, f)
	})
}

// notSent says that no connection could be opened for an attempt.
func (x *exchange) notSent(choice Choice, f *Failure) {
	x.mu.Lock()
	if !x.finished {
		x.record.Attempts++
		x.record.Labels = choice.Labels
		if x.mayRetry(f) {
			x.choice = choice
			x.again(f)
			return
		}
	}
	x.mu.Unlock()
	if choice.Done != nil {
		choice.Done(f)
	}
	x.failed(f)
}

// park runs f, which may block, in a goroutine of its own, until the client is
// gone at the latest.
func (x *exchange) park(f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(x.parent)
	x.mu.Lock()
	x.cancel = cancel
	x.refs++
	gone := x.finished
	x.mu.Unlock()
	if gone {
		cancel()
	}
	go func() {
		defer x.release()
		defer cancel()
		f(ctx)
	}()
}

// sendOn sends the request on a connection that is there.
func (x *exchange) sendOn(choice Choice, up attempt, flush bool) {
	x.mu.Lock()
	if x.finished {
		x.mu.Unlock()
		up.unused()
		if choice.Done != nil {
			choice.Done(&Failure{Reason: ClientGone})
		}
		return
	}
	x.up, x.choice, x.sent, x.failing = up, choice, 0, nil
	x.record.Attempts++
	x.record.Labels, x.record.Upstream = choice.Labels, up.address()
	x.refs++ // the attempt's
	end := x.ended && x.queue.Len() == 0 && len(x.trailer) == 0
	x.endGiven = end
	x.limit(choice)
	span, again, why := x.record.Span, x.record.Attempts > 1, x.why
	x.mu.Unlock()
	if span != nil && again {
		span.Resend(x.request(), why)
	}
	if f := up.request(x.request(), end); f != nil {
		x.upClosed(up, f)
		return
	}
	x.pump(up)
	if flush {
		x.requestFlush()
	}
}

// limit starts the timers that the choice asks for. The lock is held.
func (x *exchange) limit(choice Choice) {
	try := choice.Try
	if try == 0 {
		try = x.relay.config.Timeouts.Try
	}
	if try <= 0 && (choice.Request <= 0 || x.record.Attempts > 1) {
		return
	}
	if try > 0 {
		x.refs++
		x.trial = time.AfterFunc(try, x.triedLong)
	}
	if choice.Request > 0 && x.record.Attempts == 1 {
		x.stop(&x.timer)
		x.refs++
		x.timer = time.AfterFunc(choice.Request-time.Since(x.record.Start), x.timedOut)
	}
}

// pump passes on what has been kept, and makes what comes from then on flow.
func (x *exchange) pump(up attempt) {
	for {
		x.mu.Lock()
		if x.up != up {
			x.mu.Unlock()
			return
		}
		chunk, ok := x.queue.Pop()
		switch {
		case ok:
			end := x.ended && x.queue.Len() == 0 && len(x.trailer) == 0
			x.endGiven = end
			x.mu.Unlock()
			up.data(chunk, end)
		case x.ended && !x.endGiven:
			x.endGiven = true
			x.mu.Unlock()
			if len(x.trailer) > 0 {
				up.trailers(x.trailer)
			} else {
				up.data(h2.Chunk{}, true)
			}
		default:
			x.flowing = true
			x.mu.Unlock()
			return
		}
	}
}

// downSent says that n bytes of the response are on their way to the client.
func (x *exchange) downSent(n int) {
	if n == 0 {
		return
	}
	x.mu.Lock()
	up := x.up
	x.mu.Unlock()
	if up != nil {
		up.consumed(n)
	}
}

// downClosed says that the client's side is over: gone, or done. It gives up its
// reference.
func (x *exchange) downClosed(err error) {
	x.downGone(err)
	x.release()
}

// downGone says that the client is gone, unless it has been answered.
func (x *exchange) downGone(err error) {
	x.mu.Lock()
	over := x.finished || x.last
	x.mu.Unlock()
	if !over {
		x.abandon(&Failure{Reason: ClientGone, Err: err})
	}
}

// abandon ends an exchange because of the client: it is gone, or the rest of its
// request is not what it should be. Who still listens is told why. It reports
// whether it did; if not, the exchange is ending already, by another's doing.
func (x *exchange) abandon(f *Failure) bool {
	x.mu.Lock()
	if x.finished || x.last {
		x.mu.Unlock()
		return false
	}
	answer := !x.begun && f.Reason != ClientGone
	x.finished, x.begun = true, true
	up, cancel := x.up, x.cancel
	x.stop(&x.timer)
	x.stop(&x.trial)
	x.stop(&x.slow)
	x.queue.Clear()
	x.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if up != nil {
		up.cancel()
	}
	switch {
	case answer:
		x.answer(f)
	case f.Reason == ClientGone:
		x.finish(f)
	default:
		x.finish(f)
		x.down.abort(f)
	}
	return true
}

// refuse answers a request that is not relayed at all.
func (x *exchange) refuse(f *Failure) {
	r := x.request()
	x.relay.flying(1)
	x.record = Record{
		Source: x.source, Method: r.Method, Authority: r.Authority, Path: r.Path,
		IsGRPC: r.GRPC(), GRPC: -1, Start: time.Now(),
	}
	x.abandon(f)
	x.release()
}
