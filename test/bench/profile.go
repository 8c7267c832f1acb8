package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
	"github.com/hallmark-mesh/hallmark/test/bench/load"
)

// profiled are the loads that profiles are taken under, if none are named: each
// way that bytes take through a pair, at saturation.
func profiled() string {
	return "http1-64B,http1-64KB,grpc-unary,grpc-stream,tcp-echo,tcp-bulk,connect,server-first,mix"
}

// top is how many functions a summary lists.
const top = 15

// profile takes CPU and allocation profiles of both of Hallmark's proxies under
// each workload, and prints where they spend most. Below its folder are
//
//	WORKLOAD-SIDE-cpu.pprof, WORKLOAD-SIDE-allocs.pprof   of one load
//	all-SIDE-cpu.pprof, all-SIDE-allocs.pprof             of all loads
//	merged.pprof                                          CPU of both sides: for -pgo
//	summary.txt                                           the tops of each
type profile struct {
	bench
	hallmark string
	folder   string
}

// run profiles and summarises. Profiles of an earlier run are replaced.
func (p *profile) run(ctx context.Context, out io.Writer) error {
	if p.hallmark == "" {
		return errors.New("bench: profiles are of Hallmark: say -hallmark PROGRAM")
	}
	if p.folder == "" {
		return errors.New("bench: profiles need a folder: say -out FOLDER")
	}
	if err := os.MkdirAll(p.folder, 0o755); err != nil {
		return err
	}
	old, _ := filepath.Glob(filepath.Join(p.folder, "*.pprof")) // the pattern is a good one
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	err := scoped(ctx, "backends", func(tb testing.TB) {
		p.start(tb)
		for _, w := range p.workloads {
			if ctx.Err() != nil {
				tb.Fatal(context.Cause(ctx))
			}
			fmt.Fprintf(p.out, "bench: profiling %s\n", w.Name)
			if err := p.visit(ctx, w); err != nil {
				tb.Fatal(err)
			}
		}
	})
	if err != nil {
		return err
	}
	return p.summarise(ctx, out)
}

// visit profiles one workload.
func (p *profile) visit(ctx context.Context, w workload) error {
	return scoped(ctx, "profile "+w.Name, func(tb testing.TB) {
		pair := contenders.Hallmark(p.hallmark).Start(tb, p.request(w, true))
		if err := p.record(ctx, w, pair); err != nil {
			tb.Error(err)
		}
	})
}

// record loads a pair for as long as its CPU profiles take.
func (p *profile) record(ctx context.Context, w workload, pair *contenders.Pair) error {
	seconds := max(int(p.plan.Measure.Round(time.Second)/time.Second), 1)
	runner, err := load.Open(ctx, pair.Addr, w.kind(pair), w.Callers, p.plan.Warm+time.Duration(seconds)*time.Second+time.Minute)
	if err != nil {
		return err
	}
	defer runner.Close()
	runner.Run(load.Plan{Callers: w.Callers, Rate: w.Rate, Duration: p.plan.Warm})

	sides := map[string]string{"outbound": pair.OutboundAdmin, "inbound": pair.InboundAdmin}
	if err := p.snapshots(ctx, w, sides, "before"); err != nil {
		return err
	}
	done := make(chan error, len(sides))
	for side, admin := range sides {
		go func() {
			done <- fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, seconds), p.file(w.Name, side, "cpu"))
		}()
	}
	result := runner.Run(load.Plan{Callers: w.Callers, Rate: w.Rate, Duration: time.Duration(seconds) * time.Second})
	err = errors.Join(<-done, <-done, p.snapshots(ctx, w, sides, "after"))
	if result.Errors > 0 {
		err = errors.Join(err, fmt.Errorf("bench: %d of %d calls failed: %w", result.Errors, result.Errors+result.Calls, result.FirstErr))
	}
	if err != nil {
		return err
	}
	for side := range sides {
		before, after := p.file(w.Name, side, "before"), p.file(w.Name, side, "after")
		if err := pprof(ctx, p.file(w.Name, side, "allocs"), "-proto", "-sample_index=alloc_space", "-base="+before, after); err != nil {
			return err
		}
		if err := errors.Join(os.Remove(before), os.Remove(after)); err != nil {
			return err
		}
	}
	return nil
}

// snapshots keeps what both sides have allocated so far.
func (p *profile) snapshots(ctx context.Context, w workload, sides map[string]string, name string) error {
	for side, admin := range sides {
		if err := fetch(ctx, "http://"+admin+"/debug/pprof/allocs", p.file(w.Name, side, name)); err != nil {
			return err
		}
	}
	return nil
}

// file is the path of a profile.
func (p *profile) file(workload, side, what string) string {
	return filepath.Join(p.folder, workload+"-"+side+"-"+what+".pprof")
}

// summarise merges the profiles of all loads, writes the tops of every profile to
// summary.txt, and prints those of all loads together.
func (p *profile) summarise(ctx context.Context, out io.Writer) error {
	var every bytes.Buffer
	var cpu []string
	for _, side := range []string{"outbound", "inbound"} {
		for _, what := range []string{"cpu", "allocs"} {
			var parts []string
			for _, w := range p.workloads {
				parts = append(parts, p.file(w.Name, side, what))
				if err := tops(ctx, &every, parts[len(parts)-1], what); err != nil {
					return err
				}
			}
			all := p.file("all", side, what)
			if err := pprof(ctx, all, append([]string{"-proto"}, parts...)...); err != nil {
				return err
			}
			if err := tops(ctx, io.MultiWriter(out, &every), all, what); err != nil {
				return err
			}
			if what == "cpu" {
				cpu = append(cpu, parts...)
			}
		}
	}
	if err := pprof(ctx, filepath.Join(p.folder, "merged.pprof"), append([]string{"-proto"}, cpu...)...); err != nil {
		return err
	}
	fmt.Fprintf(out, "the profiles, and these tops for each load, are in %s; look into one with `go tool pprof FILE`\n", p.folder)
	return os.WriteFile(filepath.Join(p.folder, "summary.txt"), every.Bytes(), 0o644)
}

// tops writes the functions that a profile finds most in, by themselves and with
// what they call.
func tops(ctx context.Context, out io.Writer, file, what string) error {
	index := "cpu"
	if what == "allocs" {
		index = "alloc_space"
	}
	name := strings.TrimSuffix(filepath.Base(file), ".pprof")
	for _, by := range []string{"flat", "cum"} {
		text, err := pprofText(ctx, "-top", "-"+by, fmt.Sprintf("-nodecount=%d", top), "-sample_index="+index, file)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "== %s, by %s\n%s\n", name, by, text)
	}
	return nil
}

// pprof runs go tool pprof and writes its output to a file.
func pprof(ctx context.Context, to string, args ...string) error {
	_, err := pprofText(ctx, append([]string{"-output=" + to}, args...)...)
	return err
}

func pprofText(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"tool", "pprof"}, args)...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("bench: go tool pprof %q: %w\n%s", args, err, &complaints)
	}
	return string(text), nil
}

// fetch saves what an address serves.
func fetch(ctx context.Context, address, to string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("bench: %s answers %s", address, response.Status)
	}
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}
