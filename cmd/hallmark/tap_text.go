package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/metrics/tap"
)

// eventLine is an event as a line for people. What it is told by the sidecar is
// made printable once more: it may be any program that answers at the address.
func eventLine(e *tap.Event) string {
	at := e.Time.Local().Format("15:04:05.000")
	switch {
	case e.Kind == tap.KindDropped:
		return printable.Text(fmt.Sprintf("%s --- %d events are missing here: they came faster than they could be shown", at, e.Dropped))
	case e.Kind == tap.KindEnd && e.End != nil:
		return printable.Text(fmt.Sprintf("%s --- end (%s): %d shown of %d that matched, %d dropped", at, e.End.Reason, e.End.Shown, e.End.Matched, e.Dropped))
	case e.Flow == nil:
		return printable.Text(fmt.Sprintf("%s --- %s", at, e.Kind))
	}
	peer, arrow, direction := &e.Source, "←", "in "
	if e.Direction == tap.Outbound {
		peer, arrow, direction = &e.Destination, "→", "out"
	}
	line := fmt.Sprintf("%s %s %s %-34s %-18s ", at, direction, arrow, whoIs(peer), cmp.Or(e.Service, e.Target, "-"))
	switch {
	case e.Request != nil:
		line += requestText(e)
	case e.Connection != nil:
		line += connectionText(e)
	}
	return printable.Text(strings.TrimRight(line, " "))
}

// whoIs names a workload, and says how far that is to be believed.
func whoIs(w *tap.Workload) string {
	name := workloadName(w)
	if w.Security == tap.SecurityNone {
		return name
	}
	return name + " (" + w.Provenance + ")"
}

// workloadName is the shortest name of a workload that says who it is.
func workloadName(w *tap.Workload) string {
	switch {
	case w.Workload != "" && w.Namespace != "":
		return w.Workload + "." + w.Namespace
	case w.Security == tap.SecurityNone:
		return "-"
	default:
		return cmp.Or(w.Workload, w.SPIFFEID, "unknown")
	}
}

func requestText(e *tap.Event) string {
	r := e.Request
	status := "---"
	if r.Status != 0 {
		status = fmt.Sprint(r.Status)
	}
	if r.GRPCStatus != nil {
		status += fmt.Sprintf(" grpc=%d", *r.GRPCStatus)
	}
	what := cmp.Or(r.Method, "-") + " " + cmp.Or(r.Path, "-")
	return fmt.Sprintf("%-32s %s %s %s%s", what, status, shortTime(e.DurationMs), e.Protocol, outcomeText(e))
}

func connectionText(e *tap.Event) string {
	what := fmt.Sprintf("%s #%d", e.Kind, e.Connection.ID)
	if e.Kind == tap.KindOpened {
		return what + " " + e.Protocol
	}
	return fmt.Sprintf("%s %s %s, %s sent, %s received%s", what, e.Protocol, shortTime(e.DurationMs),
		size(float64(e.Connection.BytesSent)), size(float64(e.Connection.BytesReceived)), outcomeText(e))
}

// outcomeText says what went wrong, if something did.
func outcomeText(e *tap.Event) string {
	switch {
	case e.Outcome != "" && e.Outcome != "ok":
		text := " FAILED " + e.Outcome
		if e.Error != "" {
			text += ": " + e.Error
		}
		return text
	case e.Failed:
		return " FAILED"
	default:
		return ""
	}
}

// shortTime is a time in milliseconds, with three digits that count.
func shortTime(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.3gms", ms)
	case d < time.Minute:
		return fmt.Sprintf("%.3gs", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

// size is a number of bytes, with three digits that count.
func size(n float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if n < 999.5 {
			return fmt.Sprintf("%.3g%s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.3gTB", n)
}
