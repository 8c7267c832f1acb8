package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
)

// step is a part of a run.
type step struct {
	name   string
	what   string
	needed bool // nothing after it makes sense if it fails
	run    func(ctx context.Context) error
}

// result is how a step went; one that was not reached has no duration.
type result struct {
	name string
	took time.Duration
	err  error
}

// errNotRun is the result of a step after a needed one that failed.
var errNotRun = errors.New("not run")

// runSteps runs every step, also after one has failed, prints how each went, and
// then all of them at a glance.
func runSteps(ctx context.Context, out io.Writer, steps []step) error {
	begun := time.Now()
	results := make([]result, 0, len(steps))
	blocked := false
	for i, s := range steps {
		if blocked || ctx.Err() != nil {
			results = append(results, result{name: s.name, err: errNotRun})
			continue
		}
		fmt.Fprintf(out, "\n==> %d/%d %s: %s\n", i+1, len(steps), s.name, s.what)
		start := time.Now()
		r := result{name: s.name, err: s.run(ctx)}
		r.took = time.Since(start)
		results = append(results, r)
		fmt.Fprintf(out, "<== %s\n", r)
		blocked = s.needed && r.err != nil
	}
	return summarize(out, results, time.Since(begun))
}

// String returns the result on one line.
func (r result) String() string {
	verdict := "ok"
	if r.err != nil {
		verdict = r.err.Error()
	}
	return fmt.Sprintf("%-10s %8s  %s", r.name, r.took.Round(time.Second/10), verdict)
}

func summarize(out io.Writer, results []result, took time.Duration) error {
	fmt.Fprintf(out, "\n==> summary, %s in all\n", took.Round(time.Second))
	var failed []error
	for _, r := range results {
		fmt.Fprintln(out, r)
		if r.err != nil {
			failed = append(failed, errors.New(r.name))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d parts failed: %w", len(failed), len(results), errors.Join(failed...))
}

// verdicts are the lines of go test's output that say how a test or a package
// went; those of packages without tests are left out.
var verdicts = regexp.MustCompile(`^(ok |FAIL|--- FAIL|panic: |WARNING: DATA RACE)`)

// recap passes go test's output on and remembers the lines that matter, to print
// them at the end of a long log.
type recap struct {
	out   io.Writer
	part  []byte // of a line that is not complete yet
	lines [][]byte
}

// Write passes p on.
func (r *recap) Write(p []byte) (int, error) {
	r.part = append(r.part, p...)
	for {
		line, rest, complete := bytes.Cut(r.part, []byte("\n"))
		if !complete {
			return r.out.Write(p)
		}
		if verdicts.Match(line) {
			r.lines = append(r.lines, bytes.Clone(line))
		}
		r.part = rest
	}
}

func (r *recap) print() {
	if len(r.lines) == 0 {
		return
	}
	fmt.Fprintf(r.out, "\n==> the tests once more\n")
	for _, line := range r.lines {
		fmt.Fprintf(r.out, "%s\n", line)
	}
}
