package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// planted are files that each break one ban of .golangci.yml, with a part of the
// message. A file with an empty message breaks none: there, the ban is lifted.
func planted() map[string]struct{ source, message string } {
	return map[string]struct{ source, message string }{
		"proxy/accept/sleep.go":      {`func f() { time.Sleep(time.Second) }`, "wait for what you are waiting for"},
		"proxy/accept/sleep_test.go": {`func f() { time.Sleep(time.Second) }`, ""},
		"proxy/accept/print.go":      {`func f() { fmt.Println() }`, "does not write to standard output"},
		"cmd/m/print.go":             {`func f() { fmt.Println() }`, ""},
		"proxy/pool/tls.go":          {`func f() any { return &tls.Config{MinVersion: tls.VersionTLS13} }`, "TLS is configured in tlsctx alone"},
		"tlsctx/tls.go":              {`func f() any { return &tls.Config{MinVersion: tls.VersionTLS13} }`, ""},
		"tlsctx/verify.go":           {`func f(c *x509.Certificate) error { _, err := c.Verify(x509.VerifyOptions{}); return err }`, "go-spiffe verifies chains"},
		"tlsctx/asn1.go":             {`func f() ([]byte, error) { return asn1.Marshal(1) }`, "CVE-2025-58185"},
		"tlsctx/oid.go":              {`func f() any { return asn1.ObjectIdentifier{1, 3} }`, ""},
		"identity/exit.go":           {`func f() { os.Exit(1) }`, "only main exits"},
		"metrics/todo.go":            {`func f() any { return context.TODO() }`, "there is always a context"},
		"metrics/get.go":             {`func f() any { return http.DefaultClient }`, "the defaults have no timeouts"},
		"metrics/rand.go":            {`func f() int { return rand.Int() }`, "use math/rand/v2"},
		"metrics/log.go":             {`func f() { log.Print() }`, "log with the zap logger"},
		"proxy/http/h1/http.go":      {`func f() any { return http.Header{} }`, "the data path has its own HTTP"},
		"proxy/h2/http.go":           {`func f() any { return http.Header{} }`, "the data path has its own HTTP"},
		"proxy/admin/http.go":        {`func f() any { return http.Header{} }`, ""},
		"proxy/tunnel/json.go":       {`func f() ([]byte, error) { return json.Marshal(1) }`, "reflection has no place in the data path"},
		"proxy/route/init.go":        {`func init() {}`, "gochecknoinits"},
		"proxy/route/nolint.go":      {`func f() { print() } //nolint`, "should mention specific linter"},
		"proxy/route/reason.go":      {`func f() { print() } //nolint:forbidigo`, "should provide explanation"},
		"proxy/route/exported.go":    {`func F() {}`, "exported function F should have comment"},
		"proxy/route/long.go":        {"func f(n int) int {\n" + strings.Repeat("\tn *= n + 1\n", 75) + "\treturn n\n}", "is too long"},
		"proxy/route/errorlint.go":   {`func f(err error) bool { return err == os.ErrExist }`, "errors.Is"},
	}
}

// importsOf are the imports that a planted source needs.
func importsOf(source string) string {
	paths := map[string]string{
		"time.": "time", "fmt.": "fmt", "tls.": "crypto/tls", "x509.": "crypto/x509", "asn1.": "encoding/asn1", "os.": "os",
		"context.": "context", "http.": "net/http", "rand.": "math/rand", "log.": "log", "json.": "encoding/json",
	}
	text := ""
	for _, use := range slices.Sorted(maps.Keys(paths)) {
		if strings.Contains(source, use) {
			text += "import \"" + paths[use] + "\"\n"
		}
	}
	return text
}

// TestLintBans runs the real golangci-lint with the project's configuration over
// one violation of each ban: nobody would notice a ban whose pattern matches
// nothing, nor an exception that lifts too much.
func TestLintBans(t *testing.T) {
	config, err := os.ReadFile(filepath.Join("..", "..", ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{".golangci.yml": string(config)}
	for name, p := range planted() {
		unique := "f" + strings.TrimSuffix(filepath.Base(name), ".go")
		source := strings.Replace(p.source, "func f(", "func "+unique+"(", 1)
		files[name] = "package planted\n\n" + importsOf(source) + "\n" + source + "\n"
		if source != p.source {
			files[name] += "\nvar _ = " + unique + "\n"
		}
	}
	p, out := module(t, files)
	t.Setenv("GOFLAGS", "-buildvcs=false")
	if err := p.golangci(t.Context()); err == nil {
		t.Error("golangci-lint passes all of it")
	}
	for name, want := range planted() {
		var found []string
		for line := range strings.Lines(out.String()) {
			if message, ok := strings.CutPrefix(line, name+":"); ok && !strings.Contains(message, "package comment") {
				found = append(found, message)
			}
		}
		switch {
		case want.message == "" && len(found) > 0:
			t.Errorf("%s: found %q, want nothing", name, found)
		case want.message != "" && !strings.Contains(strings.Join(found, ""), want.message):
			t.Errorf("%s: found %q, want %q", name, found, want.message)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}
