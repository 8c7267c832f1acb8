package components

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeTB is a test that may fail: it records what a real one would report.
type fakeTB struct {
	testing.TB // nil: a method that is not replaced here panics
	dir        string

	mu       sync.Mutex
	failed   bool
	messages []string
	cleanups []func()
}

// try runs a function as if it were a test of its own and returns it when it
// has ended and its cleanups have run.
func try(dir string, test func(tb testing.TB)) *fakeTB {
	tb := &fakeTB{dir: dir}
	done := make(chan struct{})
	go func() { // Fatalf ends the goroutine
		defer close(done)
		defer func() {
			for _, f := range slices.Backward(tb.cleanups) {
				f()
			}
		}()
		test(tb)
	}()
	<-done
	return tb
}

func (f *fakeTB) Helper()           {}
func (f *fakeTB) TempDir() string   { return f.mkdir() }
func (f *fakeTB) Cleanup(fn func()) { f.cleanups = append(f.cleanups, fn) }

func (f *fakeTB) mkdir() string {
	dir, err := os.MkdirTemp(f.dir, "")
	if err != nil {
		panic(err)
	}
	return dir
}

func (f *fakeTB) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

func (f *fakeTB) record(failed bool, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = f.failed || failed
	f.messages = append(f.messages, text)
}

func (f *fakeTB) Logf(format string, args ...any)   { f.record(false, fmt.Sprintf(format, args...)) }
func (f *fakeTB) Errorf(format string, args ...any) { f.record(true, fmt.Sprintf(format, args...)) }

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.record(true, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (f *fakeTB) Fatal(args ...any) {
	f.record(true, fmt.Sprint(args...))
	runtime.Goexit()
}

// text is everything that was reported.
func (f *fakeTB) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.messages, "\n")
}
