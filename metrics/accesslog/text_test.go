package accesslog

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/accesslog/line"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func parsed(tb testing.TB, text string) line.Line {
	tb.Helper()
	l, err := line.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// TestTextOfRequest writes a line like Envoy's of a request.
func TestTextOfRequest(t *testing.T) {
	format := parsed(t, `[%START_TIME(%F %T.%3f)%] "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% `+
		`%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" `+
		`%DOWNSTREAM_PEER_URI_SAN% %UPSTREAM_PEER_URI_SAN% %SOURCE_ATTRIBUTE(k8s.namespace.name):2% %SOURCE_ATTRIBUTE(service.name)%`+"\n")
	e := get()
	e.Start = time.Date(2026, 11, 24, 21, 0, 0, 5e6, time.UTC)
	want := `[2026-11-24 21:00:00.005] "GET /carts/17 HTTP/1.1" 200 - 10 2000 1500 1000 500 "shop.example:8080" "127.0.0.1:5432" ` +
		`spiffe://example.org/ns/shop/sa/web - sh -` + "\n"
	settings := Settings{RequestLine: format}
	if got := logged(t, Config{Settings: settings}, func(l *Log) { l.Requested(&e) }); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// At the source it is the upstream that speaks TLS.
	e.Reporter = metrics.Source
	if got := logged(t, Config{Settings: settings}, func(l *Log) { l.Requested(&e) }); !strings.HasSuffix(got, " - spiffe://example.org/ns/shop/sa/web - -\n") {
		t.Errorf("at the source: %s", got)
	}
	// Connections keep their format, and sampling and filters hold.
	c := call()
	if got := logged(t, Config{Settings: settings}, func(l *Log) { l.Closed(&c) }); decode(t, got)["message"] != "connection closed" {
		t.Errorf("a connection: %s", got)
	}
	settings.Requests = Failed
	if got := logged(t, Config{Settings: settings}, func(l *Log) { l.Requested(&e) }); got != "" {
		t.Errorf("one that did not fail: %s", got)
	}
}

// TestTextOfConnection has no line for the opening of a connection: of most that
// an operator asks for, there is nothing yet.
func TestTextOfConnection(t *testing.T) {
	e := call()
	e.Outcome = metrics.Outcome{Flag: metrics.FlagUpstreamFailure, Reason: "connection_refused", Err: errors.New(`dial "x": refused`)}
	settings := Settings{Level: -1, ConnectionLine: parsed(t, `%CONNECTION_ID% %PROTOCOL% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% "%CONNECTION_TERMINATION_DETAILS%" %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS%`)}
	got := logged(t, Config{Settings: settings}, func(l *Log) {
		l.Opened(&e)
		l.Closed(&e)
	})
	if want := `7 postgres - 0 connection_refused "dial \"x\": refused" 10.0.0.1:4000 [2001:db8::1]:8443` + "\n"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestOperators has every operator there is say something of a request or of a
// connection, and nothing of one of which nothing is known; and the documentation
// tell of all.
func TestOperators(t *testing.T) {
	page, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	request, connection := get(), call()
	request.Protocol, request.IsGRPC = tlsctx.HTTP2, true
	request.Outcome.Flag = metrics.FlagTimeout
	request.Outcome.Err, connection.Outcome.Err = errors.New("x"), errors.New("x")
	atSource := request
	atSource.Reporter = metrics.Source
	full := []subject{requestSubject(&request), connectionSubject(&connection), requestSubject(&atSource)}
	empty := []subject{requestSubject(&metrics.RequestEvent{}), connectionSubject(&metrics.Event{})}
	var documented []string
	for _, m := range regexp.MustCompile("`%([A-Z0-9_]+)[^`]*%`").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1])
	}
	for _, op := range line.Operators() {
		text := "%" + op + "%"
		switch op {
		case "REQ":
			text = "%REQ(:PATH)%"
		case "SOURCE_ATTRIBUTE", "DESTINATION_ATTRIBUTE":
			text = "%" + op + "(k8s.namespace.name)%"
		}
		format := parsed(t, text)
		says := func(s subject) bool { return string(appendLine(nil, format, &s)) != "-\n" }
		request.Own.Attributes = request.Peer.Attributes
		if !slices.ContainsFunc(full, says) {
			t.Errorf("%s says nothing of anything", text)
		}
		for _, s := range empty {
			appendLine(nil, format, &s) // must not panic
		}
		if !slices.Contains(documented, op) {
			t.Errorf("%s is not in docs/access-log.md", text)
		}
	}
	for _, op := range documented {
		if !slices.Contains(line.Operators(), op) {
			t.Errorf("%s is in docs/access-log.md, and there is no such operator", op)
		}
	}
}

