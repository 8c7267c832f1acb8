package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
	"github.com/hallmark-mesh/hallmark/test/bench/proc"
)

// report is all that a run yields; its JSON is what is kept.
type report struct {
	Date     time.Time         `json:"date"`
	Machine  string            `json:"machine"`
	Go       string            `json:"go"`
	Revision string            `json:"revision"`
	Measured time.Duration     `json:"measured"` // of each visit, nanoseconds
	Took     time.Duration     `json:"took"`
	Absent   map[string]string `json:"absent,omitempty"`
	Bars     []Verdict         `json:"bars"`
	Samples  []Sample          `json:"samples"`
	Checks   []Checked         `json:"checks,omitempty"` // of the load generator

	workloads  []workload
	contenders []contenders.Contender
}

func newReport(o options, present []contenders.Contender, chosen []workload, absent map[string]string) *report {
	return &report{
		Date: time.Now().UTC().Truncate(time.Second), Machine: proc.Describe(), Go: runtime.Version(), Revision: o.revision,
		Measured: o.plan.Measure, Absent: absent, workloads: chosen, contenders: present,
	}
}

func (r *report) add(s Sample)         { r.Samples = append(r.Samples, s) }
func (r *report) addChecked(c Checked) { r.Checks = append(r.Checks, c) }

// finish judges the bars.
func (r *report) finish() {
	r.Took = time.Since(r.Date).Round(time.Second)
	for _, b := range bars() {
		r.Bars = append(r.Bars, judge(b, r.Samples))
	}
}

// of returns the samples of a contender under a workload.
func (r *report) of(workload, contender string) []Sample {
	var found []Sample
	for _, s := range r.Samples {
		if s.Workload == workload && s.Contender == contender {
			found = append(found, s)
		}
	}
	return found
}

// row is a line of the tables: medians over the rounds.
type row struct {
	contender string
	rounds    int
	cells     []string
}

// heading names the cells of rows.
func heading(w workload) []string {
	if w.Idle {
		return []string{"rounds", "start-up", "idle out", "idle in", "per connection out", "per connection in", "peak out", "peak in", "errors"}
	}
	return []string{
		"rounds", w.Unit + "s/s", "MB/s", "CPU µs out", "CPU µs in", "CPU µs both", "hallmark/this", "p50", "p90", "p99", "p99.9", "p50 over none", "memory out", "memory in", "peak out", "peak in", "busy", "load", "errors",
	}
}

// rows returns the lines of a workload.
func (r *report) rows(w workload) []row {
	var rows []row
	direct := median(r.of(w.Name, noProxy), func(s Sample) float64 { return float64(s.P50) })
	for _, c := range r.contenders {
		samples := r.of(w.Name, c.Name)
		if len(samples) == 0 {
			continue
		}
		errors := 0
		for _, s := range samples {
			errors += s.Errors
		}
		cells := r.cells(w, c.Name, samples, direct)
		mark := fmt.Sprint(errors)
		if errors > 0 {
			mark += " !"
		}
		rows = append(rows, row{c.Name, len(samples), append(append([]string{fmt.Sprint(len(samples))}, cells...), mark)})
	}
	return rows
}

func (r *report) cells(w workload, contender string, samples []Sample, direct float64) []string {
	of := func(f func(Sample) float64) float64 { return median(samples, f) }
	size := func(f func(Sample) int64) string {
		return megabytes(of(func(s Sample) float64 { return float64(f(s)) }))
	}
	if w.Idle {
		each := func(after, before func(Sample) int64) string {
			return kilobytes(of(func(s Sample) float64 { return float64(after(s)-before(s)) / float64(max(s.Connections, 1)) }))
		}
		return []string{
			brief(time.Duration(of(func(s Sample) float64 { return float64(s.Startup) }))),
			size(func(s Sample) int64 { return s.OutboundIdle }), size(func(s Sample) int64 { return s.InboundIdle }),
			each(func(s Sample) int64 { return s.OutboundMemory }, func(s Sample) int64 { return s.OutboundIdle }),
			each(func(s Sample) int64 { return s.InboundMemory }, func(s Sample) int64 { return s.InboundIdle }),
			size(func(s Sample) int64 { return s.OutboundPeak }), size(func(s Sample) int64 { return s.InboundPeak }),
		}
	}
	delay := func(f func(Sample) time.Duration) string {
		return brief(time.Duration(of(func(s Sample) float64 { return float64(f(s)) })))
	}
	over := "-"
	if p50 := of(func(s Sample) float64 { return float64(s.P50) }); !math.IsNaN(direct) && contender != noProxy {
		over = brief(time.Duration(p50 - direct))
	}
	return []string{
		number(of(func(s Sample) float64 { return s.Rate })),
		number(of(func(s Sample) float64 { return s.Rate * float64(s.Bytes) / float64(max(s.Calls, 1)) / 1e6 })),
		perCall(samples, outboundCPU), perCall(samples, inboundCPU),
		number(of(func(s Sample) float64 { return s.CPUPerCall() * 1e6 })), r.against(w, contender),
		delay(func(s Sample) time.Duration { return s.P50 }), delay(func(s Sample) time.Duration { return s.P90 }),
		delay(func(s Sample) time.Duration { return s.P99 }), delay(func(s Sample) time.Duration { return s.P999 }), over,
		size(func(s Sample) int64 { return s.OutboundMemory }), size(func(s Sample) int64 { return s.InboundMemory }),
		size(func(s Sample) int64 { return s.OutboundPeak }), size(func(s Sample) int64 { return s.InboundPeak }),
		fmt.Sprintf("%.0f%%", of(func(s Sample) float64 { return s.Busy })*100), fmt.Sprintf("%.1f", of(func(s Sample) float64 { return s.Load })),
	}
}

