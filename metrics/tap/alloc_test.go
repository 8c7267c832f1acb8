//go:build !race

package tap

import (
	"testing"

	"github.com/hallmark-mesh/hallmark/metrics"
)

// TestAlloc holds a recorder with a tap that nobody watches to what one without
// costs, and an event that a filter does not take to nothing.
func TestAlloc(t *testing.T) {
	record := func(sinks ...metrics.Sink) func() {
		r, err := metrics.New(metrics.Config{Sinks: sinks})
		if err != nil {
			t.Fatal(err)
		}
		e, c := get(), connection()
		q := r.Requests(e.RequestsInfo)
		return func() {
			q.Record(e.Request)
			r.OpenConnection(c.ConnectionInfo).Close(metrics.Outcome{})
		}
	}
	without, with := testing.AllocsPerRun(1000, record()), testing.AllocsPerRun(1000, record(new(Tap)))
	if with != without {
		t.Errorf("with a tap that nobody watches %v allocations, without %v", with, without)
	}
	on := new(Tap)
	w := watch(t, on, "path=/nothing&peer=spiffe://example.org/*&status=5xx")
	defer w.Close()
	e, c := get(), connection()
	if n := testing.AllocsPerRun(1000, func() { on.Requested(e); on.Opened(c); on.Closed(c) }); n != 0 {
		t.Errorf("events that no filter takes allocate %v times", n)
	}
}

// BenchmarkRequest records a request without a tap, with one that nobody watches,
// with one whose filter does not take it, and with one that is shown it.
func BenchmarkRequest(b *testing.B) {
	for _, c := range []struct {
		name string
		tap  *Tap
		of   *Filter
	}{{"without", nil, nil}, {"unwatched", new(Tap), nil}, {"filtered", new(Tap), &Filter{failed: true}}, {"watched", new(Tap), new(Filter)}} {
		b.Run(c.name, func(b *testing.B) {
			var sinks []metrics.Sink
			if c.tap != nil {
				sinks = append(sinks, c.tap)
			}
			r, err := metrics.New(metrics.Config{Sinks: sinks})
			if err != nil {
				b.Fatal(err)
			}
			if c.of != nil {
				w, err := c.tap.Watch(c.of)
				if err != nil {
					b.Fatal(err)
				}
				defer w.Close()
			}
			e := get()
			q := r.Requests(e.RequestsInfo)
			b.ReportAllocs()
			for b.Loop() {
				q.Record(e.Request)
			}
		})
	}
}
