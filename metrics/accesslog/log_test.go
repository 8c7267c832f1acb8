package accesslog

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// call is an inbound connection of a workload with attributes of every
// provenance.
func call() metrics.Event {
	trace, err := tlsctx.ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if err != nil {
		panic(err)
	}
	return metrics.Event{
		ConnectionInfo: metrics.ConnectionInfo{
			Reporter: metrics.Destination, Listener: "in",
			Peer: &tlsctx.Peer{
				ID: spiffeid.RequireFromString("spiffe://example.org/ns/shop/sa/web"), Aware: true,
				KeyExchange: 4588,
				Attributes: tlsctx.Attributes{
					{Name: "k8s.namespace.name", Value: "shop", Provenance: tlsctx.Verified},
					{Name: "k8s.pod.name", Value: "web-1", Provenance: tlsctx.Attested},
					{Name: "service.name", Value: "wéb", Provenance: tlsctx.Asserted},
				},
			},
			Service: metrics.Service{Host: "pg.db.svc"}, Target: "pg",
			Client: netip.MustParseAddrPort("[::ffff:10.0.0.1]:4000"), Local: netip.MustParseAddrPort("[2001:db8::1]:8443"),
			Upstream: netip.MustParseAddrPort("127.0.0.1:5432"), Session: tlsctx.Mux,
			Protocol: tlsctx.PostgreSQL, How: "peer", Trace: trace,
		},
		ID: 7, Own: &tlsctx.Peer{ID: spiffeid.RequireFromString("spiffe://example.org/ns/db/sa/pg")},
		Sent: 10, Received: 20, Duration: 1500 * time.Millisecond,
		Outcome: metrics.Outcome{Reason: metrics.ReasonOK},
	}
}

// logged returns what the log makes of events, as text.
func logged(t *testing.T, c Config, tell func(*Log)) string {
	t.Helper()
	d := &device{}
	c.Open = d.open
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	tell(l)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d.text()
}

func decode(t *testing.T, line string) map[string]any {
	t.Helper()
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Fatalf("not one line: %q", line)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("not JSON: %v: %q", err, line)
	}
	return fields
}

func TestLine(t *testing.T) {
	e := call()
	got := decode(t, logged(t, Config{}, func(l *Log) { l.Closed(&e) }))
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["time"])); err != nil {
		t.Errorf("time: %v", err)
	}
	delete(got, "time")
	want := map[string]any{
		"level": "info", "message": "connection closed",
		"hallmark.connection.id": 7.0, "hallmark.reporter": "destination", "hallmark.listener": "in",
		"client.address": "10.0.0.1", "client.port": 4000.0,
		"network.local.address": "2001:db8::1", "network.local.port": 8443.0,
		"upstream.address": "127.0.0.1", "upstream.port": 5432.0,
		"source.spiffe_id":      "spiffe://example.org/ns/shop/sa/web",
		"source.attested":       map[string]any{"k8s.pod.name": "web-1"},
		"source.verified":       map[string]any{"k8s.namespace.name": "shop"},
		"source.asserted":       map[string]any{"service.name": "wéb"},
		"destination.spiffe_id": "spiffe://example.org/ns/db/sa/pg", "destination.service": "pg.db.svc",
		"hallmark.target": "pg", "hallmark.security": "mutual_tls", "hallmark.aware": true,
		"hallmark.session": "mux", "tls.curve": "X25519MLKEM768", "network.transport": "tcp",
		"network.protocol.name": "postgres", "hallmark.detection": "peer",
		"hallmark.bytes.sent": 10.0, "hallmark.bytes.received": 20.0, "duration": 1.5,
		"hallmark.outcome": "ok", "response_flags": "-",
		"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if g, w := fmt.Sprint(got[name]), fmt.Sprint(want[name]); g != w {
			t.Errorf("%s is %s, want %s", name, g, w)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("fields that nobody asked for: %v", got)
	}
}

