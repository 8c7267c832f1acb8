package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// told is what a watcher has told.
type told struct {
	config *Config
	err    error
}

// watching runs a watcher until the test ends.
type watching struct {
	t       *testing.T
	watcher *Watcher
	told    chan told
}

// watch begins to watch, and returns once everything is watched.
func watch(t *testing.T, path string) *watching {
	t.Helper()
	w := &watching{t: t, told: make(chan told, 16)}
	w.watcher = NewWatcher(Source{Path: path}, nil, func(c *Config, err error) { w.told <- told{c, err} })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.watcher.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if len(w.told) > 0 {
			t.Errorf("told %d times more than was waited for: %+v", len(w.told), <-w.told)
		}
	})
	return w
}

// next waits for what is told next. On a busy machine the watcher may look
// between two steps of the test, at a file that is empty yet or a directory that
// is half removed: those failures are left out unless wanted.
func (w *watching) next(wanted string) told {
	w.t.Helper()
	for {
		select {
		case next := <-w.told:
			if next.err != nil && (wanted == "" || !strings.Contains(next.err.Error(), wanted)) &&
				(strings.Contains(next.err.Error(), "holds no resource") || errors.Is(next.err, os.ErrNotExist)) {
				continue
			}
			return next
		case <-time.After(time.Minute):
			w.t.Fatal("was told nothing")
		}
	}
}

// port waits for a configuration that listens on the port, and nothing else.
func (w *watching) port(port int) {
	w.t.Helper()
	next := w.next("")
	if next.err != nil {
		w.t.Fatalf("told %v, want port %d", next.err, port)
	}
	if got, want := next.config.Inbounds[0].Spec.Listen, fmt.Sprintf(":%d", port); got != want {
		w.t.Fatalf("told %s, want %s", got, want)
	}
}

func (w *watching) failure(want string) {
	w.t.Helper()
	if next := w.next(want); next.err == nil || !strings.Contains(next.err.Error(), want) {
		w.t.Fatalf("told %+v, want a failure with %q", next, want)
	}
}

// on is a file with an Inbound on the port.
func on(port int) string {
	return resourceOf(KindInbound, fmt.Sprintf(" {listen: ':%d', targets: [{name: a, address: 'a:1'}]}\n", port))
}

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hallmark.yaml")
	put(t, file, on(1))
	w := watch(t, file)
	w.port(1)
	put(t, file, on(2)) // in place
	w.port(2)
	put(t, file+".new", on(3)) // as editors do
	must(t, os.Rename(file+".new", file))
	w.port(3)
	must(t, os.Remove(file))
	w.failure("no such file")
	put(t, file, on(4))
	w.port(4)
}

func TestWatchDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf", "hallmark.d")
	must(t, os.MkdirAll(dir, 0o700))
	put(t, filepath.Join(dir, "a.yaml"), on(1))
	w := watch(t, dir)
	w.port(1)
	put(t, filepath.Join(dir, "b.yaml"), "a: [")
	w.failure("b.yaml:1: is not YAML")
	must(t, os.Remove(filepath.Join(dir, "b.yaml")))
	w.port(1) // the mistake is gone
	must(t, os.RemoveAll(filepath.Dir(dir)))
	w.failure("no such file")
	must(t, os.MkdirAll(dir, 0o700))
	w.failure("holds no resource")
	put(t, filepath.Join(dir, "a.yaml"), on(2))
	w.port(2)
	other := dir + ".other"
	must(t, os.Mkdir(other, 0o700))
	put(t, filepath.Join(other, "a.yaml"), on(3))
	must(t, os.Rename(dir, dir+".old"))
	must(t, os.Rename(other, dir))
	w.port(3)
	put(t, filepath.Join(dir+".old", "a.yaml"), on(4)) // no longer ours
	put(t, filepath.Join(dir, "a.yaml"), on(5))
	w.port(5)
	above := filepath.Dir(dir)
	must(t, os.MkdirAll(filepath.Join(above+".new", filepath.Base(dir)), 0o700))
	put(t, filepath.Join(above+".new", filepath.Base(dir), "a.yaml"), on(6))
	must(t, os.Rename(above, above+".old"))
	must(t, os.Rename(above+".new", above))
	w.port(6)
	put(t, filepath.Join(dir, "a.yaml"), on(7))
	w.port(7)
}

