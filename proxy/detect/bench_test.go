package detect_test

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/detect"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// BenchmarkRace measures what a race costs on sockets whose side has spoken, the
// server's being known to do so; nothing is connected meanwhile.
func BenchmarkRace(b *testing.B) {
	pair := func() (near, far *net.TCPConn) {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		if near, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr)); err != nil {
			b.Fatal(err)
		}
		if far, err = l.AcceptTCP(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _, _ = near.Close(), far.Close() })
		return near, far
	}
	for name, c := range map[string]struct{ client, server string }{
		"client": {"*1\r\n$4\r\nPING\r\n", ""}, "server": {"", mysqlGreeting},
	} {
		b.Run(name, func(b *testing.B) {
			client, down := pair()
			up, server := pair()
			_, _ = io.WriteString(client, c.client)
			_, _ = io.WriteString(server, c.server)
			r := detect.Race{
				ServerFirst: c.server != "", Memory: new(detect.Memory), Target: "x",
				Open: func(context.Context, tlsctx.Protocol) (detect.Conn, error) { return up, nil },
			}
			b.ReportAllocs()
			for b.Loop() { // nothing is eaten: the same bytes are there each time
				if res, err := r.Run(b.Context(), down); err != nil || res.Up != detect.Conn(up) {
					b.Fatalf("%+v, %v", res, err)
				}
			}
		})
	}
}
