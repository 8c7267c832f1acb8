package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// openSet is a counter with labels whose values are not all known beforehand:
// those beyond the first so many combinations are counted under "overflow".
// Values are made fit for a label, whatever they are.
type openSet struct {
	vec        *prometheus.CounterVec
	labels     int
	overflowed prometheus.Counter

	mu      sync.RWMutex
	handles map[openKey]prometheus.Counter
}

// openKey are the values of up to four labels.
type openKey [4]string

// maxOpenSet bounds the combinations of one counter. They come from
// configuration and from the code: a peer adds none.
const maxOpenSet = 500

// newOpenSet returns the counter; overflowed counts what is past its bound.
func newOpenSet(name, help string, overflowed *prometheus.CounterVec, labels ...string) *openSet {
	return &openSet{
		vec:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels),
		labels:     len(labels),
		overflowed: overflowed.WithLabelValues(name),
		handles:    make(map[openKey]prometheus.Counter),
	}
}

// inc counts one. There must be as many values as labels.
func (o *openSet) inc(key openKey) {
	o.mu.RLock()
	handle := o.handles[key]
	o.mu.RUnlock()
	if handle == nil {
		handle = o.add(key)
	}
	handle.Inc()
}

// add makes the handle of a combination that has not been met before.
func (o *openSet) add(key openKey) prometheus.Counter {
	o.mu.Lock()
	defer o.mu.Unlock()
	full := len(o.handles) >= maxOpenSet
	values := make([]string, o.labels)
	for i := range values {
		values[i] = clean(key[i])
		if full {
			values[i] = overflow
		}
	}
	handle := o.vec.WithLabelValues(values...)
	if full {
		o.overflowed.Inc()
		return handle
	}
	o.handles[key] = handle
	return handle
}
