//go:build unix

package accesslog

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// standard returns an output on a duplicate of one of the process's own streams:
// the Go runtime ends a process that writes to standard output or error when
// nobody reads there any more, and that is not what a log may do.
func standard(stream *os.File) Output {
	return func() (io.WriteCloser, error) {
		fd, err := unix.FcntlInt(stream.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("accesslog: duplicate %s: %w", stream.Name(), err)
		}
		return os.NewFile(uintptr(fd), stream.Name()), nil
	}
}
