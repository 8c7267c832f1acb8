package metrics

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// reference observes the same in Prometheus's own histogram.
func reference(t *testing.T, bounds []float64, values []float64) *dto.Histogram {
	t.Helper()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Buckets: bounds, NativeHistogramBucketFactor: 1.1})
	for _, v := range values {
		h.Observe(v)
	}
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetHistogram()
}

// buckets returns the native buckets by their keys.
func buckets(h *dto.Histogram) map[int32]int64 {
	all := make(map[int32]int64)
	var key int32
	var count int64
	i := 0
	for _, span := range h.GetPositiveSpan() {
		key += span.GetOffset()
		for range span.GetLength() {
			count += h.GetPositiveDelta()[i]
			i++
			if count != 0 {
				all[key] = count
			}
			key++
		}
	}
	return all
}

// TestHistogram holds ours to Prometheus's own, bucket for bucket, at bounds and
// between them.
func TestHistogram(t *testing.T) {
	const unit = 1e6
	s := newScale(unit, istioBuckets())
	var h histogram
	h.init(s)
	r := rand.New(rand.NewPCG(1, 2))
	observed := []uint64{0, 0, 1000, 999, unit, unit / 2, 4 * unit, 2*unit + 1, 3_600_000 * unit, 3_600_001 * unit, 1 << 50}
	for range 10_000 {
		observed = append(observed, uint64(math.Exp(7+r.Float64()*20)))
	}
	for i := range 200 { // next to the bounds of native buckets
		near := uint64(unit * math.Exp2(float64(i)/8))
		observed = append(observed, near-1, near, near+1)
	}
	values := make([]float64, len(observed))
	for i, n := range observed {
		values[i] = float64(n) / unit
		h.observe(n)
	}
	got, want := h.export(nil), reference(t, istioBuckets(), values)
	if got.GetSchema() != want.GetSchema() || got.GetZeroCount() != want.GetZeroCount() ||
		got.GetZeroThreshold() != want.GetZeroThreshold() || got.GetSampleCount() != want.GetSampleCount() {
		t.Errorf("schema %d, zeros %d below %g, count %d; want %d, %d, %g, %d",
			got.GetSchema(), got.GetZeroCount(), got.GetZeroThreshold(), got.GetSampleCount(),
			want.GetSchema(), want.GetZeroCount(), want.GetZeroThreshold(), want.GetSampleCount())
	}
	if r := got.GetSampleSum() / want.GetSampleSum(); r < 1-1e-9 || r > 1+1e-9 {
		t.Errorf("sum %v, want %v", got.GetSampleSum(), want.GetSampleSum())
	}
	for i, b := range want.GetBucket() {
		if have := got.GetBucket()[i]; have.GetUpperBound() != b.GetUpperBound() || have.GetCumulativeCount() != b.GetCumulativeCount() {
			t.Errorf("bucket %v has %d, want %v with %d", have.GetUpperBound(), have.GetCumulativeCount(), b.GetUpperBound(), b.GetCumulativeCount())
		}
	}
	have, wanted := buckets(got), buckets(want)
	for key, n := range wanted {
		if have[key] != n {
			t.Errorf("native bucket %d has %d, want %d", key, have[key], n)
		}
	}
	if len(have) != len(wanted) {
		t.Errorf("%d native buckets, want %d", len(have), len(wanted))
	}
}

// TestHistogramEnds has values that no octave is there for.
func TestHistogramEnds(t *testing.T) {
	var h histogram
	h.init(newScale(1e6, istioBuckets()))
	h.observe(1)              // a nanosecond
	h.observe(math.MaxUint64) // six hundred years
	got := buckets(h.export(nil))
	first, last := int32(firstOctave*perOctave+1), int32((firstOctave+octaveCount)*perOctave)
	if len(got) != 2 || got[first] != 1 || got[last] != 1 {
		t.Errorf("buckets %v, want one in %d and one in %d", got, first, last)
	}
	var empty histogram
	empty.init(newScale(1, istioBuckets()))
	if len(empty.export(nil).GetPositiveSpan()) == 0 {
		t.Error("without a value it is taken for a classic one")
	}
}

// TestHistogramScrape reads while others write: no scrape may find more in the
// classic buckets than there is in all.
func TestHistogramScrape(t *testing.T) {
	var h histogram
	h.init(newScale(1e6, istioBuckets()))
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for i := range uint64(20_000) {
				h.observe(i * uint64(time.Microsecond))
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		out := h.export(nil)
		if most := out.GetBucket()[len(out.GetBucket())-1].GetCumulativeCount(); most > out.GetSampleCount() {
			t.Fatalf("%d in classic buckets, %d in all", most, out.GetSampleCount())
		}
		var n int64
		for _, count := range buckets(out) {
			n += count
		}
		if uint64(n)+out.GetZeroCount() != out.GetSampleCount() {
			t.Fatalf("%d in native buckets, %d of zero, %d in all", n, out.GetZeroCount(), out.GetSampleCount())
		}
	}
	if n := h.count(); n != 80_000 {
		t.Errorf("%d observed, want 80000", n)
	}
}
