package http

import (
	"errors"
	"time"
)

// A request's body may come slowly for good reasons: because upstream reads it
// slowly, or because it is a stream that its client has nothing to say on. What is
// cut is what costs its sender nothing and holds a connection to the application:
// a body that stands still for a whole period of [Timeouts.Body], and one of a
// stated length, which is there to be sent, that comes slower than
// [Limits.BodyRate] on the average of one. Periods do not count in which upstream
// had not taken what there was. A response that has begun makes it a conversation,
// which may rest for as long as both like; so may a stream of gRPC towards an
// application that speaks HTTP/2, where it holds no connection.

// errTooSlow says why a request was cut.
var errTooSlow = errors.New("the request's body came too slowly")

// watchBody starts the watch of a body that has not come to its end, if there is
// none. The lock is held.
func (x *exchange) watchBody() {
	period := x.relay.config.Timeouts.Body
	if period <= 0 || x.slow != nil || x.ended || x.begun || x.finished || x.request().Tunnel() {
		return
	}
	x.refs++
	x.came = x.record.RequestBytes
	x.slow = time.AfterFunc(period, x.lookAtBody)
}

// lookAtBody cuts a request whose body came too slowly for a whole period.
func (x *exchange) lookAtBody() {
	defer x.release()
	x.mu.Lock()
	x.slow = nil
	if !x.tooSlow() {
		x.watchBody()
		x.mu.Unlock()
		return
	}
	x.mu.Unlock()
	x.relay.count("slow_body")
	x.abandon(&Failure{Reason: SlowRequest, Err: errTooSlow})
}

// tooSlow reports whether the body came too slowly since the watch began. The lock
// is held.
func (x *exchange) tooSlow() bool {
	waits := x.record.RequestBytes != x.credited || !x.flowing // for upstream
	if x.ended || x.begun || x.finished || waits {
		return false
	}
	came := x.record.RequestBytes - x.came
	if x.request().Length > 0 {
		least := float64(x.relay.config.Limits.BodyRate) * x.relay.config.Timeouts.Body.Seconds()
		return came == 0 || float64(came) < least
	}
	if _, stream := x.up.(*attempt2); stream && x.record.IsGRPC {
		return false
	}
	return came == 0
}
