package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// scope is a [testing.TB] outside of tests: packages ca, components and apps
// start and stop things for the duration of one, and here that is one visit to
// a contender. Methods of testing.TB that they do not call panic.
type scope struct {
	testing.TB

	ctx  context.Context
	name string

	mu       sync.Mutex
	failures []error
	logs     []string
	cleanups []func()
}

// scoped runs f, then what it left to clean up, and returns what failed.
func scoped(ctx context.Context, name string, f func(testing.TB)) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &scope{ctx: ctx, name: name}
	s.run(func() { f(s) })
	cancel()
	for {
		s.mu.Lock()
		cleanups := s.cleanups
		s.cleanups = nil
		s.mu.Unlock()
		if len(cleanups) == 0 {
			break
		}
		for _, cleanup := range slices.Backward(cleanups) {
			s.run(cleanup)
		}
	}
	if len(s.failures) == 0 {
		return nil
	}
	return fmt.Errorf("%w\n%s", errors.Join(s.failures...), s.logs)
}

// run runs f on a goroutine of its own, which Fatal can end.
func (s *scope) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (s *scope) fail(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, fmt.Errorf("%s: %s", s.name, text))
}

// Helper does nothing.
func (s *scope) Helper() {}

// Name returns the name of the visit.
func (s *scope) Name() string { return s.name }

// Context ends before the cleanups run.
func (s *scope) Context() context.Context { return s.ctx }

// Cleanup has f called in the end, the last one first.
func (s *scope) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

// TempDir returns a folder that is removed in the end.
func (s *scope) TempDir() string {
	dir, err := os.MkdirTemp("", "hallmark-bench")
	if err != nil {
		s.Fatalf("make a folder: %v", err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Failed reports whether anything has failed.
func (s *scope) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failures) > 0
}

// Log keeps what is only of interest if something fails.
func (s *scope) Log(args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, fmt.Sprint(args...))
}

// Logf is Log with a format.
func (s *scope) Logf(format string, args ...any) { s.Log(fmt.Sprintf(format, args...)) }

// Error marks a failure.
func (s *scope) Error(args ...any) { s.fail(fmt.Sprint(args...)) }

// Errorf marks a failure.
func (s *scope) Errorf(format string, args ...any) { s.fail(fmt.Sprintf(format, args...)) }

// Fatal marks a failure and ends the calling goroutine, which is that of f.
func (s *scope) Fatal(args ...any) {
	s.fail(fmt.Sprint(args...))
	runtime.Goexit()
}

// Fatalf is Fatal with a format.
func (s *scope) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }
