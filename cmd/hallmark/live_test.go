package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/hallmark-mesh/hallmark/metrics/tap"
)

// TestEventLines shows events as people see them.
func TestEventLines(t *testing.T) {
	at := time.Date(2026, 11, 25, 1, 2, 3, 456e6, time.Local)
	web := tap.Workload{Names: tap.Names{Workload: "web", Namespace: "shop"}, Security: tap.SecurityMutualTLS, Provenance: "verified"}
	flow := &tap.Flow{
		Direction: tap.Inbound, Source: web, Destination: tap.Workload{SPIFFEID: "spiffe://example.org/orders", Security: tap.SecurityMutualTLS},
		Service: "orders", Protocol: "http1", DurationMs: 12.3456, Outcome: "ok",
	}
	out := *flow
	out.Direction, out.Destination, out.Outcome, out.Error, out.Failed = tap.Outbound, tap.Workload{Security: tap.SecurityNone}, "connection_refused", "dial: no", true
	for _, test := range []struct {
		event tap.Event
		want  string
	}{
		{tap.Event{Kind: tap.KindRequest, Flow: flow, Request: &tap.Request{Method: "GET", Path: "/x", Status: 200}}, "01:02:03.456 in  ← web.shop (verified) orders GET /x 200 12.3ms http1"},
		{tap.Event{Kind: tap.KindRequest, Flow: flow, Request: &tap.Request{Method: "POST", Path: "/p.S/M", Status: 200, GRPCStatus: new(14)}}, "01:02:03.456 in  ← web.shop (verified) orders POST /p.S/M 200 grpc=14 12.3ms http1"},
		{tap.Event{Kind: tap.KindOpened, Flow: flow, Connection: &tap.Connection{ID: 7}}, "01:02:03.456 in  ← web.shop (verified) orders opened #7 http1"},
		{tap.Event{Kind: tap.KindClosed, Flow: &out, Connection: &tap.Connection{ID: 7, BytesSent: 1500}}, "01:02:03.456 out → - orders closed #7 http1 12.3ms, 1.5kB sent, 0B received FAILED connection_refused: dial: no"},
		{tap.Event{Kind: tap.KindDropped, Dropped: 9}, "01:02:03.456 --- 9 events are missing here: they came faster than they could be shown"},
		{tap.Event{Kind: tap.KindEnd, Dropped: 9, End: &tap.End{Reason: "limit", Matched: 20, Shown: 11}}, "01:02:03.456 --- end (limit): 11 shown of 20 that matched, 9 dropped"},
		{tap.Event{Kind: "news"}, "01:02:03.456 --- news"},
	} {
		test.event.Time = at
		if got := squeeze(eventLine(&test.event)); got != squeeze(test.want) {
			t.Errorf("%s\nwant\n%s", got, squeeze(test.want))
		}
	}
}

// squeeze makes one blank of many.
func squeeze(text string) string { return strings.Join(strings.Fields(text), " ") }

// TestHostileSidecar has a program answer whose every word would like to steer the
// terminal.
func TestHostileSidecar(t *testing.T) {
	const evil = "\x1b]0;owned\a\n\u009b31m\u202e"
	w := tap.Workload{SPIFFEID: evil, Names: tap.Names{Workload: evil, Namespace: evil}, Provenance: evil, Security: evil}
	e := tap.Event{Kind: evil, Flow: &tap.Flow{
		Direction: evil, Source: w, Destination: w, Service: evil, Protocol: evil, Outcome: evil, Error: evil, Failed: true,
	}, Request: &tap.Request{Method: evil, Path: evil}}
	line, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	raw := bytes.ReplaceAll(line, []byte(`\u202e`), []byte("\u202e"))
	for _, output := range []string{"text", "json"} {
		var shown bytes.Buffer
		c := TapCmd{Output: output}
		end := []byte("\n\n" + `{"kind":"end","end":{"reason":"\u001b[2J"}}` + "\n")
		if err := c.follow(t.Context(), bytes.NewReader(append(raw, end...)), &shown); err != nil {
			t.Fatal(err)
		}
		for text := range strings.Lines(shown.String()) {
			text = strings.TrimSuffix(text, "\n")
			if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || text == "" {
				t.Errorf("%s: %q", output, text)
			}
			if output == "json" && !json.Valid([]byte(text)) {
				t.Errorf("no JSON: %s", text)
			}
		}
	}
	var table bytes.Buffer
	writeStat(&table, &tap.Stat{Self: w, Edges: []tap.Edge{{Direction: evil, Peer: w, Service: tap.Service{Host: evil}, Protocol: evil, Detected: evil}}}, false)
	if strings.ContainsFunc(strings.ReplaceAll(table.String(), "\n", ""), func(r rune) bool { return !unicode.IsPrint(r) }) || strings.Count(table.String(), "\n") != 4 {
		t.Errorf("%q", table.String())
	}
}

