// Command ci runs the project's checks, for the Makefile: `make test` and its
// parts. It finds what is to run by itself (fuzz targets, tests that need the
// race detector off, long tests), prints each part with its duration, and exits
// with 1 if one of them failed.
//
// It checks; it never changes a file of the tree (but for inputs that a fuzz
// target fails with, which the go command writes to testdata).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/hallmark-mesh/hallmark/test/components"
)

const usage = `usage: go run ./test/ci [-fuzztime duration] command

commands:
  test       everything that a change has to pass
  test-long  the tests with the build tag "long"
  lint       gofumpt, go vet, golangci-lint
  imports    the direction of imports
  norace     the tests with the build constraint "!race", without the race detector
  fuzz       every fuzz target, for -fuzztime each
  vuln       known vulnerabilities
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "ci: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("ci", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	fuzzTime := flags.Duration("fuzztime", 3*time.Second, "how long each fuzz target runs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p := project{root: ".", out: out, fuzzTime: *fuzzTime}
	parts := map[string]func(context.Context) error{
		"test": p.test, "test-long": p.long, "lint": p.lint, "imports": p.imports,
		"norace": p.norace, "fuzz": p.fuzz, "vuln": p.vuln,
	}
	part, ok := parts[flags.Arg(0)]
	if !ok || flags.NArg() != 1 {
		flags.Usage()
		return errors.New("want one command")
	}
	return part(ctx)
}

// project is the module that is checked.
type project struct {
	root     string
	out      io.Writer
	fuzzTime time.Duration
}

// test runs everything, what fails soonest first; the tests come last, so that
// the output ends with theirs.
func (p project) test(ctx context.Context) error {
	recap := &recap{out: p.out}
	race := p
	race.out = recap
	err := runSteps(ctx, p.out, []step{
		{name: "components", what: "the real programs that tests run", needed: true, run: func(ctx context.Context) error {
			return components.Ensure(ctx, p.out, components.Everything)
		}},
		{name: "lint", what: "gofumpt, go vet, golangci-lint", run: p.lint},
		{name: "imports", what: "the direction of imports", run: p.imports},
		{name: "vuln", what: "known vulnerabilities", run: p.vuln},
		{name: "fuzz", what: fmt.Sprintf("every fuzz target for %s", p.fuzzTime), run: p.fuzz},
		{name: "norace", what: "allocation and memory tests, without the race detector", run: p.norace},
		{name: "race", what: "go test -race -shuffle=on ./...", run: race.race},
	})
	recap.print()
	return err
}

// exec runs a program in the module with its output going to the project's.
func (p project) exec(ctx context.Context, name string, args ...string) error {
	return p.execTo(ctx, p.out, name, args...)
}

func (p project) execTo(ctx context.Context, out io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.root
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	return nil
}
