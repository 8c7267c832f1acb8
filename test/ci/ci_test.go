package main

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// module writes a module's files to a folder and returns the project in it.
func module(t *testing.T, files map[string]string) (project, *bytes.Buffer) {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{"go.mod": "module example.test/m\n\ngo 1.26\n"}
	maps.Copy(all, files)
	for name, text := range all {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := &bytes.Buffer{}
	return project{root: root, out: out, fuzzTime: time.Second}, out
}

func testFile(name, body string) string {
	return "package m\n\nimport \"testing\"\n\nfunc " + name + " {\n" + body + "\n}\n"
}

func TestStepsGoOnAfterAFailure(t *testing.T) {
	var ran []string
	var out bytes.Buffer
	made := func(name string, err error) step {
		return step{name: name, run: func(context.Context) error { ran = append(ran, name); return err }}
	}
	err := runSteps(t.Context(), &out, []step{made("one", nil), made("two", errors.New("broken")), made("three", nil)})
	if want := []string{"one", "two", "three"}; !slices.Equal(ran, want) {
		t.Errorf("ran %q, want %q", ran, want)
	}
	if err == nil || err.Error() != "1 of 3 parts failed: two" {
		t.Errorf("runSteps: %v", err)
	}
	for _, want := range []string{"==> 2/3 two: ", "<== two", "broken\n", "==> summary"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing from\n%s", want, &out)
		}
	}
	if err := runSteps(t.Context(), &out, []step{made("one", nil)}); err != nil {
		t.Errorf("runSteps: %v", err)
	}
}

func TestStepsStopAfterANeededOne(t *testing.T) {
	var out bytes.Buffer
	err := runSteps(t.Context(), &out, []step{
		{name: "first", needed: true, run: func(context.Context) error { return errors.New("broken") }},
		{name: "second", run: func(context.Context) error { t.Error("ran"); return nil }},
	})
	if err == nil || !strings.Contains(err.Error(), "2 of 2 parts failed") {
		t.Errorf("runSteps: %v", err)
	}
}

func TestStepsStopWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := runSteps(ctx, &bytes.Buffer{}, []step{
		{name: "first", run: func(context.Context) error { cancel(); return nil }},
		{name: "second", run: func(context.Context) error { t.Error("ran"); return nil }},
	})
	if err == nil {
		t.Error("an interrupted run succeeded")
	}
}

func TestRecap(t *testing.T) {
	var out bytes.Buffer
	r := &recap{out: &out}
	const text = "ok  \tm/a\t0.1s\n?   \tm/b\t[no test files]\n--- FAIL: TestX (0.00s)\n    x_test.go:1: no\nFAIL\nFAIL\tm/c\t0.2s\n"
	for _, b := range []byte(text) { // in the smallest of pieces
		if _, err := r.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if out.String() != text {
		t.Errorf("passed on %q", &out)
	}
	out.Reset()
	r.print()
	const want = "\n==> the tests once more\nok  \tm/a\t0.1s\n--- FAIL: TestX (0.00s)\nFAIL\nFAIL\tm/c\t0.2s\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", &out, want)
	}
}

func TestDiscover(t *testing.T) {
	p, _ := module(t, map[string]string{
		"a/a_test.go":           testFile("FuzzA(f *testing.F)", "") + "func TestA(t *testing.T) {}\nfunc Fuzzy() {}\nfunc TestMain(m *testing.M) {}\n",
		"a/b_test.go":           testFile("FuzzB(f *testing.F)", ""),
		"a/race_test.go":        "//go:build !race\n\n" + testFile("TestAllocs(t *testing.T)", ""),
		"a/both_test.go":        "//go:build !race && linux\n\n" + testFile("TestMemory(t *testing.T)", ""),
		"a/only_test.go":        "//go:build race\n\n" + testFile("TestRace(t *testing.T)", ""),
		"a/long_test.go":        "//go:build long\n\n" + testFile("TestSoak(t *testing.T)", ""),
		"a/x_plan9_test.go":     testFile("FuzzPlan9(f *testing.F)", ""),
		"a/testdata/x_test.go":  "not Go",
		"vendor/x/x_test.go":    "not Go",
		"c/d/c_test.go":         testFile("FuzzA(f *testing.F)", ""),
		"c/d/code.go":           "package m\n\nfunc FuzzNoTest() {}\n",
		"c/d/method_test.go":    "package m\n\ntype x int\n\nfunc (x) FuzzMethod() {}\n",
		"c/long_race_test.go":   "//go:build long && !race\n\n" + testFile("TestLongMemory(t *testing.T)", ""),
		"c/d/.hidden/x_test.go": "not Go",
	})
	for _, test := range []struct {
		prefix string
		tags   tags
		want   []function
	}{
		{"Fuzz", always, []function{{"./a", "FuzzA"}, {"./a", "FuzzB"}, {"./c/d", "FuzzA"}}},
		{"Test", unlessRace, []function{{"./a", "TestAllocs"}, {"./a", "TestMemory"}}},
		{"Test", onlyLong, []function{{"./a", "TestSoak"}, {"./c", "TestLongMemory"}}},
	} {
		got, err := discover(p.root, test.prefix, test.tags)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: discovered %v, want %v", test.prefix, got, test.want)
		}
	}
}

