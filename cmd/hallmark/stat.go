package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/metrics/tap"
)

// StatCmd is the subcommand stat.
type StatCmd struct {
	adminFlags
	Window   time.Duration `help:"How far what is recent goes back, from 1s to 30s." default:"10s" env:"HALLMARK_WINDOW"`
	Interval time.Duration `help:"How often a terminal is refreshed." default:"2s" env:"HALLMARK_INTERVAL"`
	Total    bool          `help:"Show rates and durations since the sidecar began to count, instead of recent ones."`
	Once     bool          `help:"Print once and exit, as is done where the output is no terminal."`
	Output   string        `help:"text or json." enum:"text,json" default:"text" env:"HALLMARK_OUTPUT"`
}

// Help is the long description of the subcommand.
func (*StatCmd) Help() string {
	return `Shows who talks to whom: for each direction, peer, service and protocol, how far the
peer's name is to be believed, the requests per second, the share that succeeded and the
median, 95th and 99th percentile of their durations within the last --window, the TCP
connections that are open and the bytes per second, and the totals since the sidecar
began to count. On a terminal it is refreshed until SIGINT or SIGTERM, like top.

  hallmark stat
  hallmark stat --once --output json | jq '.edges[] | {peer: .peer.workload, recent}'
  hallmark stat --admin 10.0.0.7:9901 --expect spiffe://example.org/ns/shop/sa/orders

With --output json it prints an object on each line, as docs/admin.md describes it. Who
asks first waits a second: rates come from two looks at the same counters.

` + exitCodes
}

// leastInterval keeps a terminal readable, and the sidecar from being asked without
// pause.
const leastInterval = 500 * time.Millisecond

// Run shows it once, or until ctx ends.
func (c *StatCmd) Run(ctx context.Context, stdout io.Writer) error {
	if c.Window < time.Second || c.Window > 30*time.Second {
		return coded(exitUsage, fmt.Errorf("--window %s: want a duration from 1s to 30s", c.Window))
	}
	if c.Interval < leastInterval {
		return coded(exitUsage, fmt.Errorf("--interval %s: want at least %s", c.Interval, leastInterval))
	}
	client, done, err := c.client(ctx)
	if err != nil {
		return err
	}
	defer done()
	again := !c.Once && onTerminal()
	if again && c.Output == "text" {
		fmt.Fprint(stdout, "\x1b[?1049h\x1b[?25l") // a screen of our own, without a cursor
		defer fmt.Fprint(stdout, "\x1b[?25h\x1b[?1049l")
	}
	ticker := time.NewTicker(c.Interval)
	defer ticker.Stop()
	for {
		err := c.show(ctx, client, stdout, again)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // we end, as we were told to
		}
		if err != nil || !again {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// onTerminal reports whether somebody looks at what is printed.
func onTerminal() bool {
	info, err := os.Stdout.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 || os.Getenv("TERM") == "dumb" {
		return false
	}
	null, err := os.Stat(os.DevNull) // a character device as well
	return err == nil && !os.SameFile(info, null)
}

// maxStat bounds the answer, in bytes.
const maxStat = 16 << 20

// show asks once, and prints the answer.
func (c *StatCmd) show(ctx context.Context, client *adminClient, stdout io.Writer, again bool) error {
	body, err := client.get(ctx, "stat", url.Values{"window": {c.Window.String()}})
	if err != nil {
		return err
	}
	defer body.Close()
	answer, err := io.ReadAll(io.LimitReader(body, maxStat))
	if err != nil {
		return coded(exitUnreachable, fmt.Errorf("the answer of %s breaks off: %w", client.base.Host, err))
	}
	var s tap.Stat
	if err := json.Unmarshal(answer, &s); err != nil {
		return fmt.Errorf("the answer of %s cannot be understood: %w", client.base.Host, err)
	}
	var page bytes.Buffer
	switch {
	case c.Output == "json":
		page.WriteString(printableJSON(answer) + "\n")
	case again:
		page.WriteString("\x1b[H\x1b[2J")
		writeStat(&page, &s, c.Total)
	default:
		writeStat(&page, &s, c.Total)
	}
	_, err = page.WriteTo(stdout)
	return err
}

// writeStat writes the table. What it is told by the sidecar is made printable once
// more: it may be any program that answers at the address.
func writeStat(w io.Writer, s *tap.Stat, total bool) {
	period := fmt.Sprintf("the last %s", time.Duration(s.WindowSeconds*float64(time.Second)).Round(time.Second/10))
	if total {
		period = "since counting began"
	}
	fmt.Fprintf(w, "%s  %s  %s, %s\n\n",
		printable.Text(workloadName(&s.Self)), printable.Text(s.Self.SPIFFEID), s.Time.Local().Format(time.TimeOnly), period)
	if len(s.Edges) == 0 {
		fmt.Fprintln(w, "There has been no traffic yet.")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tPEER\tBELIEVED\tSERVICE\tPROTOCOL\tRPS\tSUCCESS\tP50\tP95\tP99\tOPEN\tSENT/s\tRECEIVED/s\tTOTAL\tSUCCESS")
	for i := range s.Edges {
		fmt.Fprintln(t, edgeRow(&s.Edges[i], total))
	}
	_ = t.Flush() // of a buffer
	if s.Truncated {
		fmt.Fprintf(w, "\nand more: these are the busiest %d\n", len(s.Edges))
	}
}

// edgeRow is an edge's row: of requests or of connections, whichever it counts.
func edgeRow(e *tap.Edge, total bool) string {
	direction := "in"
	if e.Direction == tap.Outbound {
		direction = "out"
	}
	protocol := e.Protocol
	if e.Detected != "" {
		protocol += " (" + e.Detected + ")"
	}
	peer := workloadName(&e.Peer)
	if e.Overflow {
		peer = "(all others)"
	}
	var b bytes.Buffer
	for _, cell := range []string{direction, peer, e.Peer.Provenance, e.Service.Host, protocol} {
		b.WriteString(printable.Text(orDash(cell)) + "\t")
	}
	r, t := &e.Recent, &e.Total
	if total {
		r = t
	}
	rate, all, failed, open := r.RequestsPerSecond, t.Requests, t.RequestsFailed, "-"
	recent := percent(r.SuccessRate)
	if e.Protocol == "tcp" {
		rate, all, failed, open = r.ConnectionsPerSecond, t.ConnectionsOpened, t.ConnectionsFailed, fmt.Sprint(e.ConnectionsOpen)
		recent = share(r.ConnectionsOpened, r.ConnectionsFailed)
	}
	fmt.Fprintf(&b, "%.1f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s", rate, recent,
		quantileText(r.P50), quantileText(r.P95), quantileText(r.P99), open,
		size(r.BytesSentPerSecond), size(r.BytesReceivedPerSecond), all, share(all, failed))
	return b.String()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// share is what did not fail.
func share(all, failed uint64) string {
	if all == 0 {
		return "-"
	}
	rate := 1 - float64(min(failed, all))/float64(all)
	return percent(&rate)
}

// percent never rounds to all what is not.
func percent(rate *float64) string {
	switch {
	case rate == nil:
		return "-"
	case *rate < 1 && *rate > 0.9995:
		return "99.9%"
	case *rate == 1 || *rate == 0:
		return fmt.Sprintf("%.0f%%", *rate*100)
	default:
		return fmt.Sprintf("%.1f%%", *rate*100)
	}
}

func quantileText(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return shortTime(*ms)
}
