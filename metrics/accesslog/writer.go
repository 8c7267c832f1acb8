package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

// DefaultBuffer is how many bytes a [Writer] holds unless told otherwise.
const DefaultBuffer = 1 << 20

// Output says where a [Writer] writes. It is opened by the writer's goroutine,
// and again after [Writer.Reopen].
type Output func() (io.WriteCloser, error)

// Stdout returns the output to the process's standard output, which goes on
// when nobody reads it any more.
func Stdout() Output { return standard(os.Stdout) }

// Stderr is like [Stdout].
func Stderr() Output { return standard(os.Stderr) }

// File returns the output that appends to a file, which it makes with the mode
// 0640.
func File(path string) Output {
	return func() (io.WriteCloser, error) {
		return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640) //nolint:gosec // G302: the group reads logs
	}
}

// Writer takes lines without ever blocking, and writes them from a goroutine of
// its own. Past its bound, or if they cannot be written, lines are dropped and
// counted. It is a zapcore.WriteSyncer, safe for concurrent use.
type Writer struct {
	open   Output
	bound  int
	onDrop func(lines int)
	drops  atomic.Uint64

	mu      sync.Mutex
	pending []byte // whole lines
	spare   []byte // the buffer that was written last
	closed  bool
	reopen  bool

	wake chan struct{} // there is something to do
	done chan struct{} // the goroutine has ended
}

// WriterConfig is what a [Writer] is made of. Open is required.
type WriterConfig struct {
	// Open opens the output.
	Open Output

	// Buffer is how many bytes are held; 0 means [DefaultBuffer].
	Buffer int

	// OnDrop is told of lines that were dropped, from any goroutine. It must
	// not block. Nil ignores it.
	OnDrop func(lines int)
}

// NewWriter returns a writer and starts its goroutine, which [Writer.Close]
// ends.
func NewWriter(c WriterConfig) *Writer {
	w := &Writer{open: c.Open, bound: c.Buffer, onDrop: c.OnDrop, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if w.bound <= 0 {
		w.bound = DefaultBuffer
	}
	if w.onDrop == nil {
		w.onDrop = func(int) {}
	}
	go w.run()
	return w
}

// Write takes one or more whole lines. It never blocks on the output and never
// fails: what there is no room for is dropped, whole lines of it.
func (w *Writer) Write(lines []byte) (int, error) {
	w.mu.Lock()
	room := !w.closed && len(w.pending)+len(lines) <= w.bound
	if room {
		w.pending = append(w.pending, lines...)
	}
	w.mu.Unlock()
	if room {
		w.poke()
	} else {
		w.drop(bytes.Count(lines, newline))
	}
	return len(lines), nil
}

// Dropped returns how many lines have been dropped.
func (w *Writer) Dropped() uint64 { return w.drops.Load() }

func (w *Writer) drop(lines int) {
	w.drops.Add(uint64(lines))
	w.onDrop(lines)
}

// Sync does nothing: nobody who logs waits for a disk.
func (w *Writer) Sync() error { return nil }

// Reopen closes the output and opens it anew before the next line, as after a
// rotation.
func (w *Writer) Reopen() {
	w.mu.Lock()
	w.reopen = true
	w.mu.Unlock()
	w.poke()
}

// Close writes what is pending and closes the output; lines that come later are
// dropped. If ctx ends first, because the output is stuck, it gives up: what is
// left is then lost, and the goroutine ends when the output lets go of it.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.poke()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("accesslog: write what is pending: the output takes nothing: %w", context.Cause(ctx))
	}
}

func (w *Writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// newline ends a line.
var newline = []byte("\n") // never changed

// run writes until the writer is closed.
func (w *Writer) run() {
	defer close(w.done)
	o := output{open: w.open}
	defer o.close()
	for range w.wake {
		runtime.Gosched() // those whose turn it is have lines too: one write for all
		for {
			lines, reopen, closed := w.take()
			if reopen {
				o.close()
			}
			if len(lines) > 0 {
				if dropped := o.write(lines); dropped > 0 {
					w.drop(dropped)
				}
				w.giveBack(lines)
			} else if closed {
				return
			} else {
				break
			}
		}
	}
}

// take takes what is pending.
func (w *Writer) take() (lines []byte, reopen, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines, w.pending, w.spare = w.pending, w.spare[:0], nil
	reopen, w.reopen = w.reopen, false
	return lines, reopen, w.closed
}

// giveBack keeps the buffer for later, unless it was for an exceptional load.
func (w *Writer) giveBack(buffer []byte) {
	const ordinary = 64 << 10
	if cap(buffer) > ordinary {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spare = buffer[:0]
}

// output is what a writer has open.
type output struct {
	open Output
	to   io.WriteCloser
	torn bool // the last line that was written is not whole
}

// write writes whole lines and returns how many of them did not get there.
func (o *output) write(lines []byte) (dropped int) {
	if o.to == nil {
		to, err := o.open()
		if err != nil {
			return bytes.Count(lines, newline)
		}
		o.to, o.torn = to, false
	}
	if o.torn { // the rest of a line that no one will ever read: end it
		if n, err := o.to.Write(newline); err != nil || n < 1 {
			return bytes.Count(lines, newline)
		}
		o.torn = false
	}
	n, err := o.to.Write(lines)
	if err == nil && n == len(lines) {
		return 0
	}
	o.torn = n > 0 && lines[n-1] != '\n'
	if !errors.Is(err, errFull) && n == 0 {
		o.close() // a pipe that has gone: perhaps there is a new one
	}
	return bytes.Count(lines[n:], newline)
}

func (o *output) close() {
	if o.to != nil {
		_ = o.to.Close() // what could not be written is counted already
		o.to = nil
	}
}
