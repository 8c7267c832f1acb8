package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"

	"github.com/hallmark-mesh/hallmark/test/bench/generators"
	"github.com/hallmark-mesh/hallmark/test/bench/load"
)

// checkName is what -workloads calls the check of the load generator by.
const checkName = "generators"

// check is one load that several generators make on the same application, with
// no proxy, so that one can be checked against the others.
type check struct {
	Name  string
	About string
	of    workload
	// foreign are the other generators; only some can do everything.
	foreign []foreign
}

// foreign is a generator that is not ours.
type foreign struct {
	name string
	run  func(testing.TB, generators.Run) generators.Result
}

// ownName is our generator in the tables.
const ownName = "own"

// checks returns all of them. At saturation generators compare in how much they
// can ask for, at a low rate in the latency that they see.
func checks() []check {
	wrk, h2load := foreign{"wrk", generators.Wrk}, foreign{"h2load", generators.H2load}
	named := func(name string) workload {
		i := slices.IndexFunc(workloads(), func(w workload) bool { return w.Name == name })
		return workloads()[i]
	}
	return []check{
		{"http1-1KB", "HTTP/1.1, GET of 1KB, 64 connections, closed loop", named("http1-1KB"), []foreign{wrk, h2load}},
		{"http1-1KB-1000rps", "HTTP/1.1, GET of 1KB, 64 connections, 1,000 a second", named("http1-1KB-1000rps"), []foreign{h2load}},
		{"grpc-unary", "gRPC, unary calls of 64 bytes, 16 connections, closed loop", named("grpc-unary"), []foreign{h2load}},
	}
}

// Checked is what one generator reports of one run.
type Checked struct {
	Check     string `json:"check"`
	Generator string `json:"generator"`
	Round     int    `json:"round"`

	Calls  int           `json:"calls"`
	Errors int           `json:"errors"`
	Rate   float64       `json:"rate"` // calls per second
	P50    time.Duration `json:"p50"`  // nanoseconds
	P90    time.Duration `json:"p90"`
	P99    time.Duration `json:"p99"`
	P999   time.Duration `json:"p999"`
	Busy   float64       `json:"busy"` // share of the machine's CPU used by anybody
}

// String is a line of progress.
func (c Checked) String() string {
	return fmt.Sprintf("%-18s %2d %-15s %10.0f/s %29s %9s  p99 %9s  busy %3.0f%%",
		"check "+c.Check, c.Round+1, c.Generator, c.Rate, "p50", brief(c.P50), brief(c.P99), c.Busy*100)
}

// runChecks has the generators make the same calls in turn.
func (b *bench) runChecks(ctx context.Context, each func(Checked)) error {
	for _, c := range checks() {
		for round := range b.plan.CheckRounds {
			turn := append([]foreign{{ownName, b.own(ctx, c.of)}}, c.foreign...)
			if round%2 == 1 {
				slices.Reverse(turn)
			}
			for _, g := range turn {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				checked, err := b.generate(ctx, c, g, round)
				if err != nil {
					return err
				}
				fmt.Fprintln(b.out, checked)
				each(checked)
			}
		}
	}
	return nil
}

// generate has one generator make the calls of a check.
func (b *bench) generate(ctx context.Context, c check, g foreign, round int) (Checked, error) {
	run := generators.Run{
		URL: "http://" + b.backends[c.of.Backend] + path(c.of), Connections: c.of.Callers,
		Duration: max(b.plan.Measure.Round(time.Second), time.Second), Rate: c.of.Rate,
	}
	if b.plan.Calls > 0 { // one connection, on which wrk counts exactly
		run.Calls, run.Connections = b.plan.Calls, 1
	}
	if c.of.Backend == grpcBackend {
		run.GRPC = unary(c.of)
	}
	var result generators.Result
	var busy float64
	err := scoped(ctx, g.name+" "+c.Name, func(tb testing.TB) {
		before := machine(tb)
		result = g.run(tb, run)
		busy = machine(tb).BusySince(before)
	})
	return Checked{
		Check: c.Name, Generator: g.name, Round: round, Calls: result.Calls, Errors: result.Errors, Rate: result.Rate(),
		P50: result.P50, P90: result.P90, P99: result.P99, P999: result.P999, Busy: busy,
	}, err
}

// own is our generator, as the others are run.
func (b *bench) own(ctx context.Context, w workload) func(testing.TB, generators.Run) generators.Result {
	return func(tb testing.TB, run generators.Run) generators.Result {
		r, err := load.Run(ctx, b.backends[w.Backend], w.Kind, load.Plan{Callers: run.Connections, Duration: run.Duration, Calls: run.Calls, Rate: run.Rate})
		if err != nil {
			tb.Fatal(err)
		}
		return generators.Of(r)
	}
}

// path is the path of what a workload calls.
func path(w workload) string {
	if h, ok := w.Kind.(load.HTTP1); ok {
		return h.Path
	}
	return "/grpc.testing.TestService/UnaryCall"
}

// unary is the message of a workload's call, with gRPC's prefix.
func unary(w workload) []byte {
	size := 0
	if g, ok := w.Kind.(load.GRPC); ok {
		size = g.Size
	}
	message, _ := proto.Marshal(&grpc_testing.SimpleRequest{Payload: &grpc_testing.Payload{Body: make([]byte, size)}}) // nothing in it can fail
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}
