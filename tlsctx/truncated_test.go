package tlsctx

import (
	"errors"
	"io"
	"testing"
)

// TestTruncation has either side end with close_notify, and by a connection that
// is cut, between two records and in one: only the first is an end.
func TestTruncation(t *testing.T) {
	for name, transport := range transports {
		for end, of := range map[string]struct {
			how     func(c *Conn) error
			orderly bool
		}{
			"close_notify":    {func(c *Conn) error { return c.Close() }, true},
			"between records": {func(c *Conn) error { return c.NetConn().Close() }, false},
			"within a record": {func(c *Conn) error { _, _ = c.NetConn().Write([]byte{23, 3, 3, 0, 50, 1}); return c.NetConn().Close() }, false},
			"within a header": {func(c *Conn) error { _, _ = c.NetConn().Write([]byte{23, 3}); return c.NetConn().Close() }, false},
		} {
			t.Run(name+" "+end, func(t *testing.T) {
				client, server := newMesh(t).shakeOver(t, transport)
				if client.err != nil || server.err != nil {
					t.Fatal(client.err, server.err)
				}
				go func() { _ = of.how(client.conn) }()
				n, err := server.conn.Read(make([]byte, 10))
				if orderly := errors.Is(err, io.EOF); n != 0 || err == nil || orderly != of.orderly {
					t.Errorf("Read: %d, %v; orderly %t, want %t", n, err, orderly, of.orderly)
				}
			})
		}
	}
}
