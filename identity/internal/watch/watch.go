// Package watch says when files may have changed: by the kernel's word, and
// every so often without it.
//
// It follows symbolic links the way that Kubernetes and certificate tools use
// them: a ConfigMap, Secret or downward API volume swaps the link "..data", and
// a path may lead through several. It never reads a file itself, and never takes
// an event for the truth: whoever is called reads again and compares.
package watch

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// Defaults of [Config].
const (
	DefaultSettle = 100 * time.Millisecond
	DefaultPoll   = 30 * time.Second
)

// restless is how many times the settling time a burst of events may last
// before the callback is called in the midst of it.
const restless = 10

// Config says what to watch. The zero value watches nothing, but polls.
type Config struct {
	// Paths are the files. They need not exist.
	Paths []string

	// Settle is how long the files must be left alone before the callback is
	// called, DefaultSettle if zero: writers touch several files in a row.
	Settle time.Duration

	// Poll is how often the callback is called without any event,
	// DefaultPoll if zero: some file systems send none.
	Poll time.Duration

	// Logger is told if the kernel's events are not to be had. Nil logs
	// nothing.
	Logger *zap.Logger

	// watcher makes the kernel's watcher; tests replace it.
	watcher func() (*fsnotify.Watcher, error)
}

// Run calls changed once it is watching, after every burst of events, and at
// every poll, always from the calling goroutine, until ctx ends.
func Run(ctx context.Context, c Config, changed func()) {
	c = c.withDefaults()
	w := c.open()
	defer w.close()
	poll := time.NewTicker(c.Poll)
	defer poll.Stop()
	settled := time.NewTimer(0) // the first call
	defer settled.Stop()
	var first time.Time // event of the burst under way, zero if none is
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case event, open := <-w.events():
			if !open {
				w.close()
			} else if w.concerns(event) {
				if first.IsZero() {
					first = time.Now()
				}
				settled.Reset(min(c.Settle, time.Until(first.Add(restless*c.Settle))))
			}
			continue
		case err := <-w.troubles(): // such as an overflow: events were lost
			c.Logger.Debug("file system events: looking at the files anyway", zap.Error(err))
		case <-poll.C:
		case <-settled.C:
		}
		first = time.Time{}
		w.follow(c.Paths) // before the callback reads, so that nothing is missed
		changed()
	}
}

func (c Config) withDefaults() Config {
	if c.Settle == 0 {
		c.Settle = DefaultSettle
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.watcher == nil {
		c.watcher = fsnotify.NewWatcher
	}
	return c
}

// open returns the watcher, one without events if the kernel gives none.
func (c Config) open() *watcher {
	inner, err := c.watcher()
	if err != nil {
		c.Logger.Warn("no file system events: looking at the files every so often", zap.Duration("interval", c.Poll), zap.Error(err))
	}
	return &watcher{inner: inner}
}

// watcher watches the folders that hold what a set of paths leads through.
type watcher struct {
	inner   *fsnotify.Watcher // nil: no events
	entries map[string]bool   // what an event must name to concern us
}

func (w *watcher) events() <-chan fsnotify.Event {
	if w.inner == nil {
		return nil
	}
	return w.inner.Events
}

func (w *watcher) troubles() <-chan error {
	if w.inner == nil {
		return nil
	}
	return w.inner.Errors
}

func (w *watcher) close() {
	if w.inner != nil {
		_ = w.inner.Close()
		w.inner = nil
	}
}

// concerns reports whether an event is about an entry on the way to one of the
// paths, or about a watched folder itself.
func (w *watcher) concerns(e fsnotify.Event) bool {
	return w.entries[filepath.Clean(e.Name)]
}

// follow watches the folders that the paths lead through as they are now.
func (w *watcher) follow(paths []string) {
	if w.inner == nil {
		return
	}
	w.entries = make(map[string]bool)
	folders := make(map[string]bool)
	for _, path := range paths {
		for _, entry := range trail(path) {
			folder := filepath.Dir(entry)
			w.entries[entry], w.entries[folder] = true, true
			folders[folder] = true
		}
	}
	for _, old := range w.inner.WatchList() {
		if !folders[old] {
			_ = w.inner.Remove(old)
		}
	}
	for folder := range folders {
		_ = w.inner.Add(folder) // one that is not there is left to the poll
	}
}
