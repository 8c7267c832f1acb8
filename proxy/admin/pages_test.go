package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"sigs.k8s.io/yaml"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// get asks the operator's port for a page.
func get(t *testing.T, c OperatorConfig, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "localhost"
	return ask(Operator(c), loopback, r)
}

func webSession() Session {
	return Session{
		ID: 7, Side: "server", Kind: tlsctx.Mux, Remote: "10.0.0.1:4000", Opened: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Streams: 2, Total: 9, Sent: 10, Received: 20,
		Peer: &tlsctx.Peer{
			ID: spiffeid.RequireFromString("spiffe://example.org/ns/shop/sa/web"), Aware: true, Detected: tlsctx.Redis, Target: "cache",
			Attributes: tlsctx.Attributes{
				{Name: "k8s.namespace.name", Value: "shop", Provenance: tlsctx.Verified},
				{Name: "service.name", Value: "web \u202e\n\x1b[31m", Provenance: tlsctx.Asserted},
			},
		},
	}
}

func TestPeers(t *testing.T) {
	plain := Session{ID: 8, Side: "client", Kind: tlsctx.Raw, Peer: &tlsctx.Peer{}, Remote: "10.0.0.2:1", Opened: time.Now()}
	c := OperatorConfig{Sessions: func(int) []Session { return []Session{webSession(), plain} }}

	var answer struct {
		Sessions []struct {
			ID         uint64 `json:"id"`
			SPIFFEID   string `json:"spiffeId"`
			Aware      bool   `json:"aware"`
			Attributes []struct{ Name, Value, Provenance string }
			Opened     time.Time
			Open       int    `json:"streamsOpen"`
			Total      int    `json:"streamsTotal"`
			Sent       int    `json:"bytesSent"`
			Received   int    `json:"bytesReceived"`
			Target     string `json:"target"`
		}
		Truncated bool
	}
	w := get(t, c, "/peers.json")
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.Sessions) != 2 || answer.Truncated {
		t.Fatalf("%v: %s", err, w.Body)
	}
	s := answer.Sessions[0]
	if s.ID != 7 || s.SPIFFEID != "spiffe://example.org/ns/shop/sa/web" || !s.Aware || s.Open != 2 || s.Total != 9 ||
		s.Sent != 10 || s.Received != 20 || s.Target != "cache" || !s.Opened.Equal(webSession().Opened) {
		t.Errorf("session %+v", s)
	}
	if len(s.Attributes) != 2 || s.Attributes[0].Value != "shop" || s.Attributes[0].Provenance != "verified" || s.Attributes[1].Provenance != "asserted" {
		t.Errorf("attributes %+v", s.Attributes)
	}
	if answer.Sessions[1].SPIFFEID != "" {
		t.Error("a plaintext peer has an identity")
	}

	page := get(t, c, "/peers").Body.String()
	for _, want := range []string{
		"2 open sessions", "spiffe://example.org/ns/shop/sa/web", `verified    k8s.namespace.name="shop"`, "asserted    service.name=",
		"2 open, 9 in all", "10 to the destination, 20 back", "dialled by the peer", "plaintext", "since       2026-01-02T03:04:05Z",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	for _, r := range page {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%q gets to the terminal", r)
		}
	}
}

// TestRequestsOfSession calls the streams of a session for messages what they are.
func TestRequestsOfSession(t *testing.T) {
	c := OperatorConfig{Sessions: func(int) []Session {
		s := webSession()
		s.Kind = tlsctx.H2
		return []Session{s}
	}}
	if page := get(t, c, "/peers").Body.String(); !strings.Contains(page, "\n  requests    2 open, 9 in all\n") || strings.Contains(page, "streams ") {
		t.Errorf("page:\n%s", page)
	}
}

// TestManyPeers bounds what is shown.
func TestManyPeers(t *testing.T) {
	c := OperatorConfig{Sessions: func(most int) []Session {
		many := make([]Session, most)
		for i := range many {
			many[i] = webSession()
		}
		return many
	}}
	if page := get(t, c, "/peers").Body.String(); !strings.HasPrefix(page, "the first 1000 open sessions\n") {
		t.Errorf("page begins %.40q", page)
	}
	var answer peersAnswer
	if err := json.Unmarshal(get(t, c, "/peers.json").Body.Bytes(), &answer); err != nil || !answer.Truncated || len(answer.Sessions) != 1000 {
		t.Errorf("%v: %d sessions, truncated %v", err, len(answer.Sessions), answer.Truncated)
	}
}

