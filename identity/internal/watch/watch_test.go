package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience only stops a hang.
const patience = time.Minute

// never is a poll that no test lives to see.
const never = 24 * time.Hour

// run watches until the test ends. Every call is announced on the channel.
func run(t *testing.T, c Config) (called <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	calls := make(chan struct{}, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(ctx, c, func() { calls <- struct{}{} })
	}()
	t.Cleanup(func() { cancel(); <-done })
	await(t, calls) // watching now
	return calls
}

func await(t *testing.T, called <-chan struct{}) {
	t.Helper()
	select {
	case <-called:
	case <-time.After(patience):
		t.Fatal("nobody called")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// read returns what is in a file, or "" if there is none.
func read(path string) string {
	content, _ := os.ReadFile(path)
	return string(content)
}

// text is what the change of that number writes.
func text(n int) string { return "change " + strconv.Itoa(n) }

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// swap replaces a link the way that Kubernetes does it.
func swap(t *testing.T, target, path string) {
	t.Helper()
	link(t, target, path+"_tmp")
	if err := os.Rename(path+"_tmp", path); err != nil {
		t.Fatal(err)
	}
}

// temp returns a temporary folder without links in its name.
func temp(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestChanges changes a file in each way that tools do it, and again: that
// proves that what was swapped in is watched as well.
func TestChanges(t *testing.T) {
	for name, test := range map[string]struct {
		arrange func(t *testing.T, dir string) (path string)
		change  func(t *testing.T, dir, path string, n int) // to text(n)
	}{
		"written in place": {
			func(t *testing.T, dir string) string { write(t, dir+"/a", "0"); return dir + "/a" },
			func(t *testing.T, _, path string, n int) { write(t, path, text(n)) },
		},
		"created": {
			func(_ *testing.T, dir string) string { return dir + "/a" },
			func(t *testing.T, _, path string, n int) { write(t, path, text(n)) },
		},
		"renamed over": {
			func(t *testing.T, dir string) string { write(t, dir+"/a", "0"); return dir + "/a" },
			func(t *testing.T, dir, path string, n int) {
				write(t, dir+"/new", text(n))
				if err := os.Rename(dir+"/new", path); err != nil {
					t.Fatal(err)
				}
			},
		},
		"Kubernetes volume": {
			func(t *testing.T, dir string) string {
				mkdir(t, dir+"/..0")
				write(t, dir+"/..0/a", "0")
				link(t, "..0", dir+"/..data")
				link(t, "..data/a", dir+"/a")
				return dir + "/a"
			},
			func(t *testing.T, dir, _ string, n int) {
				next := "..1" + text(n)
				mkdir(t, dir+"/"+next)
				write(t, dir+"/"+next+"/a", text(n))
				swap(t, next, dir+"/..data")
			},
		},
		"link to a folder elsewhere": {
			func(t *testing.T, dir string) string {
				mkdir(t, dir+"/v0/certs")
				mkdir(t, dir+"/etc")
				write(t, dir+"/v0/certs/a", "0")
				link(t, dir+"/v0", dir+"/etc/current")
				return dir + "/etc/current/certs/a"
			},
			func(t *testing.T, dir, _ string, n int) {
				next := dir + "/v1" + text(n)
				mkdir(t, next+"/certs")
				write(t, next+"/certs/a", text(n))
				swap(t, next, dir+"/etc/current")
			},
		},
		"folder renamed and made anew": {
			func(t *testing.T, dir string) string {
				mkdir(t, dir+"/certs")
				write(t, dir+"/certs/a", "0")
				return dir + "/certs/a"
			},
			func(t *testing.T, dir, _ string, n int) {
				next := dir + "/next" + text(n)
				mkdir(t, next)
				write(t, next+"/a", text(n))
				if err := os.Rename(dir+"/certs", next+"-old"); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(next, dir+"/certs"); err != nil {
					t.Fatal(err)
				}
			},
		},
		"target of a relative link": {
			func(t *testing.T, dir string) string {
				mkdir(t, dir+"/live/x")
				mkdir(t, dir+"/archive/x")
				write(t, dir+"/archive/x/a1", "0")
				link(t, "../../archive/x/a1", dir+"/live/x/a")
				return dir + "/live/x/a"
			},
			func(t *testing.T, dir, _ string, n int) { write(t, dir+"/archive/x/a1", text(n)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := temp(t)
			path := test.arrange(t, dir)
			called := run(t, Config{Paths: []string{path}, Settle: 5 * time.Millisecond, Poll: never})
			for n := range 3 {
				test.change(t, dir, path, n+1)
				for content := ""; content != text(n+1); {
					await(t, called)
					content = read(path)
				}
			}
		})
	}
}

func TestOtherFilesDoNotConcernUs(t *testing.T) {
	dir := temp(t)
	write(t, dir+"/a", "0")
	w := Config{}.withDefaults().open()
	defer w.close()
	w.follow([]string{dir + "/a"})
	for name, want := range map[string]bool{dir + "/a": true, dir: true, dir + "/b": false} {
		if got := w.concerns(fsnotify.Event{Name: name}); got != want {
			t.Errorf("concerns(%s) = %t, want %t", name, got, want)
		}
	}
}

// TestUnrestIsNotWaitedFor keeps changing a file more often than it may settle.
func TestUnrestIsNotWaitedFor(t *testing.T) {
	dir := temp(t)
	called := run(t, Config{Paths: []string{dir + "/a"}, Settle: 50 * time.Millisecond, Poll: never})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for {
		select {
		case <-called:
			return
		case <-tick.C:
			write(t, dir+"/a", "x")
		case <-limit:
			t.Fatal("nobody called while the file kept changing")
		}
	}
}

func TestPollWithoutEvents(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	called := run(t, Config{
		Paths: []string{"/does/not/exist"}, Poll: time.Millisecond, Logger: zap.New(core),
		watcher: func() (*fsnotify.Watcher, error) { return nil, errors.New("too many") },
	})
	await(t, called)
	await(t, called)
	if logs.Len() != 1 {
		t.Errorf("logged %d times that there are no events, want once", logs.Len())
	}
}

func TestTrail(t *testing.T) {
	dir := temp(t)
	mkdir(t, dir+"/real/sub")
	write(t, dir+"/real/sub/f", "")
	link(t, "real", dir+"/one")
	link(t, dir+"/one/sub", dir+"/two")
	link(t, "loop", dir+"/loop")
	for path, want := range map[string][]string{
		"real/sub/f":        {"real/sub/f"},
		"one/sub/f":         {"one", "real/sub/f"},
		"two/f":             {"two", "one", "real/sub/f"},
		"one/sub/../sub/f":  {"one", "real/sub/f"},
		"missing/sub/f":     {"missing"},
		"one/sub/missing/f": {"one", "real/sub/missing"},
	} {
		var full []string
		for _, w := range want {
			full = append(full, filepath.Join(dir, w))
		}
		if got := trail(dir + "/" + path); !slices.Equal(got, full) {
			t.Errorf("trail(%s) = %q, want %q", path, got, full)
		}
	}
	if got := trail(dir + "/loop"); len(got) > maxLinks+1 {
		t.Errorf("a loop of links is followed %d times", len(got))
	}
}
