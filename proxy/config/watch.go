package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing must change before files are read again: an
	// editor writes in several steps.
	quiet = 50 * time.Millisecond

	// patience is how long changes may go on before files are read anyway.
	patience = time.Second
)

// Watcher reads a configuration again when its files change: in place, by
// renaming a new file over them, or by the swap of a symbolic link in their
// path, as Kubernetes does with a ConfigMap. A directory may go and come back.
type Watcher struct {
	source   Source
	onChange func(*Config, error)
	reload   chan struct{}

	version string // of what was told last
	failure string // of what was told last, or ""
}

// NewWatcher returns a watcher of a source of which current is in force.
// onChange is called, one call at a time, with every new configuration, and with
// the error of every new mistake: what is in force then stays so, and once the
// mistake is gone that is told as well. Settings that stay the same are not.
func NewWatcher(source Source, current *Config, onChange func(*Config, error)) *Watcher {
	w := &Watcher{source: source, onChange: onChange, reload: make(chan struct{}, 1)}
	if current != nil {
		w.version = current.Version
	}
	return w
}

// Reload makes a running watcher read everything again, and tell the result
// even if it is as before. It does not wait.
func (w *Watcher) Reload() {
	select {
	case w.reload <- struct{}{}:
	default: // one is on its way already
	}
}

// Run watches until ctx ends, and then returns nil; or returns why it cannot
// watch. It reads at once what may have changed before.
func (w *Watcher) Run(ctx context.Context) error {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("config: watch %s: %w", w.source.Path, err)
	}
	defer notify.Close()
	watched := &watchList{notify: notify}
	for forced := false; ; {
		relevant := watched.update(w.source.Path)
		w.read(forced)
		if forced, err = w.wait(ctx, notify, relevant); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// wait returns when something has changed and nothing more does, and whether it
// was told to by [Watcher.Reload].
func (w *Watcher) wait(ctx context.Context, notify *fsnotify.Watcher, relevant func(name string) bool) (forced bool, err error) {
	var settled, late <-chan time.Time
	changed := func() {
		settled = time.After(quiet)
		if late == nil {
			late = time.After(patience)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case <-w.reload:
			return true, nil
		case <-settled:
			return false, nil
		case <-late:
			return false, nil
		case event, ok := <-notify.Events:
			if !ok {
				return false, errors.New("config: watch: the system ended it")
			}
			if relevant(event.Name) {
				changed()
			}
		case _, ok := <-notify.Errors: // events were lost: look for ourselves
			if !ok {
				return false, errors.New("config: watch: the system ended it")
			}
			changed()
		}
	}
}

// read reads everything and tells what is new.
func (w *Watcher) read(forced bool) {
	c, err := w.source.Load()
	switch {
	case err != nil && (forced || err.Error() != w.failure):
		w.failure = err.Error()
		w.onChange(nil, err)
	case err == nil && (forced || c.Version != w.version || w.failure != ""):
		w.version, w.failure = c.Version, ""
		w.onChange(c, nil)
	}
}

// watchList keeps what is watched up to date.
type watchList struct {
	notify *fsnotify.Watcher
	dirs   map[string]os.FileInfo
}

// update watches every directory in which a change can change what is read at
// path, and returns which names those changes have.
func (l *watchList) update(path string) (relevant func(name string) bool) {
	if path == "" {
		return func(string) bool { return false }
	}
	names := make(map[string]bool)
	trails := [][]string{trail(path)}
	inside := ""
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		inside = last(trails[0])
		files, _ := list(path) // where that fails, reading tells
		for _, name := range files {
			trails = append(trails, trail(filepath.Join(path, name)))
		}
	}
	dirs := make(map[string]bool)
	for _, steps := range trails {
		for _, step := range steps {
			names[step] = true
			dirs[filepath.Dir(step)] = true
		}
	}
	if inside != "" {
		dirs[inside] = true
	}
	l.watch(dirs)
	return func(name string) bool {
		return names[name] || inside != "" && filepath.Dir(name) == inside && isConfigFile(filepath.Base(name))
	}
}

// watch watches exactly these directories, as far as they exist and may be
// watched: those above them say when that changes.
func (l *watchList) watch(dirs map[string]bool) {
	now := make(map[string]os.FileInfo)
	for dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			continue
		}
		if before := l.dirs[dir]; before != nil && !os.SameFile(before, info) {
			_ = l.notify.Remove(dir) // another directory has taken its name
		}
		if l.notify.Add(dir) == nil {
			now[dir] = info
		}
	}
	for dir := range l.dirs {
		if now[dir] == nil {
			_ = l.notify.Remove(dir)
		}
	}
	l.dirs = now
}

// maxSteps bounds a trail, so that links in a circle end.
const maxSteps = 255

// trail returns every path, symbolic links and what they point to included,
// whose replacement changes what path stands for; the last is what it stands
// for.
func trail(path string) []string {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	var steps []string
	done, rest := "/", absolute[1:]
	for rest != "" && len(steps) < maxSteps {
		var name string
		name, rest = cutPath(rest)
		step := filepath.Join(done, name)
		steps = append(steps, step)
		link, err := os.Readlink(step)
		switch {
		case err != nil:
			done = step
		case filepath.IsAbs(link):
			done, rest = "/", filepath.Join(link, rest)[1:]
		default:
			done, rest = "/", filepath.Join(done, link, rest)[1:]
		}
	}
	return steps
}

// cutPath takes the first name off a relative path.
func cutPath(path string) (name, rest string) {
	for i := range len(path) {
		if os.IsPathSeparator(path[i]) {
			return path[:i], path[i+1:]
		}
	}
	return path, ""
}

func last(steps []string) string {
	if len(steps) == 0 {
		return ""
	}
	return steps[len(steps)-1]
}
