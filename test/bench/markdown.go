package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// markdown is the report for people.
func (r *report) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Side by side\n\n%s · %s · revision %s · %s · %s in all, %s measured in each visit\n\n", r.Machine, r.Go, r.Revision, r.Date.Format(time.DateTime), r.Took, r.Measured)
	fmt.Fprint(&b, "Each figure is the median over the rounds. CPU is the time of each proxy process per call. "+
		"*hallmark/this* is the median of the quotients of neighbouring visits, with its quartiles. "+
		"Latency counts from the intended time of sending in open loops; in closed loops it says only how busy things were. "+
		"*busy* is the share of the machine in use by everything, load generator and applications included.\n\n")
	fmt.Fprint(&b, "## Bars\n\n| bar | measured | quartiles | pairs | limit | |\n|---|---|---|---|---|---|\n")
	for _, v := range r.Bars {
		fmt.Fprintf(&b, "| %s | %.3f | %.3f to %.3f | %d | %g | %s %s |\n", v.Name, v.Ratio.Median, v.Ratio.Lower, v.Ratio.Upper, v.Ratio.Pairs, v.Limit, verdict(v), v.Note)
	}
	for _, w := range r.workloads {
		rows := r.rows(w)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n| | %s |\n|---|%s\n", w.Name, w.About, strings.Join(heading(w), " | "), strings.Repeat("---|", len(heading(w))))
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
	}
	fmt.Fprint(&b, "\n## Contenders\n\n")
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
