package tap

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
)

// Bounds of watching.
const (
	// MaxWatches is how many there can be at a time.
	MaxWatches = 16

	// QueueLength is how many events wait for one watcher; further ones are
	// dropped.
	QueueLength = 512
)

// ErrTooMany says that there are [MaxWatches] already.
var ErrTooMany = errors.New("tap: too many are watching already: try again when one has ended")

// Tap shows events to whoever watches: a [metrics.Sink] and a
// [metrics.RequestSink]. The zero value is ready.
type Tap struct {
	watches atomic.Pointer[[]*Watch] // nil if nobody watches

	mu sync.Mutex // held by who changes them
}

// Idle reports whether nobody watches, so that no event has to be made.
func (t *Tap) Idle() bool { return t.watches.Load() == nil }

// Opened implements [metrics.Sink].
func (t *Tap) Opened(e *metrics.Event) { t.connection(KindOpened, e) }

// Closed implements [metrics.Sink].
func (t *Tap) Closed(e *metrics.Event) { t.connection(KindClosed, e) }

func (t *Tap) connection(kind Kind, e *metrics.Event) {
	all := t.watches.Load()
	if all == nil {
		return
	}
	for _, w := range *all {
		if w.filter.connection(e) && w.takes() {
			kept := *e
			w.offer(&item{kind: kind, time: time.Now(), connection: &kept})
		}
	}
}

// Requested implements [metrics.RequestSink].
func (t *Tap) Requested(e *metrics.RequestEvent) {
	all := t.watches.Load()
	if all == nil {
		return
	}
	for _, w := range *all {
		if w.filter.request(e) && w.takes() {
			kept := *e
			bound(&kept.Request)
			w.offer(&item{kind: KindRequest, time: e.Start.Add(e.Duration), request: &kept})
		}
	}
}

// bound copies what a client chose, and no more of it than is shown: what is
// queued keeps no buffer of a connection in memory.
func bound(r *metrics.Request) {
	r.Path, _, _ = strings.Cut(r.Path, "?")
	for _, text := range []*string{&r.Method, &r.Authority, &r.Path, &r.Upgrade} {
		*text = strings.Clone((*text)[:min(len(*text), printable.Max+1)])
	}
}

// Watch shows events from now on that the filter takes, until it is closed. It
// fails with [ErrTooMany].
func (t *Tap) Watch(f *Filter) (*Watch, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*Watch
	if p := t.watches.Load(); p != nil {
		all = *p
	}
	if len(all) >= MaxWatches {
		return nil, ErrTooMany
	}
	w := &Watch{tap: t, filter: *f, queue: make(chan *item, QueueLength)}
	more := append(slices.Clip(all), w)
	t.watches.Store(&more)
	return w, nil
}

// leave takes a watcher out.
func (t *Tap) leave(w *Watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.watches.Load()
	if p == nil {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(*p), func(other *Watch) bool { return other == w })
	if len(rest) == 0 {
		t.watches.Store(nil)
		return
	}
	t.watches.Store(&rest)
}
