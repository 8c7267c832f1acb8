package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"time"
	"unicode"

	"github.com/hallmark-mesh/hallmark/metrics/tap"
)

// TapCmd is the subcommand tap.
type TapCmd struct {
	adminFlags
	tapFilters
	Output string `help:"text or json." enum:"text,json" default:"text" env:"HALLMARK_OUTPUT"`
}

// tapFilters say what is shown. Each is a parameter of the API.
type tapFilters struct {
	Direction     []string      `group:"filter" help:"inbound or outbound." placeholder:"WHICH"`
	Kind          []string      `group:"filter" help:"request or connection." placeholder:"WHICH"`
	Peer          []string      `sep:"none" group:"filter" help:"The other end: a SPIFFE ID, a trust domain as spiffe://example.org, the beginning of an ID with * at its end, or plaintext." placeholder:"ID"`
	Source        []string      `sep:"none" group:"filter" help:"Who calls, as --peer." placeholder:"ID"`
	Destination   []string      `sep:"none" group:"filter" help:"Who is called, as --peer." placeholder:"ID"`
	PeerAttribute []string      `sep:"none" group:"filter" help:"An attribute that the peer has, such as k8s.namespace.name=shop or attested:service.version=2.*. All that are given." placeholder:"[PROVENANCE:]NAME=VALUE"`
	Service       []string      `sep:"none" group:"filter" help:"The service's host name; * stands for anything." placeholder:"HOST"`
	Method        []string      `group:"filter" help:"The request's method." placeholder:"METHOD"`
	Path          []string      `sep:"none" group:"filter" help:"The request's path, such as /api/*; * stands for anything. It is compared without the query." placeholder:"PATH"`
	Status        []string      `group:"filter" help:"The status: 404, 5xx, or 0 for no answer." placeholder:"CODE"`
	GRPCStatus    []string      `name:"grpc-status" group:"filter" help:"The gRPC status, as a number or by its name." placeholder:"CODE"`
	Protocol      []string      `group:"filter" help:"http1, h2, grpc, postgres, …; http for all requests, tcp for all connections." placeholder:"NAME"`
	Failed        bool          `group:"filter" help:"Only what failed."`
	SlowerThan    time.Duration `group:"filter" help:"Only what took longer." placeholder:"DURATION"`
	Sample        uint32        `group:"filter" help:"One of so many of those that match." placeholder:"N"`
	Limit         uint32        `group:"filter" help:"End after so many." placeholder:"N"`
	Rate          uint32        `group:"filter" help:"So many in a second at the most." placeholder:"N"`
}

// Help is the long description of the subcommand.
func (*TapCmd) Help() string {
	return `Shows the requests and TCP connections of a sidecar as they happen: when, which way,
who the peer is and how far that is to be believed, the service, what was asked and how
it was answered, and how long it took. Bodies, header values and queries are never shown.

  hallmark tap
  hallmark tap --failed --path '/api/*'
  hallmark tap --peer 'spiffe://example.org/ns/shop/*' --slower-than 200ms --output json
  hallmark tap --admin 10.0.0.7:9901 --expect spiffe://example.org/ns/shop/sa/orders

Of different filters all must hold, of the values of one any. A request is shown when it
is over, a connection when it opens and when it closes. The sidecar waits for nobody: what
does not come through in time is left out, and the view says how many there were. With
--output json it prints an object on each line, as docs/admin.md describes; the last one
has the kind "end". It runs until SIGINT or SIGTERM, until --limit, or until the sidecar
ends.

` + exitCodes
}

// query returns the filters as the API takes them.
func (f *tapFilters) query() url.Values {
	q := make(url.Values)
	for name, values := range map[string][]string{
		"direction": f.Direction, "kind": f.Kind, "peer": f.Peer, "source": f.Source, "destination": f.Destination,
		"attribute": f.PeerAttribute, "service": f.Service, "method": f.Method, "path": f.Path,
		"status": f.Status, "grpcStatus": f.GRPCStatus, "protocol": f.Protocol,
	} {
		if len(values) > 0 {
			q[name] = values
		}
	}
	if f.Failed {
		q.Set("failed", "true")
	}
	if f.SlowerThan > 0 {
		q.Set("slowerThan", f.SlowerThan.String())
	}
	for name, n := range map[string]uint32{"sample": f.Sample, "limit": f.Limit, "rate": f.Rate} {
		if n > 0 {
			q.Set(name, strconv.FormatUint(uint64(n), 10))
		}
	}
	return q
}

// Run shows events until there are no more, or ctx ends.
func (c *TapCmd) Run(ctx context.Context, stdout io.Writer) error {
	query := c.query()
	if _, err := tap.ParseFilter(query); err != nil {
		return coded(exitUsage, err)
	}
	client, done, err := c.client(ctx)
	if err != nil {
		return err
	}
	defer done()
	events, err := client.get(ctx, "tap", query)
	if err != nil {
		return err
	}
	defer events.Close()
	fmt.Fprintf(os.Stderr, "watching %s\n", client.base.Host)
	return c.follow(ctx, events, stdout)
}

// maxEvent bounds the line of an event, in bytes.
const maxEvent = 256 << 10

// follow prints events until there are no more.
func (c *TapCmd) follow(ctx context.Context, events io.Reader, stdout io.Writer) error {
	lines := bufio.NewScanner(events)
	lines.Buffer(make([]byte, 0, 4096), maxEvent)
	var shown, dropped uint64
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 { // it lives
			continue
		}
		var e tap.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("the sidecar says what is no event: %w", err)
		}
		text := eventLine(&e)
		if c.Output == "json" {
			text = printableJSON(line)
		}
		if _, err := fmt.Fprintln(stdout, text); err != nil {
			return err
		}
		switch e.Kind {
		case tap.KindEnd:
			return nil
		case tap.KindDropped:
			dropped += e.Dropped
		default:
			shown++
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil: // we end, as we were told to
		fmt.Fprintf(os.Stderr, "%d shown, %d dropped\n", shown, dropped)
		return nil
	case err != nil:
		return coded(exitUnreachable, fmt.Errorf("the sidecar is gone: %w", err))
	default:
		return coded(exitUnreachable, errors.New("the sidecar is gone"))
	}
}

// printableJSON escapes what a terminal would take for more than text; outside of
// strings JSON has nothing of that kind.
func printableJSON(line []byte) string {
	var b bytes.Buffer
	compact := new(bytes.Buffer)
	if json.Compact(compact, line) != nil {
		return "{}" // whoever calls has parsed it
	}
	for _, r := range compact.String() {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			b.WriteString(`\ufffd`)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
