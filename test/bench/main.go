// Command bench measures pairs of proxies side by side, on loopback: it starts,
// warms, loads, measures and stops each contender in turn, round by round,
// prints a table, and writes all samples as JSON, a report in Markdown and
// plots. The last lines that it prints are the bars, one a line:
//
//	bar NAME MEASURED LIMIT holds|short
//
// MEASURED is the median of the ratios of neighbouring visits. Times on one
// machine say little; those ratios are what the project speaks of.
//
// `make bench` runs it, `make bench-quick` with less patience.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
	"github.com/hallmark-mesh/hallmark/test/bench/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is main, and the backends and proxies that it runs this program as.
func run(ctx context.Context, out, progress io.Writer, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case contenders.NetHTTPRole:
			return contenders.Main(args[1:])
		case backendRole:
			return serveBackend(ctx, args[1:])
		}
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return o.run(ctx, out, progress)
}

// options are the flags.
type options struct {
	plan                  plan
	quick                 bool
	profile               bool
	hallmark, baseline    string
	folder, from, into    string
	workloads, contenders string
	revision              string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.quick, "quick", false, "a few minutes: shorter visits, and fewer of those that no bar compares")
	flags.IntVar(&o.plan.Rounds, "rounds", 0, "visits to every contender under every workload; 0: 10, or 1 if quick")
	flags.IntVar(&o.plan.BarredRounds, "barred", 0, "visits to those that a bar compares; 0: at least 12")
	flags.IntVar(&o.plan.CheckRounds, "checks", 0, "runs of every load generator, to check ours against others; 0: 10, or 3 if quick")
	flags.DurationVar(&o.plan.Measure, "measure", 0, "how long a visit measures; 0: 3s, or 800ms if quick")
	flags.DurationVar(&o.plan.Warm, "warm", 0, "how long it warms up first; 0: 1s, or 300ms if quick")
	flags.IntVar(&o.plan.Calls, "calls", 0, "measure that many calls instead, by at most as many callers: for tests of this program")
	flags.StringVar(&o.hallmark, "hallmark", "", "the `program` to measure; without it only the others are")
	flags.StringVar(&o.baseline, "baseline", "", "another build of the `program`, to measure beside it")
	flags.StringVar(&o.revision, "revision", "unknown", "what the report says of the program's source")
	flags.StringVar(&o.folder, "out", "", "the `folder` to write the report to; none without it")
	flags.StringVar(&o.from, "from", "", "measure nothing, but take the `report.json` of an earlier run")
	flags.StringVar(&o.into, "into", "", "put the tables into this `document`, between the lines that mark where")
	flags.StringVar(&o.workloads, "workloads", "", "only these, by commas; -list shows them")
	flags.StringVar(&o.contenders, "contenders", "", "only these, by commas")
	flags.BoolVar(&o.profile, "profile", false, "take profiles of -hallmark's proxies instead, into -out, -measure each (10s if not said)")
	list := flags.Bool("list", false, "list workloads and contenders")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("bench: unexpected argument %q", flags.Arg(0))
	}
	o.defaults()
	if *list {
		o.plan.Rounds = -1
	}
	return o, nil
}

func (o *options) defaults() {
	fill := func(quick, full int) int {
		if o.quick {
			return quick
		}
		return full
	}
	if o.plan.Rounds == 0 {
		o.plan.Rounds = fill(1, 10)
	}
	if o.plan.BarredRounds == 0 {
		o.plan.BarredRounds = 12
	}
	if o.plan.CheckRounds == 0 {
		o.plan.CheckRounds = fill(3, 10)
	}
	if o.profile && o.plan.Measure == 0 {
		o.plan.Measure = 10 * time.Second
	}
	if o.profile && o.workloads == "" {
		o.workloads = profiled()
	}
	if o.plan.Measure == 0 {
		o.plan.Measure = time.Duration(fill(800, 3000)) * time.Millisecond
	}
	if o.plan.Warm == 0 {
		o.plan.Warm = time.Duration(fill(300, 1000)) * time.Millisecond
	}
}

