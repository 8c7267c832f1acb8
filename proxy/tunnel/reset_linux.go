package tunnel

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpClose is the state TCP_CLOSE (include/net/tcp_states.h).
const tcpClose = 7

// wasReset reports whether a connection that reads as ended, and whose own half
// is still open, was reset: the system tells of a reset once, and a writer may
// have been told. An orderly end would leave it in CLOSE_WAIT.
func wasReset(c Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	reset := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		reset = err == nil && info.State == tcpClose
	})
	return err == nil && reset
}
