package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
	"github.com/hallmark-mesh/hallmark/test/components"
)

// bench runs contenders.
type bench struct {
	plan       plan
	contenders []contenders.Contender
	workloads  []workload
	self       []string
	out        io.Writer // progress

	backends map[backend]string // addresses
}

// run visits every contender under every workload, round by round, in turn, and
// calls each for every sample, and checked for every run of a load generator.
func (b *bench) run(ctx context.Context, each func(Sample), checked func(Checked)) error {
	return scoped(ctx, "backends", func(tb testing.TB) {
		b.start(tb)
		if err := b.runChecks(ctx, checked); err != nil {
			tb.Fatal(err)
		}
		for _, w := range b.workloads {
			if err := b.runWorkload(ctx, w, each); err != nil {
				tb.Fatal(err)
			}
		}
	})
}

// runWorkload takes the contenders in turn, in the other order every other
// round, so that what drifts does not favour one of them.
func (b *bench) runWorkload(ctx context.Context, w workload, each func(Sample)) error {
	for round := range max(b.plan.Rounds, b.plan.BarredRounds) {
		var turn []contenders.Contender
		for _, c := range b.contenders {
			rounds := b.plan.Rounds
			if barred(w, c.Name) {
				rounds = max(rounds, b.plan.BarredRounds)
			}
			if round < rounds && slices.Contains(c.Modes, w.Mode) && (w.Only == nil || slices.Contains(w.Only, c.Name)) {
				turn = append(turn, c)
			}
		}
		if round%2 == 1 {
			slices.Reverse(turn)
		}
		for _, c := range turn {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			sample, err := b.visit(ctx, w, c, round)
			if err != nil {
				return err
			}
			fmt.Fprintln(b.out, sample)
			each(sample)
		}
	}
	return nil
}

// String is a line of progress.
func (s Sample) String() string {
	mark := ""
	if s.Errors > 0 {
		mark = fmt.Sprintf("  %d ERRORS: %s", s.Errors, s.Error)
	}
	return fmt.Sprintf("%-18s %2d %-15s %10.0f/s %8.1f µs CPU  p50 %9s  p99 %9s  busy %3.0f%%%s",
		s.Workload, s.Round+1, s.Contender, s.Rate, s.CPUPerCall()*1e6, brief(s.P50), brief(s.P99), s.Busy*100, mark)
}

// start runs the applications, each as a process of its own.
func (b *bench) start(tb testing.TB) {
	b.backends = map[backend]string{}
	needed := func(k backend) bool {
		if b.plan.CheckRounds > 0 && slices.ContainsFunc(checks(), func(c check) bool { return c.of.Backend == k }) {
			return true
		}
		return slices.ContainsFunc(b.workloads, func(w workload) bool { return slices.Contains(w.backends(), k) })
	}
	if needed(httpBackend) {
		files := map[string][]byte{}
		for _, size := range []int{64, 1 << 10, 64 << 10} {
			files[short(size)] = []byte(strings.Repeat("x", size))
		}
		b.backends[httpBackend] = apps.StartNginx(tb, files).Addr
	}
	for _, k := range []backend{tcpBackend, echoBackend, greetBackend, grpcBackend} {
		if !needed(k) {
			continue
		}
		b.backends[k] = components.FreeAddr(tb)
		args := append(slices.Clone(b.self[1:]), backendRole, string(k), b.backends[k])
		components.Start(tb, components.Process{
			Name: "backend " + string(k), Path: b.self[0], Args: args, Ready: components.Accepts("tcp", b.backends[k]),
		})
	}
}

// backendRole is the first argument of this program when it is a backend.
const backendRole = "backend"

// serveBackend is a backend until ctx ends.
func serveBackend(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("bench: %s wants a kind and an address", backendRole)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", args[1])
	if err != nil {
		return err
	}
	return serveOn(ctx, backend(args[0]), listener)
}

// self returns the command that runs this program.
func self() ([]string, error) {
	path, err := os.Executable()
	return []string{path}, err
}
