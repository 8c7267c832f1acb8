package accesslog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// device is an output that can be full, stuck or broken.
type device struct {
	mu      sync.Mutex
	written bytes.Buffer
	opened  int
	fail    error // of the next writes
	short   int   // bytes that a failing write takes
	stuck   chan struct{}
}

func (d *device) open() (io.WriteCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened++
	return d, nil
}

// Write implements io.Writer.
func (d *device) Write(b []byte) (int, error) {
	d.mu.Lock()
	stuck := d.stuck
	d.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		n := min(d.short, len(b))
		d.written.Write(b[:n])
		return n, d.fail
	}
	return d.written.Write(b)
}

// Close implements io.Closer.
func (d *device) Close() error { return nil }

func (d *device) set(fail error, short int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail, d.short = fail, short
}

func (d *device) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written.String()
}

// write writes lines and waits until the writer has nothing to do.
func write(t *testing.T, w *Writer, lines string) {
	t.Helper()
	if n, err := w.Write([]byte(lines)); n != len(lines) || err != nil {
		t.Fatalf("Write = %d, %v; it must take everything", n, err)
	}
	synctest.Wait()
}

func TestWriterWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{}
		w := NewWriter(WriterConfig{Open: d.open})
		write(t, w, "one\n")
		write(t, w, "two\nthree\n")
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := d.text(); got != "one\ntwo\nthree\n" {
			t.Errorf("written %q", got)
		}
		if d.opened != 1 || w.Dropped() != 0 {
			t.Errorf("opened %d times, dropped %d", d.opened, w.Dropped())
		}
		write(t, w, "late\n")
		if w.Dropped() != 1 {
			t.Errorf("a line after Close: dropped %d, want 1", w.Dropped())
		}
	})
}

// TestFullDisk fills the disk in the middle of a line and makes room again.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{}
		told := 0
		w := NewWriter(WriterConfig{Open: d.open, OnDrop: func(n int) { told += n }})
		write(t, w, "first\n")
		d.set(syscall.ENOSPC, 9)
		write(t, w, "second\nthird\nfourth\n")
		d.set(syscall.ENOSPC, 0)
		write(t, w, "fifth\n")
		d.set(nil, 0)
		write(t, w, "sixth\n")
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		// What was torn is ended, so that no line is glued to it.
		if got, want := d.text(), "first\nsecond\nth\nsixth\n"; got != want {
			t.Errorf("written %q, want %q", got, want)
		}
		if w.Dropped() != 3 || told != 3 {
			t.Errorf("dropped %d and told %d, want 3", w.Dropped(), told)
		}
		if d.opened != 1 {
			t.Errorf("a full disk made it open the file %d times", d.opened)
		}
	})
}

// TestDevFull writes to a real device that is always full.
func TestDevFull(t *testing.T) {
	w := NewWriter(WriterConfig{Open: File("/dev/full")})
	_, _ = w.Write([]byte("lost\n"))
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.Dropped() != 1 {
		t.Errorf("dropped %d, want 1", w.Dropped())
	}
}

// TestStuck is about a pipe that nobody reads: nobody who writes waits, and when
// it is read again, lines come through again.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{stuck: make(chan struct{})}
		w := NewWriter(WriterConfig{Open: d.open, Buffer: 10})
		write(t, w, "1234\n") // in the stuck write
		write(t, w, "held\n")
		write(t, w, "held\n")
		write(t, w, "gone\n")
		write(t, w, "a\nb\nc\n")
		if w.Dropped() != 4 {
			t.Errorf("dropped %d, want 4", w.Dropped())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		closing := make(chan error)
		go func() { closing <- w.Close(ctx) }()
		if err := <-closing; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close of a stuck writer = %v, want a deadline", err)
		}
		close(d.stuck)
		<-w.done
		if got := d.text(); got != "1234\nheld\nheld\n" {
			t.Errorf("written %q", got)
		}
	})
}

func TestResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{stuck: make(chan struct{})}
		w := NewWriter(WriterConfig{Open: d.open, Buffer: 5})
		write(t, w, "1234\n")
		write(t, w, "5678\n")
		write(t, w, "gone\n")
		d.mu.Lock()
		close(d.stuck)
		d.stuck = nil
		d.mu.Unlock()
		synctest.Wait()
		write(t, w, "back\n")
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := d.text(); got != "1234\n5678\nback\n" || w.Dropped() != 1 {
			t.Errorf("written %q, dropped %d", got, w.Dropped())
		}
	})
}

// TestBrokenPipe loses the reader of a real pipe, and gets a new one.
func TestBrokenPipe(t *testing.T) {
	r, first, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	d := &device{}
	opens := 0
	dropped := make(chan int, 1)
	w := NewWriter(WriterConfig{OnDrop: func(n int) { dropped <- n }, Open: func() (io.WriteCloser, error) {
		if opens++; opens == 1 {
			return first, nil
		}
		return d.open()
	}})
	_, _ = w.Write([]byte("lost\n"))
	if n := <-dropped; n != 1 {
		t.Errorf("dropped %d, want 1", n)
	}
	_, _ = w.Write([]byte("there\n"))
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := d.text(); got != "there\n" {
		t.Errorf("written %q", got)
	}
}

// TestRotation renames the file away, as logrotate does.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := NewWriter(WriterConfig{Open: File(path)})
	_, _ = w.Write([]byte("old\n"))
	waitFor(t, path, "old\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	w.Reopen()
	_, _ = w.Write([]byte("new\n"))
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path: "new\n", path + ".1": "old\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("the log can be read by everybody: %v, %v", info.Mode(), err)
	}
}

func waitFor(t *testing.T, path, want string) {
	t.Helper()
	for {
		got, _ := os.ReadFile(path)
		if string(got) == want {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s holds %q, want %q", path, got, want)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestUnopenable(t *testing.T) {
	w := NewWriter(WriterConfig{Open: File(filepath.Join(t.TempDir(), "missing", "access.log"))})
	_, _ = w.Write([]byte("a\nb\n"))
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.Dropped() != 2 {
		t.Errorf("dropped %d, want 2", w.Dropped())
	}
}

// TestConcurrent has many writers; each line arrives whole, once, in the order of
// its writer.
func TestConcurrent(t *testing.T) {
	d := &device{}
	w := NewWriter(WriterConfig{Open: d.open})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 500 {
				_, _ = w.Write([]byte(strings.Repeat(string(rune('a'+i)), 20) + "\n"))
			}
		})
	}
	wg.Wait()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(d.text(), "\n"), "\n")
	if got := len(lines) + int(w.Dropped()); got != 8*500 {
		t.Errorf("%d lines written or dropped, want %d", got, 8*500)
	}
	for _, line := range lines {
		if len(line) != 20 || strings.Trim(line, line[:1]) != "" {
			t.Fatalf("torn line %q", line)
		}
	}
}
