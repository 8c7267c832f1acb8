package metrics

import (
	"math"
	"slices"
)

// Distribution is how values are spread: what a histogram has counted, in its
// native buckets, each at most 1.1 times as wide as the one before. The zero
// value is empty. It is never changed once made.
type Distribution struct {
	buckets []bucket // that hold something, ascending
	count   uint64
}

// bucket counts the values in (2^((key-1)/perOctave), 2^(key/perOctave)], or those
// that are zero.
type bucket struct {
	key int16
	n   uint64
}

const zeroKey = math.MinInt16

// Count returns how many values there are.
func (d Distribution) Count() uint64 { return d.count }

// Quantile returns a value of which a share q, from 0 to 1, are not greater,
// within 5% of one that was observed; NaN if there are none. Within a bucket it
// goes by the exponential that the buckets' bounds follow, as Prometheus does.
func (d Distribution) Quantile(q float64) float64 {
	if d.count == 0 {
		return math.NaN()
	}
	rank := min(max(q, 0), 1) * float64(d.count)
	var below float64
	for i, b := range d.buckets {
		if n := float64(b.n); rank > below+n && i < len(d.buckets)-1 {
			below += n
			continue
		}
		if b.key == zeroKey {
			return 0
		}
		part := max(rank-below, 0) / float64(b.n)
		return math.Exp2((float64(b.key) - 1 + part) / perOctave)
	}
	return math.NaN() // there is a last one
}

// plus returns both together.
func (d Distribution) plus(more Distribution) Distribution {
	if d.count == 0 {
		return more
	}
	sum := Distribution{buckets: make([]bucket, 0, max(len(d.buckets), len(more.buckets))), count: d.count + more.count}
	a, b := d.buckets, more.buckets
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].key < b[0].key:
			sum.buckets, a = append(sum.buckets, a[0]), a[1:]
		case a[0].key > b[0].key:
			sum.buckets, b = append(sum.buckets, b[0]), b[1:]
		default:
			sum.buckets = append(sum.buckets, bucket{a[0].key, a[0].n + b[0].n})
			a, b = a[1:], b[1:]
		}
	}
	sum.buckets = append(append(sum.buckets, a...), b...)
	return sum
}

// since returns what has come since an earlier reading of the same histograms.
func (d Distribution) since(earlier Distribution) Distribution {
	if earlier.count == 0 {
		return d
	}
	var rest Distribution
	for _, b := range d.buckets {
		i, found := slices.BinarySearchFunc(earlier.buckets, b.key, func(e bucket, key int16) int { return int(e.key) - int(key) })
		if found {
			b.n -= min(earlier.buckets[i].n, b.n)
		}
		if b.n > 0 {
			rest.buckets = append(rest.buckets, b)
			rest.count += b.n
		}
	}
	return rest
}

// tally adds up histograms of one scale. The zero value is empty.
type tally struct {
	zeros   uint64
	octaves [octaveCount][perOctave]uint64
}

// add adds what the histogram has counted, and returns how much that is.
func (t *tally) add(h *histogram) (n uint64) {
	n = h.zeros.Load()
	t.zeros += n
	for row := range h.octaves {
		o := h.octaves[row].Load()
		if o == nil {
			continue
		}
		for part := range o {
			count := o[part].Load()
			t.octaves[row][part] += count
			n += count
		}
	}
	return n
}

// distribution returns what was added up.
func (t *tally) distribution() Distribution {
	var d Distribution
	put := func(key int16, n uint64) {
		if n > 0 {
			d.buckets = append(d.buckets, bucket{key, n})
			d.count += n
		}
	}
	put(zeroKey, t.zeros)
	for row := range t.octaves {
		for part, n := range t.octaves[row] {
			put(int16((row+firstOctave)*perOctave+part+1), n)
		}
	}
	return d
}
