package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// fuzz runs every fuzz target of the module for a while, one after the other.
func (p project) fuzz(ctx context.Context) error {
	targets, err := discover(p.root, "Fuzz", always)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		fmt.Fprintln(p.out, "there is no fuzz target")
		return nil
	}
	fmt.Fprintf(p.out, "%d fuzz targets, %s each\n", len(targets), p.fuzzTime)
	var failed []error
	for _, t := range targets {
		if err := p.fuzzOne(ctx, t); err != nil {
			failed = append(failed, fmt.Errorf("%s %s", t.pkg, t.name))
		}
	}
	return errors.Join(failed...)
}

func (p project) fuzzOne(ctx context.Context, t function) error {
	var text bytes.Buffer
	fmt.Fprintf(p.out, "%s %s\n", t.pkg, t.name)
	err := p.execTo(ctx, io.MultiWriter(p.out, &text), "go", "test",
		"-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+p.fuzzTime.String(),
		"-fuzzminimizetime=10x", // its default, a minute for each new input, is all of a short run
		"-timeout="+longTimeout, t.pkg)
	if err != nil && onlyDeadline(text.Bytes()) {
		fmt.Fprintf(p.out, "%s ran for its time and found nothing: the go command mistook its own deadline for a failure (go.dev/issue/75804)\n", t.name)
		return nil
	}
	return err
}

// deadline is all that the go command reports, before Go 1.27, when a fuzz run's
// time is over at a moment when a worker is busy. What a target finds looks
// otherwise: there is a failing input to show for it.
var deadline = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w* \([0-9.]+s\)\n    context deadline exceeded\nFAIL\n`)

// onlyDeadline reports whether that is the only failure in the output.
func onlyDeadline(output []byte) bool {
	return deadline.Match(output) &&
		bytes.Count(output, []byte("--- FAIL")) == 1 &&
		!bytes.Contains(output, []byte("Failing input"))
}
