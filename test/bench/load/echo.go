package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// EchoOnly is a [Server] of one operation, for one short exchange on each of a
// few connections at a time: a single thread on bare sockets, so that next to
// nothing of what a new connection costs is the application's. A request has to
// fit in a segment.
func EchoOnly(ctx context.Context, listener net.Listener) error {
	fd, err := bare(listener)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	e := echoes{waits: []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, buffer: make([]byte, chunk)}
	defer e.close()
	for ctx.Err() == nil {
		if _, err := unix.Poll(e.waits, 100); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("load: %w", os.NewSyscallError("poll", err))
		}
		for i := len(e.waits) - 1; i > 0; i-- {
			if e.waits[i].Revents != 0 && !e.answer(int(e.waits[i].Fd)) {
				_ = unix.Close(int(e.waits[i].Fd))
				e.waits[i] = e.waits[len(e.waits)-1]
				e.waits = e.waits[:len(e.waits)-1]
			}
		}
		if e.waits[0].Revents != 0 {
			e.accept()
		}
	}
	return context.Cause(ctx)
}

// bare takes a listener's descriptor out of the hands of the Go runtime.
func bare(listener net.Listener) (int, error) {
	defer listener.Close()
	socket, ok := listener.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("load: a %T has no descriptor", listener)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	fd := -1
	if controlErr := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); controlErr != nil {
		err = controlErr
	}
	if err != nil {
		return 0, fmt.Errorf("load: %w", os.NewSyscallError("dup", err))
	}
	return fd, nil // it does not block: that is the socket's, not the descriptor's
}

// echoes is the server of [EchoOnly].
type echoes struct {
	waits  []unix.PollFd // the first is the listener
	buffer []byte
}

// accept takes the connections that have come. Their requests may be there.
func (e *echoes) accept() {
	for {
		fd, _, err := unix.Accept4(int(e.waits[0].Fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		if e.answer(fd) {
			e.waits = append(e.waits, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		} else {
			_ = unix.Close(fd)
		}
	}
}

// answer echoes a request, and reports whether more may come.
func (e *echoes) answer(fd int) bool {
	n, err := unix.Read(fd, e.buffer)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return true
	case n < headerSize, string(e.buffer[:len(magic)]) != magic, Operation(e.buffer[len(magic)]) != Echo,
		binary.BigEndian.Uint64(e.buffer[headerSize-8:]) != uint64(n-headerSize):
		return false // the end, or nothing that we know
	}
	_, err = unix.Write(fd, e.buffer[headerSize:n])
	return err == nil
}

func (e *echoes) close() {
	for _, w := range e.waits {
		_ = unix.Close(int(w.Fd))
	}
}
