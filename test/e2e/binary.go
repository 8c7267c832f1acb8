package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// Build is a folder with the binary. [Build.Remove] ends its life; the zero value
// works.
type Build struct {
	once sync.Once
	dir  string
	err  error
}

// Run runs the tests of a package, removes the build that they share, and returns
// the code for os.Exit: not 0 if a goroutine is left.
func (b *Build) Run(m *testing.M) (code int) {
	code = m.Run()
	b.Remove()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// Binary returns the path of the binary, which is built by the first caller.
func (b *Build) Binary(tb testing.TB) string {
	tb.Helper()
	b.once.Do(b.build)
	if b.err != nil {
		tb.Fatal(b.err)
	}
	return filepath.Join(b.dir, "hallmark")
}

func (b *Build) build() {
	if b.dir, b.err = os.MkdirTemp("", "hallmark-e2e"); b.err != nil {
		return
	}
	// Other users run hard links of it.
	if b.err = os.Chmod(b.dir, 0o755); b.err != nil {
		return
	}
	args := []string{"build", "-buildvcs=false", "-o", filepath.Join(b.dir, "hallmark")}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/hallmark-mesh/hallmark/cmd/hallmark")...).CombinedOutput()
	if err != nil {
		b.err = fmt.Errorf("e2e: build the binary: %w\n%s", err, out)
	}
}

// Linked returns the path of another name of the binary, which SPIRE takes for
// another executable. The name lasts as long as the build.
func (b *Build) Linked(tb testing.TB, name string) string {
	tb.Helper()
	binary := b.Binary(tb)
	dir, err := os.MkdirTemp(b.dir, name)
	if err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	path := filepath.Join(dir, "hallmark-"+name)
	if err := os.Link(binary, path); err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	return path
}

// Remove removes what was built.
func (b *Build) Remove() {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}
