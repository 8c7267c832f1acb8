package metrics

import (
	"iter"
	"sync"
	"time"
)

// shards of the list of live connections: opening and closing takes one lock of
// them.
const shardCount = 16

// live holds the open connections, so that a scrape sees their bytes.
type live struct{ shards [shardCount]shard }

type shard struct {
	mu    sync.Mutex
	first *Connection
}

func (l *live) add(c *Connection) {
	s := &l.shards[c.id%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	c.shard, c.next = s, s.first
	if c.next != nil {
		c.next.prev = c
	}
	s.first = c
}

// remove takes the connection out and moves the rest of its bytes to the series.
func (l *live) remove(c *Connection) {
	s := c.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	c.flush()
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		s.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// flush moves the bytes of all open connections to their series.
func (l *live) flush() {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for c := s.first; c != nil; c = c.next {
			c.flush()
		}
		s.mu.Unlock()
	}
}

// all yields the open connections, each under its shard's lock: the loop's body
// must not open or close one.
func (l *live) all() iter.Seq[*Connection] {
	return func(yield func(*Connection) bool) {
		for i := range l.shards {
			if !l.shards[i].all(yield) {
				return
			}
		}
	}
}

func (s *shard) all(yield func(*Connection) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := s.first; c != nil; c = c.next {
		if !yield(c) {
			return false
		}
	}
	return true
}

// flush moves what has been counted since the last time to the series. The
// shard's lock is held.
func (c *Connection) flush() {
	sent, received := c.Sent.Load(), c.Received.Load()
	c.series.sent.Add(sent - c.flushedSent)
	c.series.received.Add(received - c.flushedReceived)
	c.flushedSent, c.flushedReceived = sent, received
}

// Connections returns what is known of up to most of the open connections, all
// of them if most is 0.
func (r *Recorder) Connections(most int) []Event {
	var events []Event
	now := time.Now()
	for c := range r.live.all() {
		if most > 0 && len(events) == most {
			break
		}
		events = append(events, c.event(now, Outcome{}))
	}
	return events
}
