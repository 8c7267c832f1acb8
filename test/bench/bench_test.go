package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// TestMain makes the test binary the program, when it is run as a backend or as
// a proxy.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == backendRole || os.Args[1] == contenders.NetHTTPRole) {
		main()
		return
	}
	code := m.Run()
	program.Remove()
	os.Exit(code)
}

// program is Hallmark, for the tests that need it.
var program e2e.Build

// TestFunction runs every workload with every contender, a few calls each: it is
// about function, not about time.
func TestFunction(t *testing.T) {
	var out, progress bytes.Buffer
	folder := filepath.Join(t.TempDir(), "report")
	args := []string{"-rounds=1", "-barred=1", "-checks=1", "-calls=4", "-out=" + folder, "-revision=test", "-hallmark=" + program.Binary(t)}
	if err := run(t.Context(), &out, &progress, args); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	checkJSON(t, folder)
	checkLines(t, out.String())
	checkTables(t, folder)
	markdown, err := os.ReadFile(filepath.Join(folder, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\]\((.*\.svg)\)`).FindAllStringSubmatch(string(markdown), -1) {
		plot, err := os.Open(filepath.Join(folder, name[1]))
		if err != nil {
			t.Fatal(err)
		}
		defer plot.Close()
		decoder := xml.NewDecoder(plot)
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name[1], err)
			}
		}
	}
}

// given are contenders that only whoever has their program can run.
var given = []string{"linkerd2-proxy", "ztunnel"}

// checkJSON wants a sample without errors of every contender under every
// workload that suits it.
func checkJSON(t *testing.T, folder string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, c := range checks() {
		for _, g := range append([]foreign{{name: ownName}}, c.foreign...) {
			i := slices.IndexFunc(r.Checks, func(one Checked) bool { return one.Check == c.Name && one.Generator == g.name })
			if i < 0 || r.Checks[i].Calls != 4 || r.Checks[i].Errors != 0 {
				t.Errorf("check %s of %s: %d of %+v", c.Name, g.name, i, r.Checks)
			}
		}
	}
	present, absent := options{hallmark: "there"}.pick()
	for name, reason := range absent {
		if !slices.Contains(given, name) {
			t.Errorf("without %s: %s", name, reason)
		}
	}
	for _, w := range workloads() {
		for _, c := range present {
			samples := r.of(w.Name, c.Name)
			if !slices.Contains(c.Modes, w.Mode) {
				continue
			}
			if len(samples) != 1 {
				t.Errorf("%s, %s: %d samples", w.Name, c.Name, len(samples))
				continue
			}
			s := samples[0]
			if s.Errors != 0 || s.Calls != 4 {
				t.Errorf("%s, %s: %d calls, %d errors: %s", w.Name, c.Name, s.Calls, s.Errors, s.Error)
			}
			if c.Name != "none" && (s.OutboundCPU <= 0 || s.InboundCPU <= 0 || s.OutboundMemory < 1<<20 || s.InboundMemory < 1<<20) {
				t.Errorf("%s, %s: CPU and memory are %+v", w.Name, c.Name, s)
			}
		}
	}
}

// checkTables wants every figure that is promised among the tables, and the tables
// of the JSON alone to be the same.
func checkTables(t *testing.T, folder string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join(folder, "tables.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"CPU of both proxies", "at saturation", "Latency, http1-1KB-1000rps", "p99.9", "over none", "handshakes/s",
		"start-up", "per connection in", "peak out", "stunnel", "hallmark-quiet", "hallmark-raw", "The load generator", "wrk", "h2load",
	} {
		if !strings.Contains(string(want), part) {
			t.Errorf("the tables lack %q:\n%s", part, want)
		}
	}
	document := filepath.Join(t.TempDir(), "document.md")
	if err := os.WriteFile(document, []byte("before\n"+tablesBegin+"\nold\n"+tablesEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-from=" + filepath.Join(folder, "report.json"), "-into=" + document}
	for range 2 {
		if err := run(t.Context(), io.Discard, io.Discard, args); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if text := "before\n" + tablesBegin + "\n\n" + strings.ReplaceAll(string(want), "\n## ", "\n### ") + tablesEnd + "\nafter\n"; string(got) != text {
		t.Errorf("the document is\n%s\nwant\n%s", got, text)
	}
	if err := os.WriteFile(document, []byte("no place"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), io.Discard, io.Discard, args); err == nil {
		t.Error("tables go into a document without a place for them")
	}
}

// checkLines wants the output to end with the bars.
func checkLines(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	pattern := regexp.MustCompile(`^bar [a-zA-Z0-9/-]+ ([0-9.]+|NaN) [0-9.]+ (holds|short)$`)
	for _, line := range lines[len(lines)-len(bars()):] {
		if !pattern.MatchString(line) {
			t.Errorf("the output does not end with bars, but with %q", line)
		}
	}
}

// TestProfile takes profiles of one load; what is in them depends on the time that
// they had.
func TestProfile(t *testing.T) {
	var out bytes.Buffer
	folder := t.TempDir()
	stale := filepath.Join(folder, "stale.pprof")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-profile", "-workloads=connect", "-measure=1s", "-warm=100ms", "-hallmark=" + program.Binary(t), "-out=" + folder}
	if err := run(t.Context(), &out, io.Discard, args); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, load := range []string{"all", "connect"} {
		for _, side := range []string{"outbound", "inbound"} {
			for what, kind := range map[string]string{"cpu": "cpu", "allocs": "alloc_space"} {
				name := load + "-" + side + "-" + what
				want = append(want, name+".pprof")
				for _, by := range []string{"flat", "cum"} {
					if load == "all" && !strings.Contains(out.String(), "== "+name+", by "+by+"\nFile: hallmark") || !strings.Contains(out.String(), "Type: "+kind) {
						t.Errorf("nothing is printed of %s by %s", name, by)
					}
				}
			}
		}
	}
	want = append(want, "merged.pprof", "summary.txt")
	slices.Sort(want)
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("the folder has %q, want %q", got, want)
	}
	if !strings.Contains(out.String(), "proxy.(*listener)") {
		t.Errorf("no function of the proxy is in\n%s", &out)
	}
}

func TestErrorsMarkARun(t *testing.T) {
	b := bench{plan: plan{Calls: 4}, out: io.Discard, backends: map[backend]string{tcpBackend: deaf(t)}}
	w := workloads()[slices.IndexFunc(workloads(), func(w workload) bool { return w.Name == "tcp-echo" })]
	w.Callers = 2
	s, err := b.visit(t.Context(), w, contenders.None(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if s.Errors != 4 || s.Error == "" {
		t.Errorf("the sample is %+v", s)
	}
	if !strings.Contains(s.String(), "4 ERRORS") {
		t.Errorf("the line of progress is %q", s)
	}
}

func samplesOf(pairs ...[2]float64) []Sample {
	var samples []Sample
	for round, p := range pairs {
		samples = append(samples,
			Sample{Workload: "w", Contender: "a", Round: round, Rate: p[0]},
			Sample{Workload: "w", Contender: "b", Round: round, Rate: p[1]})
	}
	return samples
}

func TestJudge(t *testing.T) {
	var ten [][2]float64
	for i := range 10 {
		ten = append(ten, [2]float64{float64(2 + i), 2})
	}
	samples := samplesOf(ten...) // quotients from 1 to 5.5, median 3.25
	for _, test := range []struct {
		limit   float64
		atLeast bool
		holds   bool
	}{{3.25, false, true}, {3.2, false, false}, {3.25, true, true}, {3.3, true, false}} {
		v := judge(bar{"n", "w", "a", "b", callRate, test.limit, test.atLeast}, samples)
		if v.Holds != test.holds || v.Ratio.Median != 3.25 || v.Ratio.Pairs != 10 || v.Ratio.Lower >= 3.25 || v.Ratio.Upper <= 3.25 {
			t.Errorf("%+v: %+v", test, v)
		}
	}
	easy := bar{"n", "w", "a", "b", callRate, 100, false}
	if v := judge(easy, samples[:18]); v.Holds || v.Note == "" {
		t.Errorf("nine pairs hold: %+v", v)
	}
	samples[3].Errors = 1
	if v := judge(easy, samples); v.Holds || v.Note == "" {
		t.Errorf("a run with errors holds: %+v", v)
	}
	if v := judge(easy, nil); v.Holds || !math.IsNaN(v.Ratio.Median) {
		t.Errorf("no samples: %+v", v)
	}
}

func TestBarsNameWorkloadsThatExist(t *testing.T) {
	for _, b := range bars() {
		i := slices.IndexFunc(workloads(), func(w workload) bool { return w.Name == b.Workload })
		if i < 0 {
			t.Errorf("bar %s: no workload %q", b.Name, b.Workload)
			continue
		}
		if !slices.Contains(contenders.Named(t, b.Against).Modes, workloads()[i].Mode) {
			t.Errorf("bar %s: %s cannot do %s", b.Name, b.Against, b.Workload)
		}
	}
}

func TestScope(t *testing.T) {
	var order []string
	err := scoped(context.Background(), "name", func(tb testing.TB) {
		tb.Cleanup(func() { order = append(order, "first") })
		tb.Cleanup(func() {
			order = append(order, fmt.Sprint("second ", tb.Context().Err() != nil))
			tb.Cleanup(func() { order = append(order, "nested") })
		})
		tb.Logf("seen")
		tb.Fatalf("failed with %d", 7)
		order = append(order, "not reached")
	})
	if err == nil || !strings.Contains(err.Error(), "name: failed with 7") || !strings.Contains(err.Error(), "seen") {
		t.Errorf("the error is %v", err)
	}
	if want := []string{"second true", "first", "nested"}; !slices.Equal(order, want) {
		t.Errorf("cleaned up in the order %q, want %q", order, want)
	}
	if err := scoped(context.Background(), "name", func(testing.TB) {}); err != nil {
		t.Errorf("nothing failed: %v", err)
	}
}

func TestFlags(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, io.Discard, []string{"-list"}); err != nil || !strings.Contains(out.String(), "tcp-echo") || !strings.Contains(out.String(), "ghostunnel") {
		t.Errorf("-list: %v\n%s", err, &out)
	}
	for _, args := range [][]string{{"-workloads=none-such"}, {"-profile"}, {"-profile", "-hallmark=/none-such"}, {"-from=/none-such"}, {"-contenders=none-such"}, {"extra"}, {backendRole, "none-such", "127.0.0.1:0"}, {backendRole}} {
		if err := run(t.Context(), io.Discard, io.Discard, args); err == nil {
			t.Errorf("%q succeeds", args)
		}
	}
	quick, err := parse([]string{"-quick"})
	if err != nil {
		t.Fatal(err)
	}
	full, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if quick.plan.Measure >= full.plan.Measure || quick.plan.BarredRounds < minPairs || full.plan.Rounds < minPairs {
		t.Errorf("quick is %+v, full is %+v", quick.plan, full.plan)
	}
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{1500 * time.Nanosecond: "2µs", 2346 * time.Microsecond: "2.35ms", -2 * time.Millisecond: "-2.00ms", 3 * time.Second: "3.00s"} {
		if got := brief(d); got != want {
			t.Errorf("%d is %q, want %q", d, got, want)
		}
	}
}

// deaf is the address of a server that closes every connection once it has read
// something.
func deaf(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Read(make([]byte, 1))
				conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}