// configMap writes a directory as the kubelet does, and swaps it in.
func configMap(t *testing.T, volume, version, content string) {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(volume, version), 0o700))
	put(t, filepath.Join(volume, version, "hallmark.yaml"), content)
	must(t, os.Symlink(version, filepath.Join(volume, "..data_tmp")))
	must(t, os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")))
	if err := os.Symlink("..data/hallmark.yaml", filepath.Join(volume, "hallmark.yaml")); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
}

func TestWatchConfigMap(t *testing.T) {
	for _, path := range []string{".", "hallmark.yaml"} {
		t.Run(path, func(t *testing.T) {
			volume := t.TempDir()
			configMap(t, volume, "..2026_1", on(1))
			w := watch(t, filepath.Join(volume, path))
			w.port(1)
			for i := 2; i < 5; i++ {
				configMap(t, volume, fmt.Sprintf("..2026_%d", i), on(i))
				w.port(i)
				must(t, os.RemoveAll(filepath.Join(volume, fmt.Sprintf("..2026_%d", i-1))))
			}
		})
	}
}

// Links anywhere in the path, absolute or not, are followed.
func TestWatchLinks(t *testing.T) {
	dir := t.TempDir()
	for i := 1; i <= 2; i++ {
		release := filepath.Join(dir, "releases", fmt.Sprint(i), "conf")
		must(t, os.MkdirAll(release, 0o700))
		put(t, filepath.Join(release, "hallmark.yaml"), on(i))
	}
	must(t, os.Symlink("releases/1", filepath.Join(dir, "current")))
	must(t, os.Symlink(filepath.Join(dir, "current"), filepath.Join(dir, "etc")))
	w := watch(t, filepath.Join(dir, "etc", "conf"))
	w.port(1)
	must(t, os.Symlink("releases/2", filepath.Join(dir, "next")))
	must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")))
	w.port(2)
	put(t, filepath.Join(dir, "releases", "2", "conf", "hallmark.yaml"), on(3))
	w.port(3)
	circle := filepath.Join(dir, "circle")
	must(t, os.Symlink(circle, circle))
	if steps := trail(circle); len(steps) != maxSteps {
		t.Errorf("a circle has %d steps", len(steps))
	}
}

func TestWatchNeedsNothingToBegin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "not", "yet", "there.yaml")
	w := watch(t, file)
	w.failure("no such file")
	must(t, os.MkdirAll(filepath.Dir(file), 0o700))
	put(t, file, on(1))
	w.port(1)
}

func TestReloadTellsInAnyCase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hallmark.yaml")
	put(t, file, on(1))
	w := watch(t, file)
	w.port(1)
	w.watcher.Reload()
	w.port(1)
	put(t, file, "a: [")
	w.failure("is not YAML")
	w.watcher.Reload()
	w.failure("is not YAML")
	put(t, file, on(1))
	w.port(1)
}

func TestReloadWithoutFiles(t *testing.T) {
	in, err := ParseInboundFlag(":1=a:1")
	must(t, err)
	w := watch(t, "")
	if next := w.next(""); next.err != nil || len(next.config.Inbounds) != 0 {
		t.Fatalf("told %+v", next)
	}
	w.watcher.source.Inbounds = []Inbound{in} // Run waits meanwhile
	w.watcher.Reload()
	w.port(1)
}

// What stays the same is not told, nor a mistake twice.
func TestUnchangedIsNotTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hallmark.yaml")
	put(t, file, on(1))
	current, err := Load(file)
	must(t, err)
	var got []told
	w := NewWatcher(Source{Path: file}, current, func(c *Config, err error) { got = append(got, told{c, err}) })
	for _, step := range []struct {
		content string
		want    int
	}{
		{on(1), 0},
		{"# a comment\n" + on(1), 0},
		{on(2), 1},
		{on(2) + "\n", 1},
		{"a: [", 2},
		{"a: [", 2},
		{"b: 1", 3},
		{on(2), 4},
		{on(2), 4},
	} {
		put(t, file, step.content)
		w.read(false)
		if len(got) != step.want {
			t.Fatalf("after %.20q told %d times, want %d", step.content, len(got), step.want)
		}
	}
}
