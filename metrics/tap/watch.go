package tap

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
)

// Watch is one who watches. [Watch.Next] is for one goroutine. It must be closed.
type Watch struct {
	tap    *Tap
	filter Filter
	queue  chan *item

	matched atomic.Uint64 // that the filter took
	dropped atomic.Uint64 // of those, what was past the rate, or there was no room for

	second atomic.Int64 // of the rate: which one it is
	inIt   atomic.Int64 // and what was taken in it

	// Of Next.
	told  uint64 // how many drops were told of
	shown uint64
	ended bool
}

// item is a queued event.
type item struct {
	kind       Kind
	time       time.Time
	dropped    uint64 // before it, in all
	request    *metrics.RequestEvent
	connection *metrics.Event
}

// takes reports whether an event that matches is one to show: sampling, and the
// bounds on how many, are asked before anything is copied.
func (w *Watch) takes() bool {
	n := w.matched.Add(1)
	if w.filter.Sample > 1 && (n-1)%w.filter.Sample != 0 {
		return false
	}
	if w.filter.Rate > 0 && !w.inRate(time.Now().Unix()) {
		w.dropped.Add(1)
		return false
	}
	return true
}

// inRate counts what is taken in a second. Two that see the next one begin at once
// may let a few more through.
func (w *Watch) inRate(now int64) bool {
	if last := w.second.Load(); last != now && w.second.CompareAndSwap(last, now) {
		w.inIt.Store(0)
	}
	return w.inIt.Add(1) <= w.filter.Rate
}

// offer queues an event if there is room.
func (w *Watch) offer(i *item) {
	i.dropped = w.dropped.Load()
	select {
	case w.queue <- i:
	default:
		w.dropped.Add(1)
	}
}

// maxBatch bounds what [Watch.Next] returns at once.
const maxBatch = 64

// Next waits for events, and returns those that are there. An empty batch says
// that ctx ended before there was one. The batch after the one with a [KindEnd] is
// nil, for ever. A [KindDropped] comes before the first event after the gap.
func (w *Watch) Next(ctx context.Context, record Namer) []*Event {
	if w.ended {
		return nil
	}
	batch := make([]*Event, 0, 1)
	select {
	case i := <-w.queue:
		batch = w.show(batch, i, record)
	case <-ctx.Done():
		return w.gap(batch, w.dropped.Load())
	}
	for len(batch) < maxBatch && !w.ended {
		select {
		case i := <-w.queue:
			batch = w.show(batch, i, record)
		default:
			return batch
		}
	}
	return batch
}

// show adds an event, with the gap before it, and the end after the last one.
func (w *Watch) show(batch []*Event, i *item, record Namer) []*Event {
	batch = append(w.gap(batch, i.dropped), i.event(record))
	if w.shown++; w.shown == w.filter.Limit {
		batch = w.end(batch, "limit")
	}
	return batch
}

// gap adds how many events were dropped since that was told last, of so many in
// all.
func (w *Watch) gap(batch []*Event, dropped uint64) []*Event {
	if dropped <= w.told {
		return batch
	}
	batch = append(batch, &Event{Kind: KindDropped, Time: time.Now().UTC(), Dropped: dropped - w.told})
	w.told = dropped
	return batch
}

// End ends watching, and returns the last event, or nothing if it was shown
// already.
func (w *Watch) End() []*Event {
	if w.ended {
		return nil
	}
	return w.end(w.gap(nil, w.dropped.Load()), "closing")
}

func (w *Watch) end(batch []*Event, reason string) []*Event {
	w.ended = true
	w.tap.leave(w)
	return append(batch, &Event{
		Kind: KindEnd, Time: time.Now().UTC(), Dropped: w.dropped.Load(),
		End: &End{Reason: reason, Matched: w.matched.Load(), Shown: w.shown},
	})
}

// Close ends watching. It may be called more than once.
func (w *Watch) Close() { w.tap.leave(w) }