func TestConfig(t *testing.T) {
	type resource struct {
		Kind string `json:"kind"`
		Spec any    `json:"spec"`
	}
	c := OperatorConfig{Config: func() ([]any, error) {
		return []any{resource{"Proxy", map[string]int{"a": 1}}, resource{"Inbound", "x"}}, nil
	}}
	documents := strings.Split(get(t, c, "/config").Body.String(), "---\n")
	if len(documents) != 2 {
		t.Fatalf("%d documents", len(documents))
	}
	var second resource
	if err := yaml.UnmarshalStrict([]byte(documents[1]), &second); err != nil || second.Kind != "Inbound" {
		t.Errorf("second document %+v, %v", second, err)
	}
	var list []resource
	if err := json.Unmarshal(get(t, c, "/config.json").Body.Bytes(), &list); err != nil || len(list) != 2 || list[0].Kind != "Proxy" {
		t.Errorf("list %+v, %v", list, err)
	}
	c.Config = func() ([]any, error) { return nil, errors.New("broken\x1b") }
	for _, path := range []string{"/config", "/config.json"} {
		if w := get(t, c, path); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "\x1b") {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}

// TestReadiness tells the reason to the operator alone.
func TestReadiness(t *testing.T) {
	failing := func() error { return errors.New("no SVID for uid 1000") }
	operator := get(t, OperatorConfig{Ready: failing}, "/readyz")
	if operator.Code != http.StatusServiceUnavailable || !strings.Contains(operator.Body.String(), "uid 1000") {
		t.Errorf("operator: %d %q", operator.Code, operator.Body)
	}
	w := httptest.NewRecorder()
	Public(PublicConfig{Ready: failing}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "uid") {
		t.Errorf("public: %d %q", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	Public(PublicConfig{Ready: failing}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != http.StatusOK {
		t.Errorf("not ready is not unhealthy: %d", w.Code)
	}
}

// TestPublic has nothing on it that is the operator's.
func TestPublic(t *testing.T) {
	handler := Public(PublicConfig{Metrics: everything().Metrics, Ready: everything().Ready})
	for _, path := range []string{"/", "/config", "/config.json", "/peers", "/peers.json", "/debug/pprof/", "/debug/pprof/heap"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || w.Body.String() != "metrics" {
		t.Errorf("/metrics: %d %q", w.Code, w.Body)
	}
}

func TestIndex(t *testing.T) {
	c := everything()
	c.Version = "<v1>"
	page := get(t, c, "/").Body.String()
	for _, want := range []string{`href="/config"`, `href="/peers.json"`, `href="/debug/pprof/heap"`, "&lt;v1&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	c.PProf = false
	if page := get(t, c, "/").Body.String(); strings.Contains(page, "pprof") {
		t.Error("profiles are listed although they are off")
	}
}

func TestProfilesAreOff(t *testing.T) {
	c := everything()
	c.PProf = false
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile"} {
		if w := get(t, c, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestProfiles(t *testing.T) {
	c := everything()
	if w := get(t, c, "/debug/pprof/goroutine?debug=1"); !strings.Contains(w.Body.String(), "TestProfiles") {
		t.Errorf("no stack of ours in %.200q", w.Body)
	}
	w := get(t, c, "/debug/pprof/heap")
	if gzip := w.Body.Bytes(); len(gzip) < 2 || gzip[0] != 0x1f || gzip[1] != 0x8b {
		t.Errorf("heap profile begins %.20q", w.Body)
	}
	r := httptest.NewRequest(http.MethodHead, "/debug/pprof/profile?seconds=60", nil)
	r.Host = "localhost"
	if w := ask(Operator(c), loopback, r); w.Code != http.StatusOK {
		t.Errorf("HEAD: %d", w.Code)
	}
}

// TestRecording lasts as long as it is asked to and not longer than allowed.
func TestRecording(t *testing.T) {
	for query, want := range map[string]time.Duration{
		"": 10 * time.Second, "?seconds=3": 3 * time.Second, "?seconds=3600": time.Minute, "?seconds=0": 10 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			stopped := false
			handler := during(func(io.Writer) error { return nil }, func() { stopped = true })
			begun := time.Now()
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/"+query, nil))
			if took := time.Since(begun); took != want || !stopped {
				t.Errorf("%q took %s and stopped: %v; want %s", query, took, stopped, want)
			}
		})
	}
	busy := during(func(io.Writer) error { return errors.New("already in use") }, func() { t.Error("stopped another's profile") })
	w := httptest.NewRecorder()
	busy.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusConflict {
		t.Errorf("busy: %d", w.Code)
	}
}
