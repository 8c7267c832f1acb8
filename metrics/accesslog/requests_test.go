package accesslog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// get is a request of the workload that call is a connection of.
func get() metrics.RequestEvent {
	c := call()
	return metrics.RequestEvent{
		RequestsInfo: metrics.RequestsInfo{
			Reporter: c.Reporter, Peer: c.Peer, Service: metrics.Service{Host: "shop.shop.svc"}, Target: "shop",
			Listener: "in", Session: tlsctx.H2,
		},
		Request: metrics.Request{
			Method: "GET", Authority: "shop.example:8080", Path: "/carts/17?token=secret", Protocol: tlsctx.HTTP1,
			Client: c.Client, Local: c.Local, Upstream: c.Upstream, Status: 200, GRPC: 0,
			RequestBytes: 10, ResponseBytes: 2000, Duration: 1500 * time.Millisecond, FirstByte: time.Second, Attempts: 2,
			Trace: c.Trace, Outcome: metrics.Outcome{Reason: metrics.ReasonOK},
		},
		Own: c.Own,
	}
}

func TestRequestLine(t *testing.T) {
	e := get()
	text := logged(t, Config{}, func(l *Log) { l.Requested(&e) })
	if strings.Contains(text, "secret") {
		t.Errorf("the query is in the log: %s", text)
	}
	got := decode(t, text)
	delete(got, "time")
	want := map[string]any{
		"level": "info", "message": "request", "hallmark.reporter": "destination", "hallmark.listener": "in",
		"http.request.method": "GET", "url.path": "/carts/17", "server.address": "shop.example", "server.port": 8080.0,
		"http.response.status_code": 200.0, "network.protocol.name": "http", "network.protocol.version": "1.1",
		"http.request.body.size": 10.0, "http.response.body.size": 2000.0,
		"duration": 1.5, "hallmark.first_byte": 1.0, "hallmark.attempts": 2.0,
		"client.address": "10.0.0.1", "client.port": 4000.0,
		"network.local.address": "2001:db8::1", "network.local.port": 8443.0,
		"upstream.address": "127.0.0.1", "upstream.port": 5432.0,
		"source.spiffe_id":      "spiffe://example.org/ns/shop/sa/web",
		"source.attested":       map[string]any{"k8s.pod.name": "web-1"},
		"source.verified":       map[string]any{"k8s.namespace.name": "shop"},
		"source.asserted":       map[string]any{"service.name": "wéb"},
		"destination.spiffe_id": "spiffe://example.org/ns/db/sa/pg", "destination.service": "shop.shop.svc",
		"hallmark.target": "shop", "hallmark.security": "mutual_tls", "hallmark.aware": true,
		"hallmark.session": "h2", "tls.curve": "X25519MLKEM768", "network.transport": "tcp",
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

// TestGRPCLine has what differs for gRPC, and a request without an answer.
func TestGRPCLine(t *testing.T) {
	e := get()
	e.Protocol, e.IsGRPC, e.GRPC = tlsctx.HTTP2, true, 5
	got := decode(t, logged(t, Config{}, func(l *Log) { l.Requested(&e) }))
	if got["rpc.system"] != "grpc" || got["rpc.grpc.status_code"] != 5.0 || got["network.protocol.version"] != "2" || got["level"] != "info" {
		t.Errorf("gRPC: %v", got)
	}
	e.Status, e.GRPC, e.FirstByte = 0, -1, 0
	e.Outcome = metrics.Outcome{Flag: metrics.FlagDownstreamTermination, Reason: "client_gone", Err: errors.New("read: reset")}
	got = decode(t, logged(t, Config{}, func(l *Log) { l.Requested(&e) }))
	for _, name := range []string{"http.response.status_code", "rpc.grpc.status_code", "hallmark.first_byte"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s is %v without an answer", name, v)
		}
	}
	if got["level"] != "warn" || got["error.type"] != "client_gone" || got["error.message"] != "read: reset" || got["response_flags"] != "DC" {
		t.Errorf("no answer: %v", got)
	}
}

// TestRequestText has a client choose everything that it can.
func TestRequestText(t *testing.T) {
	evil := "\n\x1b[31m\u202e\xff\"," + strings.Repeat("\x00", 2*printable.Max)
	e := get()
	e.Method, e.Authority, e.Path, e.Upgrade = evil, evil, "/"+evil, evil
	for _, format := range []Format{JSON, Console} {
		text := logged(t, Config{Format: format}, func(l *Log) { l.Requested(&e) })
		line, ok := strings.CutSuffix(text, "\n")
		if !ok || strings.ContainsAny(line, "\n\r\x1b\u202e\x00") || !utf8.ValidString(line) {
			t.Errorf("%s: %.1000q", format, text)
		}
	}
}

// TestRequestAuthority tells host and port apart.
func TestRequestAuthority(t *testing.T) {
	for authority, want := range map[string][2]any{
		"shop.example": {"shop.example", nil}, "shop.example:80": {"shop.example", 80.0}, "[2001:db8::1]:80": {"2001:db8::1", 80.0},
		"shop.example:x": {"shop.example:x", nil}, "shop.example:99999": {"shop.example:99999", nil}, "": {nil, nil},
	} {
		e := get()
		e.Authority = authority
		got := decode(t, logged(t, Config{}, func(l *Log) { l.Requested(&e) }))
		if have := [2]any{got["server.address"], got["server.port"]}; have != want {
			t.Errorf("%q became %v, want %v", authority, have, want)
		}
	}
}

// TestRequestFilters says which requests make a line.
func TestRequestFilters(t *testing.T) {
	fine, slow, broken, refused, notFound, unavailable, noSuch := get(), get(), get(), get(), get(), get(), get()
	fine.Duration, slow.Duration = time.Millisecond, time.Minute
	for _, e := range []*metrics.RequestEvent{&broken, &refused, &notFound, &unavailable, &noSuch} {
		e.Duration = time.Millisecond
	}
	broken.Status, notFound.Status = 500, 404
	refused.Outcome = metrics.Outcome{Flag: metrics.FlagDenied, Reason: "denied"}
	unavailable.IsGRPC, unavailable.GRPC = true, 14
	noSuch.IsGRPC, noSuch.GRPC = true, 5
	all := []*metrics.RequestEvent{&fine, &slow, &broken, &refused, &notFound, &unavailable, &noSuch}
	for _, test := range []struct {
		name     string
		settings Settings
		want     []*metrics.RequestEvent
	}{
		{"all", Settings{}, all},
		{"none", Settings{Requests: None, SlowerThan: time.Second}, nil},
		{"failed", Settings{Requests: Failed}, []*metrics.RequestEvent{&broken, &refused, &unavailable}},
		{"failed or slow", Settings{Requests: Failed, SlowerThan: time.Second}, []*metrics.RequestEvent{&slow, &broken, &refused, &unavailable}},
		{"warn", Settings{Level: zapcore.WarnLevel, SlowerThan: time.Second}, []*metrics.RequestEvent{&broken, &refused, &unavailable}},
		{"error", Settings{Level: zapcore.ErrorLevel}, nil},
		{"sampled", Settings{First: 1, SlowerThan: time.Second}, []*metrics.RequestEvent{&fine, &slow, &broken, &refused, &unavailable}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text := logged(t, Config{Settings: test.settings}, func(l *Log) {
					for i, e := range all {
						e.Listener = fmt.Sprint(i)
						l.Requested(e)
					}
				})
				for i, e := range all {
					if got, want := strings.Contains(text, fmt.Sprintf(`"hallmark.listener":"%d"`, i)), slices.Contains(test.want, e); got != want {
						t.Errorf("request %d is logged: %v, want %v", i, got, want)
					}
				}
			})
		})
	}
}

// BenchmarkRequested writes the line of a request, or decides against it.
func BenchmarkRequested(b *testing.B) {
	for _, filter := range []Filter{All, Failed} {
		b.Run(string(filter), func(b *testing.B) {
			d := &device{}
			l, err := New(Config{WriterConfig: WriterConfig{Open: d.open, Buffer: 1}, Settings: Settings{Requests: filter}})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close(b.Context())
			e := get()
			b.ReportAllocs()
			for b.Loop() {
				l.Requested(&e)
			}
		})
	}
}
