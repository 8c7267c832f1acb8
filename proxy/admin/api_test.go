package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// scripted is a watch that is told what to show.
type scripted struct {
	batches chan []any
	closed  chan struct{}
}

func newScripted() *scripted { return &scripted{make(chan []any, 8), make(chan struct{})} }

// Next implements Watch.
func (s *scripted) Next(ctx context.Context) []any {
	select {
	case b := <-s.batches:
		return b
	case <-ctx.Done():
		return []any{}
	}
}

// End implements Watch.
func (s *scripted) End() []any { return []any{"end"} }

// Close implements Watch.
func (s *scripted) Close() { close(s.closed) }

func live(watch Watch) OperatorConfig {
	c := everything()
	c.Tap = func(url.Values) (Watch, error) { return watch, nil }
	return c
}

// TestTapForm shows the same as lines and as an event stream.
func TestTapForm(t *testing.T) {
	for accept, want := range map[string]string{
		"":                             "{\"a\":1}\n\"\\u003cb\\u003e\"\n\n",
		"application/json, */*":        "{\"a\":1}\n\"\\u003cb\\u003e\"\n\n",
		"text/html, Text/Event-Stream": "data: {\"a\":1}\n\ndata: \"\\u003cb\\u003e\"\n\n:\n\n",
	} {
		watch := newScripted()
		watch.batches <- []any{map[string]int{"a": 1}, "<b>"}
		watch.batches <- []any{}
		watch.batches <- nil
		r := httptest.NewRequest(http.MethodGet, "/api/v1/tap", nil)
		r.Host = "localhost"
		r.Header.Set("Accept", accept)
		w := ask(Operator(live(watch)), loopback, r)
		kind := "application/x-ndjson"
		if strings.HasPrefix(want, "data") {
			kind = "text/event-stream"
		}
		if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("Content-Type") != kind || w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("Accept %q: %d, %v, %q", accept, w.Code, w.Header(), w.Body)
		}
		<-watch.closed
	}
}

// TestAPIAnswers is about everything but a stream.
func TestAPIAnswers(t *testing.T) {
	windows := make(chan time.Duration, 1)
	c := everything()
	c.Tap = func(q url.Values) (Watch, error) {
		switch {
		case q.Get("peer") == "busy":
			return nil, ErrBusy
		case q.Get("peer") != "":
			return nil, errors.New("no such\x1b[31m peer")
		}
		return newScripted(), nil
	}
	c.Stat = func(_ context.Context, window time.Duration) (any, error) {
		windows <- window
		return map[string]string{"window": window.String()}, nil
	}
	for _, test := range []struct {
		method, target string
		status         int
		want           string
	}{
		{"GET", "/api/v1/tap?peer=busy", 429, "too many"},
		{"GET", "/api/v1/tap?peer=x", 400, "no such\ufffd[31m peer"},
		{"GET", "/api/v1/tap?%zz", 400, "malformed"},
		{"HEAD", "/api/v1/tap", 200, ""},
		{"POST", "/api/v1/tap", 405, "nothing here can be changed"},
		{"GET", "/api/v1/stat", 200, `"window": "10s"`},
		{"GET", "/api/v1/stat?window=30s", 200, `"window": "30s"`},
		{"GET", "/api/v1/stat?window=31s", 400, "from 1s to 30s"},
		{"GET", "/api/v1/stat?window=999ms", 400, "from 1s to 30s"},
		{"GET", "/api/v1/stat?window=x", 400, "from 1s to 30s"},
		{"GET", "/api/v1/stat?windows=3s", 400, "no parameter"},
		{"GET", "/api/v1/nothing", 404, ""},
	} {
		r := httptest.NewRequest(test.method, test.target, nil)
		r.Host = "localhost"
		w := ask(Operator(c), loopback, r)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s %s: %d %q, want %d %q", test.method, test.target, w.Code, w.Body, test.status, test.want)
		}
		if test.status == 200 && strings.Contains(test.target, "stat") {
			<-windows
		}
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if w := ask(Operator(c), loopback, r); w.Code != http.StatusForbidden {
			t.Errorf("%s from another site: %d", test.target, w.Code)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	c.Stat = func(ctx context.Context, _ time.Duration) (any, error) { return nil, ctx.Err() }
	r := httptest.NewRequest(http.MethodGet, "/api/v1/stat", nil).WithContext(gone)
	r.Host = "localhost"
	if w := ask(Operator(c), loopback, r); w.Body.Len() != 0 {
		t.Errorf("to who is gone: %q", w.Body)
	}
}

// TestTapLives is a quiet view over a real server: it shows that it lives for much
// longer than requests may take, shows what comes then, and says that it ends.
func TestTapLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := &pipes{make(chan net.Conn), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		watch := newScripted()
		go func() { ended <- Serve(ctx, listener, Operator(live(watch)), zap.NewNop()) }()
		ours, theirs := net.Pipe()
		listener.conns <- theirs
		go func() { _, _ = io.WriteString(ours, "GET /api/v1/tap HTTP/1.1\r\nHost: localhost\r\n\r\n") }()
		response, err := http.ReadResponse(bufio.NewReader(ours), nil)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(response.Body)
		next := func() string {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return line
		}
		begun := time.Now()
		for range 30 {
			if line := next(); line != "\n" {
				t.Errorf("%q, want a sign of life", line)
			}
		}
		if took := time.Since(begun); took != 30*alive {
			t.Errorf("30 signs of life in %s", took)
		}
		watch.batches <- []any{"x"}
		if line := next(); line != "\"x\"\n" {
			t.Errorf("%q", line)
		}
		cancel()
		if line := next(); line != "\"end\"\n" {
			t.Errorf("%q, want the end", line)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		<-watch.closed
		_ = ours.Close()
	})
}

// TestTapReader is one that does not read: it is let go of in the end.
func TestTapReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := &pipes{make(chan net.Conn), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		watch := newScripted()
		go func() { ended <- Serve(ctx, listener, Operator(live(watch)), zap.NewNop()) }()
		ours, theirs := net.Pipe()
		listener.conns <- theirs
		if _, err := io.WriteString(ours, "GET /api/v1/tap HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		<-watch.closed
		if took := time.Since(begun); took > writeTimeout+alive {
			t.Errorf("it is let go of after %s", took)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = ours.Close()
	})
}

// TestTapUnencodable ends where an event is none, and says nothing wrong.
func TestTapUnencodable(t *testing.T) {
	watch := newScripted()
	watch.batches <- []any{json.Number("x")}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/tap", nil)
	r.Host = "localhost"
	if w := ask(Operator(live(watch)), loopback, r); w.Body.Len() != 0 {
		t.Errorf("%q", w.Body)
	}
	<-watch.closed
}
