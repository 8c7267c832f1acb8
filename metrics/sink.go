package metrics

import (
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Sink is told of connections. Its methods are called from the goroutine that
// opens or closes the connection: they must not block, and must not keep the
// event. Of a sink with a method Dropped() uint64, what that returns is exported
// as hallmark_log_lines_dropped_total.
type Sink interface {
	// Opened is told of a connection whose guard has opened.
	Opened(e *Event)

	// Closed is told of a connection that has ended.
	Closed(e *Event)
}

// Idler is a [Sink] that can say that it wants nothing now: for as long, no event
// is made for it.
type Idler interface {
	// Idle is asked for every connection and request: it is to cost nothing.
	Idle() bool
}

// told is a sink with what else it is.
type told struct {
	Sink
	idler    Idler       // or nil
	requests RequestSink // or nil
}

// idle reports whether the sink wants nothing now.
func (t *told) idle() bool { return t.idler != nil && t.idler.Idle() }

func toldOf(sinks []Sink) []told {
	all := make([]told, len(sinks))
	for i, sink := range sinks {
		all[i].Sink = sink
		all[i].idler, _ = sink.(Idler)
		all[i].requests, _ = sink.(RequestSink)
	}
	return all
}

// Event is what a [Sink] is told.
type Event struct {
	// ConnectionInfo is what was known when the guard opened, with what was
	// settled since.
	ConnectionInfo

	// ID tells the connections of one process apart.
	ID uint64

	// Own is who we are, judged as a peer would judge us, or nil.
	Own *tlsctx.Peer

	// Sent and Received are the bytes that went upstream and came back.
	Sent, Received uint64

	// Duration is how long the connection has been open.
	Duration time.Duration

	// Outcome is how it ended; the zero value in Opened.
	Outcome Outcome
}

// droppedBy returns how many lines the sinks have dropped.
func droppedBy(sinks []Sink) uint64 {
	var n uint64
	for _, sink := range sinks {
		if d, ok := sink.(interface{ Dropped() uint64 }); ok {
			n += d.Dropped()
		}
	}
	return n
}