func TestFailure(t *testing.T) {
	e := call()
	e.Peer, e.Reporter = nil, metrics.Source
	e.Outcome = metrics.Outcome{Flag: metrics.FlagUpstreamFailure, Reason: "connection_refused", Err: errors.New("open: dial: refused")}
	got := decode(t, logged(t, Config{}, func(l *Log) { l.Closed(&e) }))
	for name, want := range map[string]any{
		"level": "warn", "hallmark.security": "none", "error.type": "connection_refused", "response_flags": "UF",
		"error.message": "open: dial: refused", "source.spiffe_id": "spiffe://example.org/ns/db/sa/pg",
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if _, there := got["destination.spiffe_id"]; there {
		t.Error("a peer that nobody reached has an identity")
	}
}

// hostile is text that tries to leave its line or to look like something else.
var hostile = []string{
	"\n{\"level\":\"info\"}", "\x1b[2J\x1b[31m", "\u202egnp.exe", "\u2028\u2029", "a\x00b", "\xff\xfe", "\"},{\"", "\u200b", "\u0085",
	strings.Repeat("x", 1<<20), strings.Repeat("é", 4000), `\u000a`,
}

func TestHostileText(t *testing.T) {
	for _, format := range []Format{JSON, Console} {
		for _, text := range hostile {
			e := call()
			e.Outcome = metrics.Outcome{Flag: metrics.FlagRefused, Reason: text, Err: errors.New(text)}
			e.Protocol, e.Session, e.Target, e.How = tlsctx.Protocol(text), tlsctx.Session(text), text, text
			e.Peer.Attributes[0].Value = text
			checkLine(t, logged(t, Config{Format: format}, func(l *Log) { l.Closed(&e) }))
		}
	}
}

// checkLine fails unless the line is one, bounded, and nothing but print.
func checkLine(t *testing.T, line string) {
	t.Helper()
	if !strings.HasSuffix(line, "\n") || len(line) > 32<<10 {
		t.Fatalf("a line of %d bytes, or none", len(line))
	}
	for _, r := range strings.TrimSuffix(line, "\n") {
		if !unicode.IsPrint(r) && r != '\t' { // tabs are the console format's own
			t.Fatalf("%q in %.200q", r, line)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, text := range hostile {
		f.Add(text[:min(len(text), 5000)])
	}
	encoder, err := newEncoder(JSON)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e := call()
		e.Outcome = metrics.Outcome{Reason: text, Err: errors.New(text)}
		e.Peer.Attributes[0].Value = text
		s := sceneOf(&e)
		line, err := new(scenes).encoder(s, encoder).EncodeEntry(zapcore.Entry{}, fields(nil, &e))
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(line.Bytes()) {
			t.Fatalf("not JSON: %q", line.String())
		}
		checkLine(t, line.String())
	})
}

func TestLevels(t *testing.T) {
	good, bad := call(), call()
	bad.Outcome = metrics.Outcome{Reason: "upstream_reset"}
	for _, test := range []struct {
		level zapcore.Level
		want  int
	}{{zapcore.DebugLevel, 3}, {zapcore.InfoLevel, 2}, {zapcore.WarnLevel, 1}, {zapcore.ErrorLevel, 0}} {
		got := logged(t, Config{Settings: Settings{Level: test.level}}, func(l *Log) {
			l.Opened(&good)
			l.Closed(&good)
			l.Closed(&bad)
		})
		if n := strings.Count(got, "\n"); n != test.want {
			t.Errorf("level %s: %d lines, want %d", test.level, n, test.want)
		}
	}
}

// TestSampling thins out what went well and nothing else.
func TestSampling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := call(), call()
		bad.Outcome = metrics.Outcome{Reason: "upstream_reset"}
		got := logged(t, Config{Settings: Settings{First: 2, Thereafter: 10, Period: time.Minute}}, func(l *Log) {
			for range 32 { // 2, then the 10th, 20th and 30th after them
				l.Closed(&good)
				l.Closed(&bad)
			}
			time.Sleep(time.Minute)
			l.Closed(&good) // counting starts anew
			l.Apply(Settings{First: 1})
			l.Closed(&good) // the second of its period, and none of those
			l.Apply(Settings{})
			l.Closed(&good)
			l.Closed(&good)
		})
		if n := strings.Count(got, `"level":"info"`); n != 2+3+1+2 {
			t.Errorf("%d lines of connections that went well, want 8", n)
		}
		if n := strings.Count(got, `"level":"warn"`); n != 32 {
			t.Errorf("%d lines of connections that did not, want 32", n)
		}
	})
}

func TestBadFormat(t *testing.T) {
	if _, err := New(Config{Format: "xml"}); err == nil || !strings.Contains(err.Error(), "json") {
		t.Errorf("New = %v, want an error that says what there is", err)
	}
}

// TestAsSink has a recorder tell the log, and tell of the lines it dropped.
func TestAsSink(t *testing.T) {
	l, err := New(Config{WriterConfig: WriterConfig{Open: File("/dev/full")}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := metrics.New(metrics.Config{Sinks: []metrics.Sink{l}})
	if err != nil {
		t.Fatal(err)
	}
	r.OpenConnection(metrics.ConnectionInfo{Reporter: metrics.Source}).Close(metrics.Outcome{})
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.LinesDropped(2)
	families, err := r.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "hallmark_log_lines_dropped_total" {
			if got := f.GetMetric()[0].GetCounter().GetValue(); got != 3 {
				t.Errorf("dropped %v, want 3", got)
			}
			return
		}
	}
	t.Error("no hallmark_log_lines_dropped_total")
}

func BenchmarkLine(b *testing.B) {
	l, err := New(Config{WriterConfig: WriterConfig{Open: File("/dev/null")}})
	if err != nil {
		b.Fatal(err)
	}
	e := call()
	b.ReportAllocs()
	for b.Loop() {
		l.Closed(&e)
	}
	if err := l.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
