//go:build unix

package h2

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// attempt reads once without blocking; false means to wait.
func (r *rawReader) attempt(fd uintptr) bool {
	b := takeBuffer(bufferSize)
	n, err := syscall.Read(int(fd), b.mem)
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), b.mem)
	}
	if n > 0 {
		r.buf, r.n, r.err = b, n, nil
		return true
	}
	b.release()
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return false
	case err != nil:
		r.err = os.NewSyscallError("read", err)
	default:
		r.err = io.EOF
	}
	return true
}
