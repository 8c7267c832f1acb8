package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// entry is a database in the form that govulncheck takes from a folder: one
// entry, about a function of the standard library.
const entry = `{
  "schema_version": "1.3.1", "id": "GO-2026-9999", "modified": "2026-01-01T00:00:00Z", "published": "2026-01-01T00:00:00Z",
  "summary": "planted", "details": "planted", "database_specific": {"url": "https://example.test", "review_status": "REVIEWED"},
  "affected": [{
    "package": {"name": "stdlib", "ecosystem": "Go"},
    "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
    "ecosystem_specific": {"imports": [{"path": "strings", "symbols": ["Repeat"]}]}
  }]
}`

const (
	calls    = "package main\n\nimport \"strings\"\n\nfunc main() { println(strings.Repeat(\"x\", 3)) }\n"
	callsNot = "package main\n\nfunc main() { println(\"x\") }\n"
	notice   = "NOT CHECKED FOR VULNERABILITIES"
)

// unavailable is a database that answers, but with 503.
func unavailable(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead { // govulncheck looks what is there before it asks for it
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestVuln runs the real govulncheck: what it finds fails, what keeps it from
// looking is told apart from what else goes wrong.
func TestVuln(t *testing.T) {
	govulncheck := components.Path(t, components.Govulncheck)
	t.Setenv("GOFLAGS", "-buildvcs=false")
	for _, test := range []struct {
		name   string
		source string
		db     func(t *testing.T, p project) string
		fails  string // in the error; "" if the check passes
		notice bool
	}{
		{name: "finding", source: calls, db: folder, fails: "vulnerabilities found"},
		{name: "nothing found", source: callsNot, db: folder},
		{name: "no connection", source: calls, db: unreachable, notice: true},
		{name: "no service", source: calls, db: func(t *testing.T, _ project) string { return unavailable(t) }, notice: true},
		{name: "no such folder", source: calls, db: func(*testing.T, project) string { return "file:///nonexistent" }, fails: "the check itself failed"},
		{name: "does not compile", source: "package main\n\nfunc main() { undefined() }\n", db: unreachable, fails: "the check itself failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, out := module(t, map[string]string{"main.go": test.source, "db/GO-2026-9999.json": entry})
			var args []string
			if db := test.db(t, p); db != "" {
				args = []string{"-db", db}
			}
			err := p.scan(t.Context(), govulncheck, append(args, "./...")...)
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Errorf("scan: %v, want %q\n%s", err, test.fails, out)
			}
			if strings.Contains(out.String(), notice) != test.notice {
				t.Errorf("notice: want %v\n%s", test.notice, out)
			}
		})
	}
}

// folder is a database with the entry.
func folder(_ *testing.T, p project) string { return "file://" + p.root + "/db" }

// unreachable is the usual database, behind a proxy that nobody runs.
func unreachable(t *testing.T, _ project) string {
	t.Helper()
	t.Setenv("HTTPS_PROXY", "http://"+components.FreeAddr(t))
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	t.Setenv("https_proxy", "")
	return ""
}

func TestVulnWithoutTheTool(t *testing.T) {
	p, _ := module(t, nil)
	if err := p.scan(t.Context(), "/nonexistent/govulncheck"); err == nil {
		t.Error("a check that cannot run passes")
	}
}
