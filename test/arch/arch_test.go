package arch

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestArchitecture holds this module to the rules.
func TestArchitecture(t *testing.T) {
	m, err := Load(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.packages) < 5 {
		t.Fatalf("found only %d packages: the walk is wrong", len(m.packages))
	}
	for _, v := range m.Check(Rooms()) {
		t.Error(v)
	}
	sleepers, err := m.Sleepers(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range sleepers {
		t.Error(v)
	}
	for _, long := range m.Long(500) {
		t.Logf("long: %s", long)
	}
}

// goodModule is a small module that violates nothing.
func goodModule() map[string]string {
	return map[string]string{
		"go.mod":                      "module example.test/m\n\ngo 1.26\n",
		"cmd/m/main.go":               doc("Command m", "main", "example.test/m/proxy", "example.test/m/identity/files"),
		"proxy/proxy.go":              doc("Package proxy", "proxy", "example.test/m/proxy/accept", "example.test/m/proxy/http/h1", "example.test/m/metrics"),
		"proxy/accept/accept.go":      doc("Package accept", "accept", "example.test/m/tlsctx"),
		"proxy/accept/accept_test.go": src("accept_test", "testing", "example.test/m/test/ca"),
		"proxy/http/http.go":          doc("Package http", "http", "example.test/m/proxy/h2", "example.test/m/proxy/http/h1"),
		"proxy/http/h1/h1.go":         doc("Package h1", "h1", "net/http"),
		"proxy/tunnel/tunnel.go":      doc("Package tunnel", "tunnel", "example.test/m/proxy/h2"),
		"proxy/h2/h2.go":              doc("Package h2", "h2"),
		"metrics/metrics.go":          doc("Package metrics", "metrics", "example.test/m/tlsctx", "github.com/prometheus/client_golang/prometheus"),
		"tlsctx/tlsctx.go":            doc("Package tlsctx", "tlsctx", "example.test/m/identity"),
		"tlsctx/tlsctx_test.go":       src("tlsctx", "testing", "google.golang.org/grpc", "example.test/m/tlsctx/grpccreds"),
		"tlsctx/grpccreds/creds.go":   doc("Package grpccreds", "grpccreds", "example.test/m/tlsctx", "google.golang.org/grpc/credentials"),
		"identity/identity.go":        doc("Package identity", "identity"),
		"identity/files/files.go":     doc("Package files", "files", "example.test/m/identity"),
		"test/ca/ca.go":               doc("Package ca", "ca", "testing", "example.test/m/identity"),
		"test/e2e/e2e_test.go":        doc("Package e2e", "e2e", "testing", "example.test/m/proxy", "example.test/m/proxy/accept"),
		// What the go command leaves out, so does Load.
		"tlsctx/testdata/bad.go": "not Go",
		"vendor/bad/bad.go":      "not Go",
		".hidden/bad.go":         "not Go",
		"_old/bad.go":            "not Go",
		"other/go.mod":           "module example.test/other\n",
		"other/bad.go":           "not Go",
	}
}

// doc is a source file with a package comment.
func doc(begins, name string, imports ...string) string {
	return "// " + begins + " is for a test.\n" + src(name, imports...)
}

func src(name string, imports ...string) string {
	text := "package " + name + "\n"
	for _, i := range imports {
		text += "import _ \"" + i + "\"\n"
	}
	return text
}

// check plants files in the good module and returns its violations.
func check(t *testing.T, planted map[string]string) []Violation {
	t.Helper()
	m, _ := plant(t, planted)
	return m.Check(Rooms())
}

// plant loads the good module with more files, and returns its folder as well.
func plant(t *testing.T, planted map[string]string) (m *Module, root string) {
	t.Helper()
	root = t.TempDir()
	files := goodModule()
	maps.Copy(files, planted)
	for name, text := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return m, root
}

func TestSleepers(t *testing.T) {
	const sleeper = "import \"time\"\nfunc wait() { time.Sleep(1) }\n"
	m, root := plant(t, map[string]string{
		"proxy/x.go":               src("proxy") + sleeper, // the linter's to judge
		"proxy/x_test.go":          src("proxy") + sleeper,
		"proxy/synctest_test.go":   src("proxy", "testing/synctest") + sleeper,
		"test/ca/x.go":             src("ca") + sleeper,
		"test/ca/testdata/text.go": src("ca") + sleeper,
	})
	found, err := m.Sleepers(root)
	if err != nil {
		t.Fatal(err)
	}
	var places []string
	for _, v := range found {
		places = append(places, v.Place)
	}
	if want := []string{"proxy/x_test.go:3", "test/ca/x.go:3"}; !slices.Equal(places, want) {
		t.Errorf("Sleepers = %q, want %q", places, want)
	}
}

func TestGoodModule(t *testing.T) {
	for _, v := range check(t, nil) {
		t.Error(v)
	}
}

// TestPlantedViolations plants one violation at a time, each of which must be
// found, be the only one found, and be reported at its place with its reason.
func TestPlantedViolations(t *testing.T) {
	for _, test := range []struct{ name, file, text, want, reason string }{
		{"stage imports stage", "proxy/detect/x.go", doc("Package detect", "detect", "example.test/m/proxy/accept"), "imports example.test/m/proxy/accept", "no other stage"},
		{"stage imports h2", "proxy/pool/x.go", doc("Package pool", "pool", "example.test/m/proxy/h2"), "imports example.test/m/proxy/h2", "no other stage"},
		{"stage imports metrics", "proxy/route/x.go", doc("Package route", "route", "example.test/m/metrics"), "imports example.test/m/metrics", "only proxy knows"},
		{"stage imports proxy", "proxy/route/x.go", doc("Package route", "route", "example.test/m/proxy"), "imports example.test/m/proxy", "only proxy knows"},
		{"nested stage imports stage", "proxy/http/h1/x.go", src("h1", "example.test/m/proxy/accept"), "imports example.test/m/proxy/accept", "no other stage"},
		{"h2 imports tunnel", "proxy/h2/x.go", src("h2", "example.test/m/proxy/tunnel"), "imports example.test/m/proxy/tunnel", "no other stage"},
		{"http imports tunnel", "proxy/http/x.go", src("http", "example.test/m/proxy/tunnel"), "imports example.test/m/proxy/tunnel", "no other stage"},
		{"stage imports identity's source", "proxy/pool/x.go", doc("Package pool", "pool", "example.test/m/identity/files"), "imports example.test/m/identity/files", "no other stage"},
		{"stage's test imports stage", "proxy/route/x_test.go", doc("Package route", "route", "example.test/m/proxy/accept"), "imports example.test/m/proxy/accept", "no other stage"},
		{"behind a build tag", "proxy/accept/x_windows.go", "//go:build windows && never\n\n" + src("accept", "example.test/m/metrics"), "imports example.test/m/metrics", "only proxy knows"},
		{"proxy imports identity's source", "proxy/x.go", src("proxy", "example.test/m/identity/files"), "imports example.test/m/identity/files", "for cmd to choose"},
		{"proxy imports cmd", "proxy/x.go", src("proxy", "example.test/m/cmd/m"), "imports example.test/m/cmd/m", "assembles the stages"},
		{"metrics imports stage", "metrics/x.go", src("metrics", "example.test/m/proxy/accept"), "imports example.test/m/proxy/accept", "no stage"},
		{"config imports stage", "proxy/config/config.go", doc("Package config", "config", "example.test/m/proxy/accept"), "imports example.test/m/proxy/accept", "no other stage"},
		{"policy imports stage", "proxy/policy/policy.go", doc("Package policy", "policy", "example.test/m/proxy/http"), "imports example.test/m/proxy/http", "no other stage"},
		{"discovery imports test", "proxy/discovery/discovery.go", doc("Package discovery", "discovery", "example.test/m/test/ca"), "imports example.test/m/test/ca", "nothing from test"},
		{"dial imports stage", "proxy/dial/dial.go", doc("Package dial", "dial", "example.test/m/proxy/h2"), "imports example.test/m/proxy/h2", "no other stage"},
		{"admin imports metrics", "proxy/admin/admin.go", doc("Package admin", "admin", "example.test/m/metrics"), "imports example.test/m/metrics", "nor metrics"},
		{"metrics' room imports proxy", "metrics/accesslog/log.go", doc("Package accesslog", "accesslog", "example.test/m/proxy"), "imports example.test/m/proxy", "no stage"},
		{"deploy imports proxy", "deploy/deploy.go", doc("Package deploy", "deploy", "example.test/m/proxy"), "imports example.test/m/proxy", "is configuration"},
		{"identity's sources share", "identity/internal/watch/watch.go", doc("Package watch", "watch", "example.test/m/identity"), "", ""},
		{"bench sees everything", "test/bench/bench_test.go", doc("Package bench", "bench", "example.test/m/proxy/accept", "example.test/m/identity/files"), "", ""},
		{"tlsctx imports proxy", "tlsctx/x.go", src("tlsctx", "example.test/m/proxy"), "imports example.test/m/proxy", "any Go program"},
		{"tlsctx imports metrics", "tlsctx/x.go", src("tlsctx", "example.test/m/metrics"), "imports example.test/m/metrics", "any Go program"},
		{"tlsctx imports identity's source", "tlsctx/x.go", src("tlsctx", "example.test/m/identity/files"), "imports example.test/m/identity/files", "any Go program"},
		{"tlsctx imports gRPC", "tlsctx/x.go", src("tlsctx", "google.golang.org/grpc/credentials"), "imports google.golang.org/grpc/credentials", "brings no gRPC"},
		{"tlsctx imports gRPC through go-spiffe", "tlsctx/x.go", src("tlsctx", "github.com/spiffe/go-spiffe/v2/workloadapi"), "imports github.com/spiffe/go-spiffe/v2/workloadapi", "brings no gRPC"},
		{"tlsctx imports its adapter", "tlsctx/x.go", src("tlsctx", "example.test/m/tlsctx/grpccreds"), "imports example.test/m/tlsctx/grpccreds", "brings no gRPC"},
		{"tlsctx's test imports proxy", "tlsctx/x_test.go", src("tlsctx", "example.test/m/proxy"), "imports example.test/m/proxy", "nothing of the proxy"},
		{"adapter imports metrics", "tlsctx/grpccreds/x.go", src("grpccreds", "example.test/m/metrics"), "imports example.test/m/metrics", "nothing of the proxy"},
		{"identity imports ours", "identity/x.go", src("identity", "example.test/m/tlsctx"), "imports example.test/m/tlsctx", "nothing of ours"},
		{"identity imports its source", "identity/x.go", src("identity", "example.test/m/identity/files"), "imports example.test/m/identity/files", "nothing of ours"},
		{"identity imports gRPC", "identity/x.go", src("identity", "google.golang.org/grpc"), "imports google.golang.org/grpc", "few dependencies"},
		{"identity's source imports proxy", "identity/files/x.go", src("files", "example.test/m/proxy/config"), "imports example.test/m/proxy/config", "nothing of the proxy"},
		{"production imports test", "tlsctx/x.go", src("tlsctx", "example.test/m/test/ca"), "imports example.test/m/test/ca", "nothing from test"},
		{"cmd imports test", "cmd/m/x.go", src("main", "example.test/m/test/ca"), "imports example.test/m/test/ca", "nothing from test"},
		{"production imports testing", "proxy/accept/x.go", src("accept", "testing"), "imports testing", "not a test"},
		{"cgo", "proxy/accept/x.go", src("accept", "C"), "imports C", "without cgo"},
		{"banned folder", "proxy/util/x.go", doc("Package wires", "wires"), "says nothing", "what it provides"},
		{"banned name", "tlsctx/wires/x.go", doc("Package helpers", "helpers"), "says nothing", "what it provides"},
		{"banned test package", "test/wires/x_test.go", doc("Package common_test", "common_test"), "says nothing", "what it provides"},
		{"no package comment", "proxy/balance/x.go", src("balance"), "no package comment", "what it is for"},
		{"licence is no package comment", "proxy/balance/x.go", "// Copyright\n" + src("balance"), "no package comment", "what it is for"},
		{"comment in a test only", "proxy/balance/x_test.go", doc("Package balance", "balance"), "", ""},
		{"unknown room", "hub/x.go", doc("Package hub", "hub"), "in no room", "lists the rooms"},
		{"root", "x.go", doc("Package m", "m"), "in no room", "lists the rooms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := check(t, map[string]string{test.file: test.text})
			if test.want == "" {
				if len(found) > 0 {
					t.Errorf("found %q, want nothing", found)
				}
				return
			}
			if len(found) != 1 {
				t.Fatalf("found %d violations, want 1: %q", len(found), found)
			}
			v := found[0]
			if !strings.HasPrefix(test.file, v.Place) && !(v.Place == "." && test.file == "x.go") {
				t.Errorf("reported at %s, want %s", v.Place, test.file)
			}
			if !strings.Contains(v.What, test.want) || !strings.Contains(v.Reason, test.reason) {
				t.Errorf("reported %q, want %q and %q", v, test.want, test.reason)
			}
		})
	}
}

func TestLoadRefusesWhatIsNoModule(t *testing.T) {
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a folder without go.mod is accepted")
	}
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte("go 1.26\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(root); err == nil {
		t.Error("a go.mod without a module line is accepted")
	}
}

func TestLong(t *testing.T) {
	m := &Module{packages: []*pkg{{files: []file{
		{name: "a.go", lines: 500},
		{name: "b.go", lines: 501},
		{name: "b_test.go", lines: 501, test: true},
	}}}}
	if got := m.Long(500); len(got) != 1 || got[0] != "b.go (501 lines)" {
		t.Errorf("Long = %q", got)
	}
}
