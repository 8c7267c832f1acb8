//go:build unix

package accesslog

import (
	"context"
	"os"
	"os/exec"
	"testing"
)

// childVariable tells a copy of this program to write to its standard output.
const childVariable = "HALLMARK_TEST_BROKEN_STDOUT"

// TestBrokenStdout has nobody read the standard output of a process: the Go
// runtime would end it for writing there.
func TestBrokenStdout(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		w := NewWriter(WriterConfig{Open: Stdout()})
		for range 3 {
			_, _ = w.Write([]byte("lost\n"))
		}
		if err := w.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if w.Dropped() != 3 {
			t.Fatalf("dropped %d, want 3", w.Dropped())
		}
		_ = os.Stdout.Close() // the verdict is the exit status
		return
	}
	r, broken, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	defer broken.Close()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBrokenStdout$")
	child.Env = append(os.Environ(), childVariable+"=1")
	child.Stdout = broken
	if err := child.Run(); err != nil {
		t.Errorf("the process that nobody reads: %v", err)
	}
}
