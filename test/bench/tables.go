package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
)

// table is a part of the report.
type table struct {
	title   string
	about   string // a sentence or two below it
	heading []string
	rows    [][]string // the first cell says what the row is of
}

// summary are the tables that docs/performance.md shows.
func (r *report) summary() []table {
	all := []table{r.barTable(), r.cpuTable(), r.rateTable()}
	for _, w := range r.workloads {
		if w.Rate > 0 {
			all = append(all, r.latencyTable(w))
		}
	}
	all = append(all, r.connectionTable(), r.memoryTable(), r.checkTable())
	return slices.DeleteFunc(all, func(t table) bool { return len(t.rows) == 0 })
}

// barTable is how the bars came out.
func (r *report) barTable() table {
	t := table{
		title: "The bars", about: "Each is the median of the quotients of neighbouring visits, Hallmark as it ships.",
		heading: []string{"", "measured", "quartiles", "pairs", "aim", ""},
	}
	for _, v := range r.Bars {
		if v.Ratio.Pairs == 0 {
			continue
		}
		sign := "≤"
		for _, b := range bars() {
			if b.Name == v.Name && b.AtLeast {
				sign = "≥"
			}
		}
		t.rows = append(t.rows, []string{
			v.Name, fmt.Sprintf("%.3f", v.Ratio.Median), fmt.Sprintf("%.3f to %.3f", v.Ratio.Lower, v.Ratio.Upper),
			fmt.Sprint(v.Ratio.Pairs), fmt.Sprintf("%s %g", sign, v.Limit), strings.TrimSpace(verdict(v) + " " + v.Note),
		})
	}
	return t
}

// names are the contenders that have samples, without none.
func (r *report) names() []string {
	var names []string
	for _, c := range r.contenders {
		if c.Name != noProxy && slices.ContainsFunc(r.Samples, func(s Sample) bool { return s.Contender == c.Name }) {
			names = append(names, c.Name)
		}
	}
	return names
}

// noProxy is the contender that is no proxy.
const noProxy = "none"

// matrix is a table of one figure, with contenders as columns.
func (r *report) matrix(t table, names []string, with func(workload) bool, of func(Sample) float64) table {
	t.heading = append([]string{""}, names...)
	for _, w := range r.workloads {
		if !with(w) {
			continue
		}
		row, measured := []string{w.Name}, false
		for _, name := range names {
			samples := r.of(w.Name, name)
			measured = measured || len(samples) > 0
			row = append(row, marked(number(median(samples, of)), samples))
		}
		if measured {
			t.rows = append(t.rows, row)
		}
	}
	return t
}

// marked marks the figure of samples with errors.
func marked(text string, samples []Sample) string {
	if slices.ContainsFunc(samples, func(s Sample) bool { return s.Errors > 0 }) {
		return text + " !"
	}
	return text
}

func (r *report) cpuTable() table {
	return r.matrix(table{
		title: "CPU of both proxies together, µs a call",
		about: "For `…rps` at that fixed low rate, for the others at saturation. `hallmark` is as it ships, with metrics and access log; `hallmark-quiet` has neither; `hallmark-raw` makes a handshake for each connection.",
	}, r.names(), func(w workload) bool { return !w.Idle }, func(s Sample) float64 { return s.CPUPerCall() * 1e6 })
}

func (r *report) rateTable() table {
	return r.matrix(table{
		title: "Calls a second at saturation",
		about: "The load generator and the application share the machine with the proxies.",
	}, append(r.names(), noProxy), func(w workload) bool { return !w.Idle && w.Rate == 0 }, func(s Sample) float64 { return s.Rate })
}

// latencyTable is of an open loop.
func (r *report) latencyTable(w workload) table {
	t := table{
		title: "Latency, " + w.Name, about: w.About + "; latency from the intended time of sending.",
		heading: []string{"", "p50", "p90", "p99", "p99.9", "p50 over none", "p99 over none", "CPU µs out", "CPU µs in"},
	}
	quantiles := []func(Sample) time.Duration{
		func(s Sample) time.Duration { return s.P50 },
		func(s Sample) time.Duration { return s.P90 },
		func(s Sample) time.Duration { return s.P99 },
		func(s Sample) time.Duration { return s.P999 },
	}
	delay := func(samples []Sample, i int) time.Duration {
		return time.Duration(median(samples, func(s Sample) float64 { return float64(quantiles[i](s)) }))
	}
	direct := r.of(w.Name, noProxy)
	for _, name := range append(r.names(), noProxy) {
		samples := r.of(w.Name, name)
		if len(samples) == 0 {
			continue
		}
		row := []string{marked(name, samples)}
		for i := range quantiles {
			row = append(row, brief(delay(samples, i)))
		}
		for _, i := range []int{0, 2} {
			over := "-"
			if name != noProxy && len(direct) > 0 {
				over = brief(delay(samples, i) - delay(direct, i))
			}
			row = append(row, over)
		}
		t.rows = append(t.rows, append(row, perCall(samples, outboundCPU), perCall(samples, inboundCPU)))
	}
	return t
}

func outboundCPU(s Sample) time.Duration { return s.OutboundCPU }
func inboundCPU(s Sample) time.Duration  { return s.InboundCPU }

// perCall is one proxy's CPU per call, in µs.
func perCall(samples []Sample, of func(Sample) time.Duration) string {
	if len(samples) == 0 {
		return "-"
	}
	return number(median(samples, func(s Sample) float64 { return of(s).Seconds() * 1e6 / float64(max(s.Calls, 1)) }))
}