// against is Hallmark's CPU per call over this contender's, with the spread.
func (r *report) against(w workload, contender string) string {
	ratio := ratioOf(r.Samples, w.Name, "hallmark", contender, cpuPerCall)
	if contender == "hallmark" || ratio.Pairs == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", ratio.Median, ratio.Lower, ratio.Upper)
}

func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func megabytes(v float64) string { return fmt.Sprintf("%.1f MB", v/1e6) }
func kilobytes(v float64) string { return fmt.Sprintf("%.1f kB", v/1e3) }

// brief writes a duration with three digits.
func brief(d time.Duration) string {
	switch {
	case d >= time.Second || d <= -time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d >= time.Millisecond || d <= -time.Millisecond:
		return fmt.Sprintf("%.2fms", d.Seconds()*1e3)
	default:
		return fmt.Sprintf("%.0fµs", d.Seconds()*1e6)
	}
}

// print writes the tables and the bars.
func (r *report) print(out io.Writer) error {
	fmt.Fprintf(out, "%s, %s, revision %s, %s, took %s\n", r.Machine, r.Go, r.Revision, r.Date.Format(time.DateTime), r.Took)
	for _, w := range r.workloads {
		rows := r.rows(w)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s: %s\n", w.Name, w.About)
		table := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(table, "\t%s\t\n", strings.Join(heading(w), "\t"))
		for _, row := range rows {
			fmt.Fprintf(table, "%s\t%s\t\n", row.contender, strings.Join(row.cells, "\t"))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if err := r.printChecks(out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, v := range r.Bars {
		if v.Note != "" {
			fmt.Fprintf(out, "%s: %s\n", v.Name, v.Note)
		}
	}
	for _, v := range r.Bars {
		fmt.Fprintln(out, v)
	}
	return nil
}

// printChecks writes how the load generators compare.
func (r *report) printChecks(out io.Writer) error {
	checks := r.checkTable()
	if len(checks.rows) == 0 {
		return nil
	}
	fmt.Fprintf(out, "\n%s\n", checks.title)
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{checks.heading}, checks.rows...) {
		fmt.Fprintf(table, "%s\t\n", strings.Join(row, "\t"))
	}
	return table.Flush()
}

// String is the bar's line.
func (v Verdict) String() string {
	word := "short"
	if v.Holds {
		word = "holds"
	}
	return fmt.Sprintf("bar %s %.3f %g %s", v.Name, v.Ratio.Median, v.Limit, word)
}

// write writes report.json, report.md, tables.md and the plots into a folder.
func (r *report) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	samples, err := json.MarshalIndent(r.finite(), "", "\t")
	if err != nil {
		return err
	}
	contents := map[string][]byte{"report.json": append(samples, '\n'), "report.md": r.markdown(), "tables.md": r.tables(2)}
	for _, w := range r.workloads {
		maps.Copy(contents, r.plots(w))
	}
	for name, content := range contents {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// finite is the report with nothing that JSON cannot express.
func (r *report) finite() report {
	copied := *r
	copied.Bars = nil
	for _, v := range r.Bars {
		if v.Ratio.Pairs > 0 {
			copied.Bars = append(copied.Bars, v)
		}
	}
	return copied
}
