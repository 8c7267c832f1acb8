package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// The timeouts of a package's tests. They only stop a hang.
const (
	testTimeout = "30m"
	longTimeout = "6h"
)

// race runs every test with the race detector.
func (p project) race(ctx context.Context) error {
	return p.exec(ctx, "go", "test", "-race", "-shuffle=on", "-timeout="+testTimeout, "./...")
}

// imports runs the test of the imports' direction. It would run among the others
// too; here it fails early, and lists long files.
func (p project) imports(ctx context.Context) error {
	return p.exec(ctx, "go", "test", "-count=1", "-v", "-run=^TestArchitecture$", "./test/arch")
}

// norace runs the tests in files with the build constraint "!race": those that
// count allocations or memory, which the race detector changes.
func (p project) norace(ctx context.Context) error {
	tests, err := discover(p.root, "Test", unlessRace)
	if err != nil {
		return err
	}
	if len(tests) == 0 {
		fmt.Fprintln(p.out, `no test is in a file with "//go:build !race"`)
		return nil
	}
	args := []string{"test", "-shuffle=on", "-timeout=" + testTimeout, "-run=" + patternOf(tests)}
	return p.exec(ctx, "go", append(args, packagesOf(tests)...)...)
}

// long runs the tests in files that only the build tag "long" brings in, with
// all that they print, under a heading that says when and where.
func (p project) long(ctx context.Context) error {
	tests, err := discover(p.root, "Test", onlyLong)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "date:     %s\nmachine:  %s\ngo:       %s\nrevision: %s\ntests:    %d\n\n",
		time.Now().UTC().Format(time.RFC3339), machine(), runtime.Version(), p.revision(ctx), len(tests))
	if len(tests) == 0 {
		fmt.Fprintln(p.out, `no test is in a file with "//go:build long"`)
		return nil
	}
	args := []string{"test", "-tags=long", "-v", "-shuffle=on", "-p=1", "-timeout=" + longTimeout, "-run=" + patternOf(tests)}
	return p.exec(ctx, "go", append(args, packagesOf(tests)...)...)
}

// machine describes where measurements were made.
func machine() string {
	model := "unknown CPU"
	info, _ := os.ReadFile("/proc/cpuinfo") // on other systems: unknown
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%s/%s, %d × %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), model)
}

// revision is what git calls the source, or "unknown" outside a repository.
func (p project) revision(ctx context.Context) string {
	var text strings.Builder
	if err := p.execTo(ctx, &text, "git", "describe", "--always", "--dirty", "--tags"); err != nil {
		return "unknown"
	}
	return strings.TrimSpace(text.String())
}