// connectionTable is what new connections cost.
func (r *report) connectionTable() table {
	t := table{
		title: "New connections and handshakes", about: "Each with an exchange of 64 bytes, 8 at once at saturation and 100 a second; and until the greeting of a server that speaks first is there. Who shares sessions makes no handshake for them.",
		heading: []string{"", "connections/s", "handshakes/s", "CPU µs out", "CPU µs in", "CPU µs out at 100/s", "CPU µs in at 100/s", "p50 at 100/s", "p99 at 100/s", "p50 server first"},
	}
	for _, name := range append(r.names(), noProxy) {
		full, low, first := r.of("connect", name), r.of("connect-100rps", name), r.of("server-first", name)
		if len(full)+len(low)+len(first) == 0 {
			continue
		}
		rate := number(median(full, func(s Sample) float64 { return s.Rate }))
		handshakes := "-"
		if r.handshakes(name) {
			handshakes = rate
		}
		delay := func(samples []Sample, of func(Sample) time.Duration) string {
			if len(samples) == 0 {
				return "-"
			}
			return brief(time.Duration(median(samples, func(s Sample) float64 { return float64(of(s)) })))
		}
		p50 := func(s Sample) time.Duration { return s.P50 }
		t.rows = append(t.rows, []string{
			marked(name, slices.Concat(full, low, first)), rate, handshakes, perCall(full, outboundCPU), perCall(full, inboundCPU),
			perCall(low, outboundCPU), perCall(low, inboundCPU), delay(low, p50), delay(low, func(s Sample) time.Duration { return s.P99 }), delay(first, p50),
		})
	}
	return t
}

// handshakes reports whether the contender makes a handshake for every connection.
func (r *report) handshakes(name string) bool {
	return slices.ContainsFunc(r.contenders, func(c contenders.Contender) bool { return c.Name == name && c.Handshakes })
}

// memoryTable is of idle connections.
func (r *report) memoryTable() table {
	i := slices.IndexFunc(r.workloads, func(w workload) bool { return w.Idle })
	if i < 0 {
		return table{}
	}
	w := r.workloads[i]
	t := table{title: "Memory and start-up", about: w.About + ". *idle* is before them. Start-up is from the first proxy's start until both accept connections.", heading: append([]string{""}, heading(w)...)}
	for _, row := range r.rows(w) {
		if row.contender != noProxy {
			t.rows = append(t.rows, append([]string{row.contender}, row.cells...))
		}
	}
	return t
}

// checkTable sets the load generators side by side.
func (r *report) checkTable() table {
	t := table{
		title: "The load generator beside others", about: "The same calls to the same application, no proxy, in turn. All but `own` at saturation measure from when a call was sent; wrk adds calls that it thinks were held up to its quantiles. *own/this* is the median of the quotients of rates and of medians of latency.",
		heading: []string{"", "runs", "calls/s", "own/this", "p50", "own/this", "p90", "p99", "p99.9", "busy", "errors"},
	}
	for _, c := range checks() {
		for _, g := range append([]foreign{{name: ownName}}, c.foreign...) {
			if row := r.checkRow(c.Name, g.name); row != nil {
				t.rows = append(t.rows, row)
			}
		}
	}
	return t
}

// checkRow is of one generator; nil if it has not run.
func (r *report) checkRow(check, generator string) []string {
	find := func(name string) []Checked {
		var found []Checked
		for _, c := range r.Checks {
			if c.Check == check && c.Generator == name {
				found = append(found, c)
			}
		}
		return found
	}
	runs, own := find(generator), find(ownName)
	if len(runs) == 0 {
		return nil
	}
	errors := 0
	for _, c := range runs {
		errors += c.Errors
	}
	of := func(f func(Checked) float64) float64 { return quantileOf(runs, 0.5, f) }
	delay := func(f func(Checked) time.Duration) string {
		return brief(time.Duration(of(func(c Checked) float64 { return float64(f(c)) })))
	}
	against := func(f func(Checked) float64) string {
		var quotients []float64
		for _, a := range own {
			for _, b := range runs {
				if a.Round == b.Round && f(b) > 0 {
					quotients = append(quotients, f(a)/f(b))
				}
			}
		}
		if generator == ownName || len(quotients) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", quantile(quotients, 0.5))
	}
	rate := func(c Checked) float64 { return c.Rate }
	mark := fmt.Sprint(errors)
	if errors > 0 {
		mark += " !"
	}
	return []string{
		check + ", " + generator, fmt.Sprint(len(runs)), number(of(rate)), against(rate),
		delay(func(c Checked) time.Duration { return c.P50 }), against(func(c Checked) float64 { return float64(c.P50) }),
		delay(func(c Checked) time.Duration { return c.P90 }), delay(func(c Checked) time.Duration { return c.P99 }), delay(func(c Checked) time.Duration { return c.P999 }),
		fmt.Sprintf("%.0f%%", of(func(c Checked) float64 { return c.Busy })*100), mark,
	}
}

// quantileOf is [quantile] of a figure.
func quantileOf[T any](all []T, q float64, of func(T) float64) float64 {
	values := make([]float64, len(all))
	for i, one := range all {
		values[i] = of(one)
	}
	return quantile(values, q)
}

// markdown writes the table below a heading of the level.
func (t table) markdown(b *bytes.Buffer, level int) {
	fmt.Fprintf(b, "%s %s\n\n", strings.Repeat("#", level), t.title)
	if t.about != "" {
		fmt.Fprintf(b, "%s\n\n", t.about)
	}
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(t.heading, " | "), strings.Repeat("---|", len(t.heading)))
	for _, row := range t.rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteString("\n")
}
