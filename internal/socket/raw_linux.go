//go:build linux && (amd64 || arm64) && !race

package socket

import (
	"syscall"
	"unsafe"
)

func read(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd,
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func write(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd,
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// vectors is the argument of a call that writes several buffers, kept for the
// next one.
type vectors struct {
	header syscall.Msghdr
	all    []syscall.Iovec
}

// write writes from first, and from more behind it.
func (v *vectors) write(fd uintptr, first []byte, more [][]byte) (int, syscall.Errno) {
	v.add(first)
	for _, p := range more[:min(len(more), maxVectors-1)] {
		v.add(p)
	}
	v.header.Iov, v.header.Iovlen = unsafe.SliceData(v.all), uint64(len(v.all))
	n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, fd,
		uintptr(unsafe.Pointer(&v.header)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
	clear(v.all)
	v.all, v.header.Iov = v.all[:0], nil
	return int(n), errno
}

func (v *vectors) add(p []byte) {
	if len(p) > 0 {
		v.all = append(v.all, syscall.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))})
	}
}
