//go:build unix

package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// ErrWait says that a descriptor is not ready: there is nothing to read, or no
// room to write.
var ErrWait = errors.New("socket: not ready")

// Raw returns the raw connection of a TCP or unix socket, and nil for anything
// else: a type that embeds one may hold bytes of its own, and must be asked, not
// gone around.
func Raw(conn net.Conn) syscall.RawConn {
	var below syscall.Conn
	switch c := conn.(type) {
	case *net.TCPConn:
		below = c
	case *net.UnixConn:
		below = c
	default:
		return nil
	}
	raw, err := below.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// Read reads once from the descriptor of a socket, as a function given to
// [syscall.RawConn] gets it. It returns at least one byte or an error:
// [ErrWait], io.EOF at the end, or an [*os.SyscallError]. p is not empty.
func Read(fd uintptr, p []byte) (int, error) {
	for {
		n, errno := read(fd, p)
		switch errno {
		case 0:
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, ErrWait
		default:
			return 0, os.NewSyscallError("read", errno)
		}
	}
}

// Write writes once to the descriptor of a socket and returns how much has been
// taken, which may be less than all of p, or an error: [ErrWait] or an
// [*os.SyscallError].
func Write(fd uintptr, p []byte) (int, error) {
	for {
		if n, errno := write(fd, p); errno != syscall.EINTR {
			return written(n, errno)
		}
	}
}

// written says what came of a call that writes.
func written(n int, errno syscall.Errno) (int, error) {
	switch errno {
	case 0:
		return n, nil
	case syscall.EAGAIN:
		return 0, ErrWait
	default:
		return 0, os.NewSyscallError("write", errno)
	}
}
