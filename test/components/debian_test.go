package components

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// apt is an installer of packages that are folders with programs.
type apt struct {
	dir   string
	err   error
	calls [][]string
}

func (a *apt) run(_ context.Context, _ io.Writer, args ...string) error {
	a.calls = append(a.calls, args)
	if a.err != nil || args[0] != "install" {
		return a.err
	}
	for _, name := range args[1:] {
		if program, ok := strings.CutPrefix(name, "pkg-"); ok {
			if err := os.WriteFile(filepath.Join(a.dir, program), []byte("#!/bin/sh\n"), 0o700); err != nil {
				return err
			}
		}
	}
	return nil
}

func fakePackages(dir string) []debianPackage {
	return []debianPackage{
		{Name: "pkg-there", Programs: []string{filepath.Join(dir, "there")}},
		{Name: "pkg-gone", Programs: []string{filepath.Join(dir, "gone")}},
		{Name: "pkg-file", Files: []string{filepath.Join(dir, "fi*")}},
	}
}

func newApt(t *testing.T, there ...string) *apt {
	t.Helper()
	a := &apt{dir: t.TempDir()}
	for _, name := range there {
		if err := os.WriteFile(filepath.Join(a.dir, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func TestDebianAsRootInstallsWhatIsMissing(t *testing.T) {
	a := newApt(t, "there")
	i := installer{packages: fakePackages(a.dir), root: true, run: a.run}
	if err := i.ensure(t.Context(), &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", "pkg-gone", "pkg-file"}}
	if !slices.EqualFunc(a.calls, want, slices.Equal) {
		t.Errorf("apt-get was run as %q, want %q", a.calls, want)
	}
}

func TestDebianAsUserSaysWhatToInstall(t *testing.T) {
	a := newApt(t, "there")
	i := installer{packages: fakePackages(a.dir), run: a.run}
	err := i.ensure(t.Context(), &bytes.Buffer{})
	want := "run as root: apt-get install -y --no-install-recommends pkg-gone pkg-file"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("ensure: %v, want %q", err, want)
	}
	if len(a.calls) > 0 {
		t.Errorf("apt-get was run as an ordinary user: %q", a.calls)
	}
}

func TestDebianWithEverythingThere(t *testing.T) {
	for _, root := range []bool{false, true} {
		a := newApt(t, "there", "gone", "file")
		i := installer{packages: fakePackages(a.dir), root: root, run: a.run}
		if err := i.ensure(t.Context(), &bytes.Buffer{}); err != nil || len(a.calls) > 0 {
			t.Errorf("root %v: ensure: %v; apt-get was run as %q", root, err, a.calls)
		}
	}
}

func TestDebianInstallThatFails(t *testing.T) {
	a := newApt(t, "there")
	a.err = errors.New("exit status 100")
	i := installer{packages: fakePackages(a.dir), root: true, run: a.run}
	if err := i.ensure(t.Context(), &bytes.Buffer{}); !errors.Is(err, a.err) {
		t.Errorf("ensure: %v", err)
	}
}

func TestDebianInstallThatDoesNotHelp(t *testing.T) {
	a := newApt(t, "there")
	packages := append(fakePackages(a.dir), debianPackage{Name: "empty", Files: []string{"/nonexistent/*"}})
	i := installer{packages: packages, root: true, run: a.run}
	if err := i.ensure(t.Context(), &bytes.Buffer{}); err == nil || !strings.HasSuffix(err.Error(), "still not there: empty") {
		t.Errorf("ensure: %v", err)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if file, err := LookPath("nginx"); err != nil || !strings.HasSuffix(file, "/sbin/nginx") {
		t.Errorf("outside PATH: %q, %v", file, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if file, err := LookPath("nginx"); err != nil || file != filepath.Join(dir, "nginx") {
		t.Errorf("in PATH: %q, %v", file, err)
	}
	tb := try(t.TempDir(), func(tb testing.TB) { Command(tb, "no-such-program") })
	if !tb.Failed() || !strings.Contains(tb.text(), "debian.go") {
		t.Errorf("reported %q", tb.text())
	}
}

// TestDebianPrograms is about the real ones.
func TestDebianPrograms(t *testing.T) {
	seen := map[string]string{}
	for _, p := range debianPackages() {
		if !p.present() {
			t.Errorf("%s is missing: %s", p.Name, aptLine([]string{p.Name}))
		}
		for _, program := range p.Programs {
			if seen[program] != "" {
				t.Errorf("%s is in %s and in %s", program, seen[program], p.Name)
			}
			seen[program] = p.Name
			Command(t, program)
		}
	}
}
