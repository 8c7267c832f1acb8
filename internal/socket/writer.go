//go:build unix

package socket

import (
	"errors"
	"syscall"
)

// maxVectors is how many buffers go into one call; Linux takes 1,024.
const maxVectors = 64

// Writer writes to a socket, and waits until everything has been taken or the
// connection's deadline has passed, as Write of a [net.Conn] does. It is for one
// goroutine at a time.
type Writer struct {
	raw syscall.RawConn

	// Of the write under way. What is written is first, then more.
	first   []byte
	more    [][]byte
	vectors vectors
	n       int
	err     error
	try     func(fd uintptr) bool // w.attempt, made once
}

// NewWriter returns a writer to what [Raw] returned.
func NewWriter(raw syscall.RawConn) *Writer {
	w := &Writer{raw: raw}
	w.try = w.attempt
	return w
}

// Write writes all of p and returns how much of it, and why not more: an
// [*os.SyscallError], or what RawConn returned.
func (w *Writer) Write(p []byte) (int, error) {
	w.first = p
	return w.run()
}

// WriteBuffers writes all buffers in turn, many in one call, and returns what
// Write does.
func (w *Writer) WriteBuffers(all [][]byte) (int, error) {
	w.more = all
	return w.run()
}

func (w *Writer) run() (int, error) {
	w.n, w.err = 0, nil
	err := w.raw.Write(w.try)
	w.first, w.more = nil, nil
	if err == nil {
		err = w.err
	}
	return w.n, err
}

// attempt writes as much as is taken; false means to wait until more is.
func (w *Writer) attempt(fd uintptr) bool {
	for w.next() {
		n, err := w.call(fd)
		switch {
		case errors.Is(err, ErrWait):
			return false
		case err != nil:
			w.err = err
			return true
		}
		w.took(n)
	}
	return true
}

// next reports whether there is something left to write, and makes it first.
func (w *Writer) next() bool {
	for len(w.first) == 0 && len(w.more) > 0 {
		w.first, w.more = w.more[0], w.more[1:]
	}
	return len(w.first) > 0
}

// call makes one call.
func (w *Writer) call(fd uintptr) (int, error) {
	for {
		var n int
		var errno syscall.Errno
		if len(w.more) == 0 {
			n, errno = write(fd, w.first)
		} else {
			n, errno = w.vectors.write(fd, w.first, w.more)
		}
		if errno != syscall.EINTR {
			return written(n, errno)
		}
	}
}

// took takes off what has been written.
func (w *Writer) took(n int) {
	w.n += n
	for n > len(w.first) {
		n -= len(w.first)
		w.first, w.more = w.more[0], w.more[1:]
	}
	w.first = w.first[n:]
}
