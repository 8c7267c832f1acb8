package observability

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// dashboard is what matters here of a dashboard of Grafana's.
type dashboard struct {
	UID, Title    string
	Tags          []string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any
			Definition string
		}
	}
	Annotations struct {
		List []struct{ Expr string }
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ Type, UID string }
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []target
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Transformations          []struct {
		ID      string
		Options struct{ RenameByName map[string]string }
	}
}

type target struct {
	RefID, Expr, LegendFormat, Format string
	Datasource                        struct{ Type, UID string }
}

// load reads all dashboards.
func load(t *testing.T) map[string]*dashboard {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(deployed, "dashboards", "*.json"))
	if err != nil || len(files) < 3 {
		t.Fatalf("dashboards: %q, %v", files, err)
	}
	all := make(map[string]*dashboard)
	for _, file := range files {
		d := new(dashboard)
		if err := json.Unmarshal([]byte(read(t, file)), d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = d
	}
	return all
}

// TestDashboardsAreSound looks at what Grafana would silently put up with: panels
// on top of one another, numbers without a unit, variables that there are not.
func TestDashboardsAreSound(t *testing.T) {
	uids, page := make(map[string]bool), read(t, "../../docs/observability.md")
	for file, d := range load(t) {
		if d.UID == "" || uids[d.UID] || d.SchemaVersion < 39 || !slices.Contains(d.Tags, "hallmark") {
			t.Errorf("%s: uid %q, schema %d, tags %q", file, d.UID, d.SchemaVersion, d.Tags)
		}
		uids[d.UID] = true
		if !strings.Contains(page, "**"+d.Title+"**") {
			t.Errorf("docs/observability.md does not tell of %s", d.Title)
		}
		if len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" {
			t.Errorf("%s: the first variable is not the data source", file)
		}
		ids, taken := make(map[int]bool), make(map[[2]int]string)
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: %s: its number is taken", file, p.Title)
			}
			ids[p.ID] = true
			checkPlace(t, file, &p, taken)
			if p.Type != "row" {
				checkPanel(t, file, d, &p)
			}
		}
	}
}

// checkPlace fails if a panel is where another is.
func checkPlace(t *testing.T, file string, p *panel, taken map[[2]int]string) {
	t.Helper()
	g := p.GridPos
	if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
		t.Errorf("%s: %s is at %+v", file, p.Title, g)
	}
	for x := g.X; x < g.X+g.W; x++ {
		for y := g.Y; y < g.Y+g.H; y++ {
			if other, there := taken[[2]int{x, y}]; there {
				t.Errorf("%s: %s is on top of %s", file, p.Title, other)
				return
			}
			taken[[2]int{x, y}] = p.Title
		}
	}
}

func checkPanel(t *testing.T, file string, d *dashboard, p *panel) {
	t.Helper()
	units := []string{"none", "percentunit", "reqps", "cps", "ops", "mps", "ms", "s", "bytes", "Bps"}
	types := []string{"stat", "timeseries", "table", "heatmap"}
	if p.Title == "" || p.Description == "" || !slices.Contains(types, p.Type) || p.Type != "table" && !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
		t.Errorf("%s: panel %d, %q, is a %q of %q, and described by %q", file, p.ID, p.Title, p.Type, p.FieldConfig.Defaults.Unit, p.Description)
	}
	if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
		t.Errorf("%s: %s asks %q for %d things", file, p.Title, p.Datasource.UID, len(p.Targets))
	}
	known := []string{"__rate_interval"}
	for _, v := range d.Templating.List {
		known = append(known, v.Name)
	}
	refs := make(map[string]bool)
	for _, q := range p.Targets {
		if refs[q.RefID] || q.RefID == "" || q.Datasource.UID != "${datasource}" {
			t.Errorf("%s: %s: query %q asks %q", file, p.Title, q.RefID, q.Datasource.UID)
		}
		refs[q.RefID] = true
		for _, name := range regexp.MustCompile(`\$\{?([a-z_]+)`).FindAllStringSubmatch(q.Expr, -1) {
			if !slices.Contains(known, name[1]) {
				t.Errorf("%s: %s: there is no variable %s", file, p.Title, name[0])
			}
		}
	}
}

// TestDashboardsKnowTheirMetrics has dashboards ask for nothing that is not
// exported.
func TestDashboardsKnowTheirMetrics(t *testing.T) {
	known := read(t, "../../docs/metrics.md")
	for file, d := range load(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				for _, name := range metricNames(q.Expr) {
					if !strings.Contains(known, "`"+name+"`") {
						t.Errorf("%s: %s asks for %s, which there is not", file, p.Title, name)
					}
				}
			}
		}
	}
}

// looks are what is chosen in the variables, one after the other: every query has
// to find something in one of them.
func looks() []map[string]string {
	return []map[string]string{
		{"namespace": "shop", "workload": "cart", "instance": ".*"},
		{"namespace": "shop", "workload": "web"},
		{"namespace": "data", "workload": "redis"},
	}
}

// dashboards has Prometheus answer every query of every dashboard, and wants the
// labels that legends and tables speak of.
func dashboards(t *testing.T, m *mesh) {
	for file, d := range load(t) {
		for _, v := range d.Templating.List {
			if v.Type == "query" {
				m.variable(t, file, v.Definition)
			}
		}
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				labels := m.found(t, file+": "+p.Title, q.Expr)
				for _, name := range regexp.MustCompile(`{{([a-z_]+)}}`).FindAllStringSubmatch(q.LegendFormat, -1) {
					if !labels[name[1]] {
						t.Errorf("%s: %s: the legend speaks of %s, and there is %v", file, p.Title, name[1], slices.Sorted(maps.Keys(labels)))
					}
				}
				for _, change := range p.Transformations {
					for name := range change.Options.RenameByName {
						if !strings.HasPrefix(name, "Value") && !labels[name] {
							t.Errorf("%s: %s: the table speaks of %s, and there is %v", file, p.Title, name, slices.Sorted(maps.Keys(labels)))
						}
					}
				}
			}
		}
	}
}

// found asks until there is a number, and returns the labels that there are.
func (m *mesh) found(t *testing.T, what, query string) map[string]bool {
	t.Helper()
	labels := make(map[string]bool)
	e2e.Eventually(t, what+" shows something", func() error {
		for _, look := range looks() {
			text := strings.ReplaceAll(query, "$__rate_interval", "10s")
			for name, value := range look {
				text = strings.ReplaceAll(text, "$"+name, value)
			}
			samples, err := m.prometheus.Query(t.Context(), text)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if !hasValues(samples) {
				continue
			}
			for _, s := range samples {
				for name := range s.Labels {
					labels[name] = true
				}
			}
			return nil
		}
		return fmt.Errorf("nothing is found by %s", query)
	})
	return labels
}

// variable wants values for a variable: label_values(selector, label).
func (m *mesh) variable(t *testing.T, file, definition string) {
	t.Helper()
	parts := regexp.MustCompile(`^label_values\((.+), ([a-z_]+)\)$`).FindStringSubmatch(definition)
	if parts == nil {
		t.Fatalf("%s: %s is no variable", file, definition)
	}
	selector := strings.ReplaceAll(parts[1], "$namespace", "shop")
	m.prometheus.Await(t, "count by ("+parts[2]+") ("+selector+")", func(s []apps.Sample) bool {
		return slices.ContainsFunc(s, func(s apps.Sample) bool { return s.Labels[parts[2]] != "" })
	})
}
