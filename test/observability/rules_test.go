package observability

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// deployed is where the files lie that are tested here.
const deployed = "../../deploy/observability"

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// promtool runs Prometheus's own checker among the deployed files.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), components.Path(t, components.Promtool), args...)
	cmd.Dir = deployed
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

// TestPromtool has the scrape configuration and the rules be valid, and each rule
// do what its tests say.
func TestPromtool(t *testing.T) {
	promtool(t, "check", "config", "prometheus.yaml")
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")
	promtool(t, "test", "rules", "rules.test.yaml")
}

// rule is a rule of rules.yaml.
type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(deployed, "rules.yaml"))), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// TestAlerts wants of each alert a test in which it fires and one in which it does
// not, a severity, what it is about, what to do, and a place in the documentation.
func TestAlerts(t *testing.T) {
	var tests struct {
		Tests []struct {
			Rules []struct {
				Alertname string
				Alerts    []any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
			Queries []struct {
				Expr    string
				Samples []any `json:"exp_samples"`
			} `json:"promql_expr_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(deployed, "rules.test.yaml"))), &tests); err != nil {
		t.Fatal(err)
	}
	fires, quiet := make(map[string]bool), make(map[string]bool)
	for _, test := range tests.Tests {
		for _, q := range test.Queries {
			if len(q.Samples) > 0 {
				fires[q.Expr] = true
			}
		}
		for _, r := range test.Rules {
			quiet[r.Alertname] = len(r.Alerts) == 0
		}
	}
	page := read(t, "../../docs/observability.md")
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if !fires[`ALERTS{alertname="`+r.Alert+`",alertstate="firing"}`] || !quiet[r.Alert] {
			t.Errorf("%s has no test in which it fires, or none in which it does not", r.Alert)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 80 {
			t.Errorf("%s does not say what it is about and what to do", r.Alert)
		}
		if !strings.Contains(page, "| `"+r.Alert+"` | "+r.Labels["severity"]+" |") {
			t.Errorf("docs/observability.md has no line of %s, %s", r.Alert, r.Labels["severity"])
		}
	}
}

// TestDocumentedNames has the rules ask for nothing that docs/metrics.md, which is
// held to what is exported, does not know.
func TestDocumentedNames(t *testing.T) {
	known := read(t, "../../docs/metrics.md")
	for _, r := range rules(t) {
		for _, name := range metricNames(r.Expr) {
			if !strings.Contains(known, "`"+name+"`") {
				t.Errorf("%s asks for %s, which there is not", r.Record+r.Alert, name)
			}
		}
	}
}

// metricNames returns the names of our metrics in a query, without what a
// histogram or a recording adds to them.
func metricNames(query string) []string {
	var names []string
	for _, name := range regexp.MustCompile(`\b[a-z]*:?(?:istio|hallmark)_[a-z0-9_]+(?::[a-z0-9_]+)?`).FindAllString(query, -1) {
		if strings.Contains(name, ":") {
			continue // recorded by a rule, which is looked at itself
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		names = append(names, name)
	}
	return names
}
