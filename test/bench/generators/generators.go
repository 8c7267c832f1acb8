// Package generators runs load generators of other projects, wrk and h2load, so
// that the one of package load can be checked against them: the same calls to the
// same address, what they count and what they measure side by side.
//
// It parses their reports and believes them; it generates no load itself.
package generators

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/load"
	"github.com/hallmark-mesh/hallmark/test/components"
)

// Run is what a generator is to do.
type Run struct {
	URL         string        // http://, or for gRPC http:// of the method
	Connections int           // at once, with one call at a time on each
	Duration    time.Duration // in whole seconds, at least one
	Calls       int           // instead of Duration, if not zero
	// Rate is how many calls a second are sent over all connections; zero means as
	// many as are answered. Only h2load can keep one.
	Rate float64
	// GRPC is a message to post as a gRPC call; nil means GET by HTTP/1.1.
	GRPC []byte
}

// Result is what a generator reports.
type Result struct {
	Calls   int // that succeeded
	Errors  int // that did not
	Elapsed time.Duration
	// P50 and so on are quantiles of the latency of what succeeded.
	P50, P90, P99, P999 time.Duration
}

// Rate is the number of successful calls per second.
func (r Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Calls) / r.Elapsed.Seconds()
}

// Of is what package load has measured.
func Of(r load.Result) Result {
	return Result{
		Calls: r.Calls, Errors: r.Errors, Elapsed: r.Elapsed,
		P50: r.Quantile(0.5), P90: r.Quantile(0.9), P99: r.Quantile(0.99), P999: r.Quantile(0.999),
	}
}

// seconds is the duration as the programs take it.
func (r Run) seconds() string {
	return strconv.Itoa(max(int((r.Duration+time.Second-1)/time.Second), 1))
}

// wrkScript has wrk print what is parsed here, and stop after a number of calls,
// which it cannot by itself.
//
//go:embed wrk.lua
var wrkScript string

// wrkReport is the line that the script prints.
var wrkReport = regexp.MustCompile(`(?m)^REPORT requests (\d+) status (\d+) socket (\d+) duration ([\d.e+]+) latency ([\d.e+]+) ([\d.e+]+) ([\d.e+]+) ([\d.e+]+)$`)

// Wrk runs wrk, on one thread. A number of calls is exact on one connection only:
// those that are answered in the same moment as the last one count as well. Its
// quantiles are not of the calls alone: for each call that took longer than the
// mean it adds those that it thinks were held up.
func Wrk(tb testing.TB, run Run) Result {
	tb.Helper()
	if run.Rate > 0 || run.GRPC != nil {
		tb.Fatalf("generators: wrk keeps no rate and speaks no gRPC")
	}
	script := filepath.Join(tb.TempDir(), "wrk.lua")
	if err := os.WriteFile(script, []byte(wrkScript), 0o600); err != nil {
		tb.Fatalf("generators: %v", err)
	}
	args := []string{"--threads=1", fmt.Sprintf("--connections=%d", run.Connections), "--script=" + script, "--timeout=30s"}
	path := components.Command(tb, "wrk")
	var output string
	if run.Calls == 0 {
		output = components.Output(tb, components.Process{Path: path, Args: append(args, "--duration="+run.seconds()+"s", run.URL)})
	} else {
		args = append(args, "--duration=10m", run.URL, "--", strconv.Itoa(run.Calls))
		wrk := components.Start(tb, components.Process{Path: path, Args: args, ReadyOutput: "DONE"})
		wrk.Signal(syscall.SIGINT) // its thread has ended, and it would sleep on
		if err := wrk.Wait(tb.Context()); err != nil {
			tb.Fatalf("generators: wrk: %v\n%s", err, wrk.Output())
		}
		output = wrk.Output()
	}
	r, err := parseWrk(output)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return r
}

