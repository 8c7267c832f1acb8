package admin

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// ask has a handler answer a request that came in over the given local address.
func ask(handler http.Handler, local net.Addr, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local)))
	return w
}

var loopback = net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:9901"))

func everything() OperatorConfig {
	return OperatorConfig{
		Hosts: []string{"admin.internal"}, PProf: true,
		Ready:    func() error { return nil },
		Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "metrics") }),
		Config:   func() ([]any, error) { return nil, nil },
		Sessions: func(int) []Session { return nil },
	}
}

func TestHost(t *testing.T) {
	elsewhere := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::7]:9901"))
	unix := &net.UnixAddr{Name: "/run/admin.sock", Net: "unix"}
	for _, test := range []struct {
		host  string
		local net.Addr
		want  bool
	}{
		{"localhost", loopback, true},
		{"LocalHost:9901", loopback, true},
		{"127.0.0.1:9901", loopback, true},
		{"127.9.9.9", loopback, true},
		{"[::1]:9901", loopback, true},
		{"[::1]", loopback, true},
		{"[::ffff:127.0.0.1]:1", loopback, true},
		{"admin.internal:9901", loopback, true},
		{"ADMIN.internal", loopback, true},
		{"[2001:db8::7]:9901", elsewhere, true},
		{"anything.at.all", unix, true},
		{"", unix, true},

		// A name of the attacker's that resolves to loopback.
		{"evil.example:9901", loopback, false},
		{"127.0.0.1.evil.example", loopback, false},
		{"localhost.evil.example", loopback, false},
		{"localhost.", loopback, false},
		{"admin.internal.evil.example", loopback, false},
		{"xadmin.internal", loopback, false},
		{"192.0.2.1:9901", loopback, false},
		{"[2001:db8::7]:9901", loopback, false},
		{"[2001:db8::8]:9901", elsewhere, false},
		{"0.0.0.0", loopback, false},
		{"", loopback, false},
		{":9901", loopback, false},
		{"localhost:", loopback, false},
		{"localhost:99999", loopback, false},
		{"localhost:80@evil.example", loopback, false},
		{"evil.example@localhost", loopback, false},
		{"localhost/evil", loopback, false},
		{"localhost\\evil", loopback, false},
		{"[::1", loopback, false},
		{"::1", loopback, false},
		{"[::1]evil", loopback, false},
		{"[::1]:", loopback, false},
		{"[::1%lo]", loopback, false},
		{"[127.0.0.1]", loopback, false},
		{"2130706433", loopback, false}, // 127.0.0.1 to some
		{"0x7f.1", loopback, false},
		{"127.1", loopback, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		r.Host = test.host
		w := ask(Operator(everything()), test.local, r)
		want := http.StatusForbidden
		if test.want {
			want = http.StatusOK
		}
		if w.Code != want {
			t.Errorf("Host %q over %v: %d, want %d", test.host, test.local, w.Code, want)
		}
	}
}

// FuzzHost looks for a Host that is let in and is neither loopback nor known.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"localhost:1", "127.0.0.1", "[::1]:9901", "evil.example", "[::1", "localhost:80@evil.example", "127.1", "admin.internal"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if !isOurs(header, []string{"admin.internal"}, loopback) {
			return
		}
		// What a browser takes from it must be one of the three.
		u, err := url.Parse("http://" + header + "/")
		if err != nil {
			t.Fatalf("%q is let in, and no URL has it: %v", header, err)
		}
		host := strings.ToLower(u.Hostname())
		address, err := netip.ParseAddr(host)
		if host != "localhost" && host != "admin.internal" && (err != nil || !address.Unmap().IsLoopback()) {
			t.Fatalf("%q is let in, and is %q", header, host)
		}
		if u.User != nil || u.Path != "/" {
			t.Fatalf("%q is let in, and is %v", header, u)
		}
	})
}

// TestLedHere is about what a browser sends that a foreign page has led here.
func TestLedHere(t *testing.T) {
	for _, test := range []struct {
		name, value string
		want        int
	}{
		{"Origin", "http://localhost:9901", http.StatusOK},
		{"Sec-Fetch-Site", "same-origin", http.StatusOK},
		{"Sec-Fetch-Site", "none", http.StatusOK},
		{"Origin", "http://evil.example", http.StatusForbidden},
		{"Origin", "https://localhost:9901", http.StatusForbidden},
		{"Origin", "http://localhost:8080", http.StatusForbidden},
		{"Origin", "http://localhost", http.StatusForbidden},
		{"Origin", "null", http.StatusForbidden},
		{"Origin", "", http.StatusForbidden},
		{"Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		{"Sec-Fetch-Site", "same-site", http.StatusForbidden}, // localhost:8080 is that
		{"Sec-Fetch-Site", "", http.StatusForbidden},
	} {
		r := httptest.NewRequest(http.MethodGet, "/peers", nil)
		r.Host = "localhost:9901"
		r.Header.Set(test.name, test.value)
		w := ask(Operator(everything()), loopback, r)
		if w.Code != test.want {
			t.Errorf("%s: %q: %d, want %d", test.name, test.value, w.Code, test.want)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Error("a foreign page may read it")
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/peers", nil)
	r.Host = "localhost:9901"
	r.Header["Origin"] = []string{"http://localhost:9901", "http://evil.example"}
	if w := ask(Operator(everything()), loopback, r); w.Code != http.StatusForbidden {
		t.Errorf("two origins: %d", w.Code)
	}
}

// TestOnlyLooking tries to change something by every page of both ports.
func TestOnlyLooking(t *testing.T) {
	for name, handler := range map[string]http.Handler{
		"public": Public(PublicConfig{Metrics: everything().Metrics, Ready: everything().Ready}), "operator": Operator(everything()),
	} {
		for _, path := range []string{
			"/", "/healthz", "/readyz", "/metrics", "/config", "/config.json", "/peers", "/peers.json",
			"/debug/pprof/heap", "/debug/pprof/profile", "/quitquitquit", "/nothing",
		} {
			for _, method := range []string{
				http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace, "BREW", "get",
			} {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Method, r.Host = method, "localhost"
				w := ask(handler, loopback, r)
				if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
					t.Errorf("%s: %s %s: %d, Allow %q", name, method, path, w.Code, w.Header().Get("Allow"))
				}
			}
			r := httptest.NewRequest(http.MethodGet, path, strings.NewReader("body"))
			r.Host = "localhost"
			if w := ask(handler, loopback, r); w.Code != http.StatusBadRequest {
				t.Errorf("%s: GET %s with a body: %d", name, path, w.Code)
			}
		}
	}
}

// TestQuery sees what pages get to see of a query.
func TestQuery(t *testing.T) {
	var seen string
	handler := harmless(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.URL.RawQuery }))
	for query, want := range map[string]string{
		"":                         "",
		"gc=1&seconds=5&debug=2":   "debug=2&seconds=5",
		"name[]=up&collect[]=x":    "",
		"seconds=-1":               "",
		"seconds=9999999999999999": "",
		"seconds=1e9&debug=<x>":    "",
		"%zz&seconds=1":            "",
		"seconds=1;debug=1":        "",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.RawQuery = query
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if seen != want {
			t.Errorf("query %q became %q, want %q", query, seen, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	for _, host := range []string{"localhost", "evil.example"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		h := ask(Operator(everything()), loopback, r).Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", host, name, h.Get(name), want)
			}
		}
		if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: policy %q", host, h.Get("Content-Security-Policy"))
		}
	}
}
