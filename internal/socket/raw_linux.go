//go:build linux && !race

package socket

import (
	"syscall"
	"unsafe"
)

func read(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

func write(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

// vectors is the argument of a writev, kept for the next one.
type vectors []syscall.Iovec

// write writes from first, and from more behind it.
func (v *vectors) write(fd uintptr, first []byte, more [][]byte) (int, syscall.Errno) {
	all := (*v)[:0]
	add := func(p []byte) {
		if len(p) > 0 {
			one := syscall.Iovec{Base: &p[0]}
			one.SetLen(len(p))
			all = append(all, one)
		}
	}
	add(first)
	for _, p := range more[:min(len(more), maxVectors-1)] {
		add(p)
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(all))), uintptr(len(all)))
	clear(all)
	*v = all
	return int(n), errno
}
