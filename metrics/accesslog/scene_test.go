package accesslog

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestScenesAreNotMixed has lines of several peers and targets, by turns and at
// once: each says whose it is, whatever was remembered of others.
func TestScenesAreNotMixed(t *testing.T) {
	r, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var events []metrics.Event
	for i := range 3 * len(scenes{}.places) { // more than there are places
		e := call()
		e.Peer = &tlsctx.Peer{ID: spiffeid.RequireFromString(fmt.Sprintf("spiffe://example.org/peer/%d", i))}
		e.Via = r.OpenSession(metrics.SessionInfo{Side: metrics.Server, Peer: e.Peer})
		defer e.Via.Close("ended")
		for range 2 { // two targets in one session
			e.ID, e.Target = uint64(len(events)), fmt.Sprintf("target-%d", len(events))
			events = append(events, e)
		}
	}
	text := logged(t, Config{}, func(l *Log) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for i := range events {
					l.Closed(&events[i])
				}
			})
		}
		all.Wait()
	})
	seen := make([]int, len(events))
	for line := range strings.Lines(text) {
		got := decode(t, line)
		id := int(got["hallmark.connection.id"].(float64))
		e := &events[id]
		seen[id]++
		if got["source.spiffe_id"] != e.Peer.ID.String() || got["hallmark.target"] != e.Target || got["hallmark.session.id"] != float64(e.Via.ID()) {
			t.Fatalf("of %s to %s in session %d: %s", e.Peer.ID, e.Target, e.Via.ID(), line)
		}
	}
	for id, n := range seen {
		if n != 4 {
			t.Fatalf("connection %d has %d lines, want 4", id, n)
		}
	}
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

// BenchmarkClosed is a line of a connection in a session that there were lines of
// before.
func BenchmarkClosed(b *testing.B) {
	l, err := New(Config{WriterConfig: WriterConfig{Open: func() (io.WriteCloser, error) { return nowhere{io.Discard}, nil }}})
	if err != nil {
		b.Fatal(err)
	}
	e := call()
	b.ReportAllocs()
	for b.Loop() {
		l.Closed(&e)
	}
	if err := l.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