func parseWrk(output string) (Result, error) {
	fields := wrkReport.FindStringSubmatch(output)
	if fields == nil {
		return Result{}, fmt.Errorf("generators: wrk printed no report, but\n%s", output)
	}
	var numbers []float64
	for _, field := range fields[1:] {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return Result{}, fmt.Errorf("generators: wrk's report: %w", err)
		}
		numbers = append(numbers, n)
	}
	micro := func(i int) time.Duration { return time.Duration(numbers[i] * float64(time.Microsecond)) }
	// Answers with an error status are among the requests.
	return Result{
		Calls: int(numbers[0] - numbers[1]), Errors: int(numbers[1] + numbers[2]), Elapsed: micro(3),
		P50: micro(4), P90: micro(5), P99: micro(6), P999: micro(7),
	}, nil
}

// H2load runs h2load, on one thread. It counts from when a call is sent, not from
// when it was meant to be.
func H2load(tb testing.TB, run Run) Result {
	tb.Helper()
	dir := tb.TempDir()
	log := filepath.Join(dir, "log")
	args := []string{"--threads=1", fmt.Sprintf("--clients=%d", run.Connections), "--max-concurrent-streams=1", "--log-file=" + log}
	if run.GRPC != nil {
		body := filepath.Join(dir, "body")
		if err := os.WriteFile(body, run.GRPC, 0o600); err != nil {
			tb.Fatalf("generators: %v", err)
		}
		args = append(args, "--data="+body, "--header=content-type: application/grpc", "--header=te: trailers")
	} else {
		args = append(args, "--h1")
	}
	if run.Rate > 0 {
		args = append(args, "--rps="+strconv.FormatFloat(run.Rate/float64(run.Connections), 'f', 3, 64))
	}
	if run.Calls > 0 {
		args = append(args, fmt.Sprintf("--requests=%d", run.Calls))
	} else {
		args = append(args, "--duration="+run.seconds())
	}
	output := components.Output(tb, components.Process{Path: components.Command(tb, "h2load"), Args: append(args, run.URL)})
	r, err := parseH2load(output, log)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return r
}

// What h2load prints of a run.
var (
	h2loadFinished = regexp.MustCompile(`(?m)^finished in ([\d.]+)(us|ms|s),`)
	h2loadRequests = regexp.MustCompile(`(?m)^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
)

func parseH2load(output, log string) (Result, error) {
	finished, requests := h2loadFinished.FindStringSubmatch(output), h2loadRequests.FindStringSubmatch(output)
	if finished == nil || requests == nil {
		return Result{}, fmt.Errorf("generators: h2load printed no result, but\n%s", output)
	}
	elapsed, err := time.ParseDuration(finished[1] + finished[2])
	if err != nil {
		return Result{}, fmt.Errorf("generators: h2load: %w", err)
	}
	var counts []int
	for _, field := range requests[1:] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return Result{}, fmt.Errorf("generators: h2load: %w", err)
		}
		counts = append(counts, n)
	}
	latencies, err := readLog(log)
	if err != nil {
		return Result{}, err
	}
	of := load.Result{Latencies: latencies}
	// Those that failed are counted among those that errored when they ended early.
	return Result{
		Calls: counts[0], Errors: max(counts[1], counts[2]+counts[3]), Elapsed: elapsed,
		P50: of.Quantile(0.5), P90: of.Quantile(0.9), P99: of.Quantile(0.99), P999: of.Quantile(0.999),
	}, nil
}

// readLog reads the latencies of h2load's log, sorted: of each call a line with
// when it began, in µs, its status, and what it took, in µs.
func readLog(name string) ([]time.Duration, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("generators: h2load wrote no log")
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var all []time.Duration
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			return nil, fmt.Errorf("generators: h2load logged %q", lines.Text())
		}
		took, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("generators: h2load logged %q", lines.Text())
		}
		if strings.HasPrefix(fields[1], "2") {
			all = append(all, time.Duration(took)*time.Microsecond)
		}
	}
	slices.Sort(all)
	return all, lines.Err()
}
