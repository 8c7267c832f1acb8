package detect

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// peeker looks at what a socket has received and leaves it there: the
// connection stays as it is, for whoever reads it with a fast path of its own.
type peeker struct {
	conn net.Conn
	raw  syscall.RawConn
}

// newPeeker returns nil for what is no bare socket: a type that embeds one may
// hold bytes that it has read already.
func newPeeker(conn net.Conn) *peeker {
	var socket syscall.Conn
	switch c := conn.(type) {
	case *net.TCPConn:
		socket = c
	case *net.UnixConn:
		socket = c
	default:
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return &peeker{conn: conn, raw: raw}
}

// peek waits until more bytes are there than b has, and returns them all: as
// many as b has room for. It returns io.EOF when the peer has ended and no more
// will come.
//
// It waits for more while some are there: the runtime's poller is told of what
// arrives (it is edge-triggered), not of what is there.
func (p *peeker) peek(b []byte) ([]byte, error) {
	room, n := b[:cap(b)], 0
	var failed error
	err := p.raw.Read(func(fd uintptr) bool {
		// In this order: what came before the end is seen.
		ended := len(b) > 0 && hasEnded(int(fd)) // else nothing to read says so
		n, failed = recvPeek(int(fd), room)
		switch {
		case errors.Is(failed, unix.EAGAIN):
			failed = nil
			return false
		case failed != nil || n > len(b):
			return true
		case n == 0 || ended:
			failed = io.EOF
			return true
		default:
			return false
		}
	})
	switch {
	case err != nil:
		return b, err
	case errors.Is(failed, io.EOF):
		return b, io.EOF
	case failed != nil:
		return b, &net.OpError{
			Op: "read", Net: p.conn.LocalAddr().Network(), Source: p.conn.LocalAddr(), Addr: p.conn.RemoteAddr(),
			Err: os.NewSyscallError("recvfrom", failed),
		}
	}
	return room[:n], nil
}

// glance returns what is there, as much as b has room for.
func (p *peeker) glance(b []byte) []byte {
	n := 0
	if p.raw.Control(func(fd uintptr) { n, _ = recvPeek(int(fd), b[:cap(b)]) }) != nil {
		return nil
	}
	return b[:n]
}

func recvPeek(fd int, b []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_PEEK)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// hasEnded reports whether the peer will send no more.
func hasEnded(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