func TestPattern(t *testing.T) {
	functions := []function{{"./b", "TestB"}, {"./a", "TestA"}, {"./a", "TestB"}}
	if got := patternOf(functions); got != "^(TestA|TestB)$" {
		t.Errorf("patternOf = %q", got)
	}
	if got := packagesOf(functions); !slices.Equal(got, []string{"./a", "./b"}) {
		t.Errorf("packagesOf = %q", got)
	}
}

func TestNoRaceRunsWhatTheRaceDetectorHides(t *testing.T) {
	p, out := module(t, map[string]string{
		"m_test.go":      testFile("TestOther(t *testing.T)", `t.Error("is not to run")`),
		"race_test.go":   "//go:build !race\n\n" + testFile("TestAllocs(t *testing.T)", `t.Error("allocates")`),
		"broken/x.go":    "package broken\n\nfunc",
		"broken/go.mod":  "module example.test/broken\n",
		"empty/empty.go": "package empty\n",
	})
	if err := p.race(t.Context()); err == nil || strings.Contains(out.String(), "allocates") {
		t.Errorf("with the race detector: %v\n%s", err, out)
	}
	out.Reset()
	if err := p.norace(t.Context()); err == nil || !strings.Contains(out.String(), "allocates") || strings.Contains(out.String(), "is not to run") {
		t.Errorf("without the race detector: %v\n%s", err, out)
	}
}

func TestLongTests(t *testing.T) {
	p, out := module(t, map[string]string{
		"m_test.go":    testFile("TestOther(t *testing.T)", `t.Error("is not to run")`),
		"long_test.go": "//go:build long\n\n" + testFile("TestSoak(t *testing.T)", `t.Log("soaked")`),
	})
	if err := p.long(t.Context()); err != nil {
		t.Errorf("long: %v", err)
	}
	for _, want := range []string{"date:", "machine:", "revision: unknown", "tests:    1", "soaked", "PASS: TestSoak"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing from\n%s", want, out)
		}
	}
	p, _ = module(t, map[string]string{"long_test.go": "//go:build long\n\n" + testFile("TestSoak(t *testing.T)", `t.Error("leaks")`)})
	if err := p.long(t.Context()); err == nil {
		t.Error("a long test that fails does not fail the run")
	}
}

func TestFuzz(t *testing.T) {
	const good = `f.Fuzz(func(*testing.T, []byte) {})`
	const bad = `f.Add([]byte("a")); f.Fuzz(func(t *testing.T, b []byte) { if len(b) > 2 { t.Error("too long") } })`
	p, out := module(t, map[string]string{
		"a/a_test.go": testFile("FuzzGood(f *testing.F)", good),
		"b/b_test.go": testFile("FuzzBad(f *testing.F)", bad),
		"c/c_test.go": testFile("FuzzAlsoGood(f *testing.F)", good),
	})
	p.fuzzTime = time.Minute // FuzzBad fails within moments
	good1 := function{"./a", "FuzzGood"}
	short := p
	short.fuzzTime = 100 * time.Millisecond
	if err := short.fuzzOne(t.Context(), good1); err != nil {
		t.Errorf("a good target: %v\n%s", err, out)
	}
	if err := p.fuzzOne(t.Context(), function{"./b", "FuzzBad"}); err == nil || !strings.Contains(out.String(), "too long") {
		t.Errorf("a bad target: %v\n%s", err, out)
	}
	// The input that it failed with is in testdata now: it fails at once, the
	// targets after it are run all the same, and the run fails.
	out.Reset()
	err := short.fuzz(t.Context())
	if err == nil || err.Error() != "./b FuzzBad" {
		t.Errorf("fuzz: %v\n%s", err, out)
	}
	if !strings.Contains(out.String(), "./c FuzzAlsoGood\n") {
		t.Errorf("a target after a failure was not run:\n%s", out)
	}
}

func TestFuzzDeadlineIsNoFailure(t *testing.T) {
	const head = "fuzz: elapsed: 3s, execs: 40304 (0/sec), new interesting: 104 (total: 108)\n"
	const tail = "FAIL\nexit status 1\nFAIL\tm\t3.202s\n"
	for _, test := range []struct {
		name, output string
		want         bool
	}{
		{"deadline", head + "--- FAIL: FuzzX (3.20s)\n    context deadline exceeded\n" + tail, true},
		{"finding", head + "--- FAIL: FuzzX (3.20s)\n    --- FAIL: FuzzX (0.00s)\n        x_test.go:9: no\n\n    Failing input written to testdata/fuzz/FuzzX/1\n" + tail, false},
		{"finding that says the same", head + "--- FAIL: FuzzX (3.20s)\n    context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzX/1\n" + tail, false},
		{"seed that says the same", "--- FAIL: FuzzX (0.00s)\n    --- FAIL: FuzzX/seed#0 (0.00s)\n        x_test.go:9: context deadline exceeded\n" + tail, false},
		{"hang", head + "--- FAIL: FuzzX (3.20s)\n    fuzzing process hung or terminated unexpectedly: exit status 2\n" + tail, false},
		{"does not compile", "x_test.go:1: context deadline exceeded\nFAIL\tm [build failed]\n", false},
	} {
		if got := onlyDeadline([]byte(test.output)); got != test.want {
			t.Errorf("%s: onlyDeadline = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"nonsense"}, {"lint", "more"}, {"-nonsense"}} {
		if err := run(t.Context(), &bytes.Buffer{}, args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
