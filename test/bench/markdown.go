package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
)

// markdown is the report for people.
func (r *report) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, "# Side by side\n\n")
	fmt.Fprint(&b, "Each figure is the median over the rounds. CPU is the time of each proxy process per call. "+
		"*hallmark/this* is the median of the quotients of neighbouring visits, with its quartiles. "+
		"Latency counts from the intended time of sending in open loops; in closed loops it says only how busy things were. "+
		"*busy* is the share of the machine in use by everything, load generator and applications included.\n\n")
	b.Write(r.tables(2))
	for _, w := range r.workloads {
		rows := r.rows(w)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "## All of %s\n\n%s.\n\n| | %s |\n|---|%s\n", w.Name, w.About, strings.Join(heading(w), " | "), strings.Repeat("---|", len(heading(w))))
		for _, row := range rows {
			fmt.Fprintf(&b, "| %s | %s |\n", row.contender, strings.Join(row.cells, " | "))
		}
		names := make([]string, 0, 2)
		for name := range r.plots(w) {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			fmt.Fprintf(&b, "\n![%s](%s)\n", strings.TrimSuffix(name, ".svg"), name)
		}
		b.WriteString("\n")
	}
	fmt.Fprint(&b, "## Contenders\n\n")
	for _, c := range r.contenders {
		fmt.Fprintf(&b, "- **%s**: %s\n", c.Name, c.About)
	}
	for name, reason := range r.Absent {
		fmt.Fprintf(&b, "- %s is not among them: %s\n", name, reason)
	}
	return b.Bytes()
}

func verdict(v Verdict) string {
	if v.Holds {
		return "holds"
	}
	return "short"
}

// tables is the summary, with headings of a level: what docs/performance.md
// shows.
func (r *report) tables(level int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s · %s · revision %s · %s · %s in all, %s measured in each visit%s\n\n",
		r.Machine, r.Go, r.Revision, r.Date.Format(time.DateTime), r.Took, r.Measured, r.conditions())
	for _, t := range r.summary() {
		t.markdown(&b, level)
	}
	return b.Bytes()
}

// conditions says how loaded the machine was.
func (r *report) conditions() string {
	if len(r.Samples) == 0 {
		return ""
	}
	of := func(q float64) float64 { return quantileOf(r.Samples, q, func(s Sample) float64 { return s.Load }) }
	return fmt.Sprintf(" · load average before a visit %.1f to %.1f, median %.1f", of(0), of(1), of(0.5))
}

// The lines between which the tables stand in a document.
const (
	tablesBegin = "<!-- What follows is measured: see make bench-docs. -->"
	tablesEnd   = "<!-- End of what is measured. -->"
)

// into puts the tables into a document, in place of those that are there.
func (r *report) into(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), tablesBegin)
	_, after, ends := strings.Cut(rest, tablesEnd)
	if !begins || !ends {
		return fmt.Errorf("bench: %s has no lines %q and %q", name, tablesBegin, tablesEnd)
	}
	return os.WriteFile(name, []byte(before+tablesBegin+"\n\n"+string(r.tables(3))+tablesEnd+after), 0o644)
}

// readReport reads the JSON of an earlier run.
func readReport(name string) (*report, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("bench: %s: %w", name, err)
	}
	r.workloads, r.contenders = workloads(), contenders.Known()
	return r, nil
}