// run measures and reports.
func (o options) run(ctx context.Context, out, progress io.Writer) error {
	if o.from != "" {
		return o.rerun(out)
	}
	present, absent := o.pick()
	chosen, err := o.chooseWorkloads()
	if err != nil {
		return err
	}
	if present, err = choose(present, func(c contenders.Contender) string { return c.Name }, o.contenders); err != nil {
		return err
	}
	if o.plan.Rounds < 0 {
		return list(out, present, absent)
	}
	if o.profile {
		return o.runProfile(ctx, chosen, out, progress)
	}
	for name, reason := range absent {
		fmt.Fprintf(progress, "bench: without %s: %s\n", name, reason)
	}
	command, err := self()
	if err != nil {
		return err
	}
	b := &bench{plan: o.plan, contenders: present, workloads: chosen, self: command, out: progress}
	r := newReport(o, present, chosen, absent)
	if err := b.run(ctx, r.add, r.addChecked); err != nil {
		return err
	}
	r.finish()
	if o.folder != "" {
		if err := r.write(o.folder); err != nil {
			return err
		}
		fmt.Fprintf(progress, "bench: the report is %s\n", filepath.Join(o.folder, "report.md"))
	}
	if o.into != "" {
		if err := r.into(o.into); err != nil {
			return err
		}
	}
	return r.print(out)
}

// rerun shows an earlier run.
func (o options) rerun(out io.Writer) error {
	r, err := readReport(o.from)
	if err != nil {
		return err
	}
	if o.into != "" {
		return r.into(o.into)
	}
	return r.print(out)
}

// chooseWorkloads returns those that are asked for. The generators are compared
// if that is asked for, or nothing is.
func (o *options) chooseWorkloads() ([]workload, error) {
	names := strings.Split(o.workloads, ",")
	i := slices.Index(names, checkName)
	if o.workloads != "" && i < 0 {
		o.plan.CheckRounds = 0
	}
	if i >= 0 {
		if names = slices.Delete(names, i, i+1); len(names) == 0 {
			return nil, nil
		}
	}
	return choose(workloads(), func(w workload) string { return w.Name }, strings.Join(names, ","))
}

// runProfile takes profiles.
func (o options) runProfile(ctx context.Context, chosen []workload, out, progress io.Writer) error {
	command, err := self()
	if err != nil {
		return err
	}
	p := profile{bench: bench{plan: o.plan, workloads: chosen, self: command, out: progress}, hallmark: o.hallmark, folder: o.folder}
	return p.run(ctx, out)
}

// pick returns the contenders that are there, Hallmark first.
func (o options) pick() ([]contenders.Contender, map[string]string) {
	others, absent := contenders.All()
	if o.hallmark == "" {
		absent["hallmark"] = "no -hallmark"
		return others, absent
	}
	all := []contenders.Contender{contenders.Hallmark(o.hallmark)}
	if o.baseline != "" {
		all = append(all, contenders.HallmarkBaseline(o.baseline))
	}
	all = append(all, others...)
	return append(all, contenders.HallmarkQuiet(o.hallmark), contenders.HallmarkRaw(o.hallmark)), absent
}

// choose keeps those that the list names; an empty list names all.
func choose[T any](all []T, name func(T) string, names string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var kept []T
	for wanted := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == wanted })
		if i < 0 {
			return nil, fmt.Errorf("bench: there is no %q: see -list", wanted)
		}
		kept = append(kept, all[i])
	}
	return kept, nil
}

func list(out io.Writer, present []contenders.Contender, absent map[string]string) error {
	for _, w := range workloads() {
		fmt.Fprintf(out, "workload   %-18s %s\n", w.Name, w.About)
	}
	fmt.Fprintf(out, "workload   %-18s %s\n", checkName, "no proxy: this load generator beside wrk and h2load")
	for _, c := range present {
		fmt.Fprintf(out, "contender  %-18s %s\n", c.Name, c.About)
	}
	for name, reason := range absent {
		fmt.Fprintf(out, "absent     %-18s %s\n", name, reason)
	}
	return nil
}

// serveOn is a backend on a listener.
func serveOn(ctx context.Context, kind backend, listener net.Listener) error {
	var err error
	switch kind {
	case grpcBackend:
		err = load.ServeGRPC(ctx, listener)
	case echoBackend:
		err = load.EchoOnly(ctx, listener)
	case tcpBackend, greetBackend:
		server := &load.Server{Greets: kind == greetBackend}
		defer context.AfterFunc(ctx, server.Close)()
		err = server.Serve(listener)
	default:
		return fmt.Errorf("bench: no backend %q", kind)
	}
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
