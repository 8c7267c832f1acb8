//go:build unix && !(linux && (amd64 || arm64) && !race)

package socket

import (
	"errors"
	"syscall"
)

func read(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	errno, _ := errors.AsType[syscall.Errno](err) // it returns nothing else
	return n, errno
}

func write(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), p)
	errno, _ := errors.AsType[syscall.Errno](err)
	return n, errno
}

// vectors has nothing to keep: one buffer goes into one call.
type vectors struct{}

func (*vectors) write(fd uintptr, first []byte, _ [][]byte) (int, syscall.Errno) {
	return write(fd, first)
}
