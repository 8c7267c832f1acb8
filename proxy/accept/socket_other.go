//go:build !linux

package accept

import (
	"net"
	"syscall"
)

// set sets what Go knows how to set, on connections.
func (o SocketOptions) set(socket syscall.Conn) bool {
	tcp, ok := socket.(*net.TCPConn)
	if !ok {
		return false
	}
	return tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: o.KeepAliveIdle, Interval: o.KeepAliveInterval, Count: o.KeepAliveCount,
	}) == nil
}
