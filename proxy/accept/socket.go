package accept

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// SocketOptions keep a TCP connection whose peer has vanished from staying for
// ever. A zero field leaves the system's setting.
type SocketOptions struct {
	// KeepAliveIdle is how long a connection may be idle before it is probed.
	KeepAliveIdle time.Duration

	// KeepAliveInterval is the time between probes.
	KeepAliveInterval time.Duration

	// KeepAliveCount is how many probes go unanswered before the connection
	// is given up.
	KeepAliveCount int

	// UserTimeout is how long sent data may go unacknowledged (RFC 5482,
	// TCP_USER_TIMEOUT). Linux only.
	UserTimeout time.Duration
}

// Apply sets the options on a TCP connection, and does nothing to any other, nor
// to one of loopback: there the system itself knows when the other end is gone.
// Options that the system refuses are left as they are: they only save
// resources.
func (o SocketOptions) Apply(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if ok && !addrPort(c.RemoteAddr()).Addr().IsLoopback() {
		o.set(tcp)
	}
}

// Inherit sets the options on a listening socket, so that the connections that it
// accepts have them without a system call for each. It reports whether it could,
// as with a socket of [Sockets.Listen] that was not given; else
// [SocketOptions.Apply] is to be called for each.
func (o SocketOptions) Inherit(l net.Listener) bool {
	i, ok := l.(interface {
		syscall.Conn
		Inherits() bool
	})
	return ok && i.Inherits() && o.set(i)
}

func isTemporary(err error) bool {
	return isOutOfDescriptors(err) || errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EINTR) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EPROTO) || errors.Is(err, syscall.EPERM)
}

func isOutOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// addrPort returns the address, unmapped, or an invalid one for a unix socket.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
