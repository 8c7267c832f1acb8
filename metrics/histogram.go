package metrics

import (
	"math"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A histogram of requests has classic buckets, at the bounds that Istio's have,
// and native ones, each at most 1.1 times as wide as the one before: schema 3, of
// which eight make an octave. Observing takes a few atomic additions and neither
// a lock nor, once the octave has been met, an allocation.

// Octaves of the native buckets: of values from 2^firstOctave to
// 2^(firstOctave+octaveCount). What is beyond is in the outermost bucket.
const (
	nativeSchema = 3
	perOctave    = 1 << nativeSchema
	firstOctave  = -10
	octaveCount  = 48
)

// scale says how a histogram counts. It is never changed.
type scale struct {
	// unit is how many of what is observed make 1 of what is exported.
	unit float64

	// bounds are the upper bounds of the classic buckets, ascending.
	bounds []float64

	// parts divide an octave: the lower bounds of its native buckets, as
	// fractions of its end.
	parts [perOctave]float64
}

func newScale(unit float64, bounds []float64) *scale {
	s := &scale{unit: unit, bounds: bounds}
	for i := range s.parts {
		s.parts[i] = math.Exp2(float64(i)/perOctave - 1)
	}
	return s
}

// istioBuckets are the bounds that Istio's proxies have, in milliseconds and in
// bytes alike.
func istioBuckets() []float64 {
	return []float64{
		.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000,
	}
}

// octave is a row of native buckets.
type octave [perOctave]atomic.Uint64

// histogram counts values that are not negative. It must not be copied.
type histogram struct {
	scale   *scale
	classic []atomic.Uint64
	zeros   atomic.Uint64
	octaves [octaveCount]atomic.Pointer[octave]
	sum     atomic.Uint64 // of what was observed
}

func (h *histogram) init(s *scale) {
	h.scale, h.classic = s, make([]atomic.Uint64, len(s.bounds))
}

// observe counts a value and returns its classic bucket, which is past the last
// bound for the greatest. The native bucket is first: a scrape that reads the
// classic ones first never finds more in them.
func (h *histogram) observe(n uint64) (bucket int, value float64) {
	value = float64(n) / h.scale.unit
	h.sum.Add(n)
	h.native(value).Add(1)
	for bucket = range h.scale.bounds {
		if value <= h.scale.bounds[bucket] {
			h.classic[bucket].Add(1)
			return bucket, value
		}
	}
	return len(h.scale.bounds), value
}

// native returns the native bucket of a value.
func (h *histogram) native(value float64) *atomic.Uint64 {
	if value <= 0 {
		return &h.zeros
	}
	fraction, exponent := math.Frexp(value) // in [0.5, 1)
	row, part := exponent-2, perOctave-1    // buckets take their upper bound in
	if fraction > h.scale.parts[0] {
		row, part = exponent-1, 0
		for part < perOctave-1 && fraction > h.scale.parts[part+1] {
			part++
		}
	}
	switch row -= firstOctave; {
	case row < 0:
		row, part = 0, 0
	case row >= octaveCount:
		row, part = octaveCount-1, perOctave-1
	}
	o := h.octaves[row].Load()
	for o == nil {
		h.octaves[row].CompareAndSwap(nil, new(octave))
		o = h.octaves[row].Load()
	}
	return &o[part]
}

// count returns how many values were observed.
func (h *histogram) count() uint64 {
	n := h.zeros.Load()
	for i := range h.octaves {
		if o := h.octaves[i].Load(); o != nil {
			for part := range o {
				n += o[part].Load()
			}
		}
	}
	return n
}

// export returns the histogram as Prometheus has it.
func (h *histogram) export(created *timestamppb.Timestamp) *dto.Histogram {
	out := &dto.Histogram{
		CreatedTimestamp: created,
		Schema:           new(int32(nativeSchema)),
		ZeroThreshold:    new(prometheus.DefNativeHistogramZeroThreshold),
		Bucket:           make([]*dto.Bucket, len(h.classic)),
	}
	buckets, counts := make([]dto.Bucket, len(h.classic)), make([]uint64, len(h.classic))
	var below uint64
	for i := range h.classic {
		below += h.classic[i].Load()
		counts[i] = below
		buckets[i].CumulativeCount, buckets[i].UpperBound = &counts[i], &h.scale.bounds[i]
		out.Bucket[i] = &buckets[i]
	}
	zeros := h.zeros.Load()
	out.ZeroCount = new(zeros)
	out.SampleCount = new(zeros + h.exportNative(out))
	out.SampleSum = new(float64(h.sum.Load()) / h.scale.unit)
	return out
}

// exportNative fills in the native buckets, as runs of those that hold something,
// each as the difference to the one before, and returns how many values are in
// them.
func (h *histogram) exportNative(out *dto.Histogram) (n uint64) {
	var last int64
	end := 0 // the key after the run's last
	for row := range h.octaves {
		o := h.octaves[row].Load()
		if o == nil {
			continue
		}
		for part := range o {
			count := o[part].Load()
			if count == 0 {
				continue
			}
			n += count
			key := (row+firstOctave)*perOctave + part + 1 // its upper bound is 2^(key/perOctave)
			if runs := len(out.PositiveSpan); runs > 0 && key == end {
				*out.PositiveSpan[runs-1].Length++
			} else {
				out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: new(int32(key - end)), Length: new(uint32(1))})
			}
			out.PositiveDelta = append(out.PositiveDelta, int64(count)-last)
			last, end = int64(count), key+1
		}
	}
	if len(out.PositiveSpan) == 0 { // by which it is known to be native
		out.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(0))}}
	}
	return n
}