// TestFollow says how a view has ended.
func TestFollow(t *testing.T) {
	for name, test := range map[string]struct {
		said string
		code int
	}{
		"gone":    {`{"kind":"dropped","dropped":1}` + "\n", exitUnreachable},
		"garbage": {"hello\n", exitError},
		"long":    {strings.Repeat("x", maxEvent+1), exitUnreachable},
		"end":     {`{"kind":"end","end":{"reason":"closing"}}` + "\n", exitOK},
	} {
		var out bytes.Buffer
		c := TapCmd{Output: "text"}
		if got := exitCode(c.follow(t.Context(), strings.NewReader(test.said), &out), new(bytes.Buffer)); got != test.code {
			t.Errorf("%s: exit status %d, want %d", name, got, test.code)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := TapCmd{Output: "text"}
	if err := c.follow(ctx, strings.NewReader(""), new(bytes.Buffer)); err != nil {
		t.Errorf("told to end: %v", err)
	}
}

// TestStatTable shows requests, connections, and nothing.
func TestStatTable(t *testing.T) {
	var b bytes.Buffer
	writeStat(&b, &tap.Stat{Self: tap.Workload{SPIFFEID: "spiffe://example.org/orders"}, WindowSeconds: 10.04}, false)
	if !strings.Contains(b.String(), "the last 10s") || !strings.Contains(b.String(), "no traffic yet") {
		t.Errorf("%s", b.String())
	}
	web := tap.Workload{Names: tap.Names{Workload: "web", Namespace: "shop"}, Security: tap.SecurityMutualTLS, Provenance: "verified"}
	edges := []tap.Edge{
		{
			Direction: tap.Inbound, Peer: web, Service: tap.Service{Host: "orders"}, Protocol: "http",
			Recent: tap.Counts{Requests: 100, SuccessRate: new(0.99999), RequestsPerSecond: 12.34, P50: new(1.234), P95: new(20.0), P99: new(2500.0), BytesSentPerSecond: 1234},
			Total:  tap.Counts{Requests: 4000, RequestsFailed: 1000},
		},
		{
			Direction: tap.Outbound, Peer: web, Service: tap.Service{Host: "db"}, Protocol: "tcp", Detected: "postgres", ConnectionsOpen: 3,
			Recent: tap.Counts{ConnectionsOpened: 10, ConnectionsFailed: 1, ConnectionsPerSecond: 1}, Total: tap.Counts{ConnectionsOpened: 10, ConnectionsFailed: 10},
		},
		{Direction: tap.Inbound, Overflow: true, Protocol: "grpc"},
	}
	b.Reset()
	writeStat(&b, &tap.Stat{Edges: edges, Truncated: true}, false)
	for _, want := range []string{
		"in web.shop verified orders http 12.3 99.9% 1.23ms 20ms 2.5s - 1.23kB 0B 4000 75.0%",
		"out web.shop verified db tcp (postgres) 1.0 90.0% - - - 3 0B 0B 10 0%",
		"in (all others) - - grpc 0.0 - - - - - 0B 0B 0 -",
		"these are the busiest 3",
	} {
		if !strings.Contains(squeeze(b.String()), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
