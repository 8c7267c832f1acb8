package accept

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// set sets the options and reports whether the system took them.
func (o SocketOptions) set(socket syscall.Conn) bool {
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	whole := true
	err = raw.Control(func(fd uintptr) {
		set := func(level, option, value int) {
			if value > 0 {
				whole = unix.SetsockoptInt(int(fd), level, option, value) == nil && whole
			}
		}
		if o.KeepAliveIdle > 0 || o.KeepAliveInterval > 0 || o.KeepAliveCount > 0 {
			set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		}
		set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(o.KeepAliveIdle))
		set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(o.KeepAliveInterval))
		set(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, o.KeepAliveCount)
		set(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(o.UserTimeout.Milliseconds()))
	})
	return err == nil && whole
}

// seconds rounds up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
