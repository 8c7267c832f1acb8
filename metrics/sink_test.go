package metrics

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// witness remembers what it was told.
type witness struct{ opened, closed []Event }

// Opened implements Sink.
func (w *witness) Opened(e *Event) { w.opened = append(w.opened, *e) }

// Closed implements Sink.
func (w *witness) Closed(e *Event) { w.closed = append(w.closed, *e) }

// TestSinks tells each of the sinks once of either end of a connection.
func TestSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := new(witness), new(witness)
		f := newFixture(t, Config{Sinks: []Sink{first, second}})
		info := inbound(web(t))
		info.Start = time.Now()
		time.Sleep(time.Second) // accepted a second ago
		c := f.OpenConnection(info)
		c.SetProtocol(tlsctx.Redis, "client")
		c.Sent.Add(3)
		c.Received.Add(4)
		time.Sleep(time.Minute)
		failure := errors.New("forward: x")
		c.Close(Outcome{Flag: FlagUpstreamTermination, Reason: "upstream_reset", Err: failure})
		c.Close(Outcome{})
		for _, w := range []*witness{first, second} {
			if len(w.opened) != 1 || len(w.closed) != 1 {
				t.Fatalf("told of %d openings and %d ends", len(w.opened), len(w.closed))
			}
			o, e := w.opened[0], w.closed[0]
			if o.ID != c.ID() || o.Duration != time.Second || o.Outcome != (Outcome{}) || o.Protocol != "" {
				t.Errorf("opened: %+v", o)
			}
			if e.ID != c.ID() || e.Duration != time.Second+time.Minute || e.Protocol != tlsctx.Redis || e.How != "client" ||
				e.Sent != 3 || e.Received != 4 || e.Peer != info.Peer || e.Outcome.Reason != "upstream_reset" || !errors.Is(e.Outcome.Err, failure) {
				t.Errorf("closed: %+v", e)
			}
			if e.Own == nil || e.Own.ID != f.snapshot.ID() {
				t.Errorf("own end: %+v", e.Own)
			}
		}
	})
}