// FuzzText has a peer choose all that it can: a line is one line, printable and
// bounded, and no value ends the quotes around it.
func FuzzText(f *testing.F) {
	for _, text := range hostile {
		f.Add(text[:min(len(text), 5000)])
	}
	f.Add(`\" end`)
	format := parsed(f, `"%REQ(:METHOD)%" "%REQ(:PATH):100%" "%REQ(:AUTHORITY)%" "%SOURCE_ATTRIBUTE(k8s.namespace.name)%" "%CONNECTION_TERMINATION_DETAILS:99%"`)
	f.Fuzz(func(t *testing.T, text string) {
		e := get()
		e.Method, e.Path, e.Authority, e.Peer.Attributes[0].Value = text, text, text, text
		e.Outcome = metrics.Outcome{Err: errors.New(text)}
		s := requestSubject(&e)
		got := string(appendLine(nil, format, &s))
		checkLine(t, got)
		if !utf8.ValidString(got) || strings.Contains(got, "\t") {
			t.Fatalf("%q", got)
		}
		quotes, escaped := 0, false
		for _, r := range got {
			switch {
			case escaped:
				escaped = false
			case r == '\\':
				escaped = true
			case r == '"':
				quotes++
			}
		}
		if quotes != 10 || escaped {
			t.Fatalf("%d quotes in %q", quotes, got)
		}
	})
}

// TestTextIsBounded has many operators repeat what is long.
func TestTextIsBounded(t *testing.T) {
	e := get()
	e.Path = "/" + strings.Repeat("é", printable.Max)
	s := requestSubject(&e)
	got := appendLine(nil, parsed(t, strings.Repeat("ü%REQ(:PATH)%", line.MaxOperators)), &s)
	if n := strings.Count(string(got), "ü"); len(got) > maxLine+line.MaxText || got[len(got)-1] != '\n' || n != line.MaxOperators {
		t.Errorf("a line of %d bytes with %d of its %d texts", len(got), n, line.MaxOperators)
	}
}

func BenchmarkText(b *testing.B) {
	l, err := New(Config{WriterConfig: WriterConfig{Open: File("/dev/null")}, Settings: Settings{
		RequestLine: parsed(b, `[%START_TIME%] "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %DOWNSTREAM_PEER_URI_SAN%`),
	}})
	if err != nil {
		b.Fatal(err)
	}
	e := get()
	b.ReportAllocs()
	for b.Loop() {
		l.Requested(&e)
	}
	if err := l.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRequestNotLogged records a request with a log that wants none that went
// well, as by default.
func BenchmarkRequestNotLogged(b *testing.B) {
	l, err := New(Config{WriterConfig: WriterConfig{Open: File("/dev/null")}, Settings: Settings{Requests: Failed}})
	if err != nil {
		b.Fatal(err)
	}
	r, err := metrics.New(metrics.Config{Sinks: []metrics.Sink{l}})
	if err != nil {
		b.Fatal(err)
	}
	e := get()
	q := r.Requests(e.RequestsInfo)
	b.ReportAllocs()
	for b.Loop() {
		q.Record(e.Request)
	}
	if err := l.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
