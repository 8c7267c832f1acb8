package metrics

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// everything makes a recorder on which each metric has a series.
func everything(t *testing.T) fixture {
	t.Helper()
	f := newFixture(t, Config{Linkerd: true})
	f.OpenConnection(inbound(web(t))).Close(Outcome{})
	f.Requests(toUs(web(t))).Record(Request{Status: 200, IsGRPC: true})
	f.Requests(toUs(web(t))).Record(Request{Status: 503, Outcome: Outcome{Reason: "upstream_refused"}})
	f.Handshake(Server, time.Millisecond, web(t), nil)
	f.Handshake(Server, time.Millisecond, nil, &tlsctx.Error{Reason: tlsctx.TimedOut, Err: errors.New("x")})
	f.Detected(Detection{Protocol: tlsctx.Redis, How: "client"})
	f.Authorized(Allowed, "", "")
	f.LimitMet("x")
	s := f.OpenSession(SessionInfo{Side: Server, Kind: tlsctx.Raw, Peer: web(t)})
	t.Cleanup(func() { s.Close("ended") })
	f.OpenSession(SessionInfo{Side: Server, Kind: tlsctx.Raw, Peer: web(t)}).Close("ended")
	f.Reloaded(1, nil)
	f.Engine(func() Engine { return Engine{Listeners: []Listener{{Reporter: Source, Name: "x"}}} })
	return f
}

// row is a metric as docs/metrics.md has it.
type row struct {
	kind, help string
	labels     []string
}

// documented reads the tables of docs/metrics.md.
func documented(t *testing.T) map[string]row {
	t.Helper()
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string][]string{
		"traffic":          append(istioLabels(), flagsLabel),
		"request":          append(istioLabels(), answerLabels()...),
		"ends":             istioLabels(),
		"linkerd":          linkerdLabels(),
		"linkerd request":  linkerdRequestLabels(),
		"linkerd response": append(linkerdRequestLabels(), linkerdResponseLabels()...),
	}
	rows := make(map[string]row)
	line := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (counter|gauge|histogram) \\| ?(.*?) ?\\| (.+) \\|$")
	for _, m := range line.FindAllStringSubmatch(string(page), -1) {
		r := row{kind: m[2], help: m[4]}
		for label := range strings.SplitSeq(m[3], ", ") {
			switch {
			case label == "":
			case strings.HasPrefix(label, "`"):
				r.labels = append(r.labels, strings.Trim(label, "`"))
			default:
				r.labels = append(r.labels, sets[label]...)
			}
		}
		slices.Sort(r.labels)
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s is in docs/metrics.md twice", m[1])
		}
		rows[m[1]] = r
	}
	return rows
}

// TestDocumented holds docs/metrics.md to what is exported, both ways.
func TestDocumented(t *testing.T) {
	f := everything(t)
	families, err := f.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	rows := documented(t)
	for _, family := range families {
		name := family.GetName()
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		r, ok := rows[name]
		if !ok {
			t.Errorf("%s is not in docs/metrics.md: %s", name, family.GetHelp())
			continue
		}
		delete(rows, name)
		var labels []string
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, pair.GetName())
		}
		if kind := strings.ToLower(family.GetType().String()); kind != r.kind || !slices.Equal(labels, r.labels) {
			t.Errorf("%s is a %s of %q, and documented as a %s of %q", name, kind, labels, r.kind, r.labels)
		}
		if strings.HasPrefix(name, "hallmark_") && family.GetHelp() != r.help {
			t.Errorf("%s is documented as %q, and says itself %q", name, r.help, family.GetHelp())
		}
		checkName(t, family)
	}
	for name := range rows {
		t.Errorf("%s is in docs/metrics.md, and nowhere else", name)
	}
}

// checkName holds names of ours to the conventions of Prometheus.
func checkName(t *testing.T, family *dto.MetricFamily) {
	t.Helper()
	name := family.GetName()
	if family.GetType() == dto.MetricType_COUNTER != strings.HasSuffix(name, "_total") {
		t.Errorf("%s: counters, and nothing else, end in _total", name)
	}
	for _, unit := range []string{"_ms", "_milliseconds", "_kb", "_minutes"} {
		if strings.HasPrefix(name, "hallmark_") && strings.Contains(name, unit) {
			t.Errorf("%s has no base unit", name)
		}
	}
}

// TestDocumentedLabels holds the table from attribute to label to the default,
// and the tables of labels and flags to the code.
func TestDocumentedLabels(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for label, attributes := range DefaultLabels() {
		line := fmt.Sprintf("| `%s` | `%s` |", label, strings.Join(attributes, "`, `"))
		if !strings.Contains(string(page), line) {
			t.Errorf("docs/metrics.md has no line %s", line)
		}
	}
	for _, label := range append(istioLabels(), answerLabels()...) {
		if !strings.Contains(string(page), "`"+label+"`") {
			t.Errorf("docs/metrics.md does not explain %s", label)
		}
	}
	for f := range Flag(flags) {
		if !strings.Contains(string(page), "`"+f.String()+"`") {
			t.Errorf("docs/metrics.md does not explain the flag %s", f)
		}
	}
}
