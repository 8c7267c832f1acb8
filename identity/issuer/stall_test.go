package issuer

import (
	"net"
	"sync/atomic"
)

// stallingConn is a client's connection that can stop reading.
type stallingConn struct {
	net.Conn
	stop    atomic.Bool
	stalled chan struct{} // closed to go on
}

func (c *stallingConn) Read(b []byte) (int, error) {
	if c.stop.Load() {
		<-c.stalled
	}
	return c.Conn.Read(b)
}
