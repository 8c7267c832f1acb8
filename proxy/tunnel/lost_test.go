package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

// TestStreamsOfALostSessionHaveNotEnded cuts the connection below a session in
// an orderly way: its streams are broken all the same.
func TestStreamsOfALostSessionHaveNotEnded(t *testing.T) {
	for name, cut := range map[string]func(io.Closer, io.Closer) error{
		"with close_notify": func(tls, _ io.Closer) error { return tls.Close() },
		"without":           func(_, below io.Closer) error { return below.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			client, server := tlsPair(t)
			m := muxedOver(t, client, server, Config{}, func(ctx context.Context, in *Incoming) {
				if s, err := in.Accept(); err == nil {
					<-ctx.Done()
					_ = s.Abort()
				}
			})
			s := m.open(t, Info{})
			if err := s.Answer(t.Context()); err != nil {
				t.Fatal(err)
			}
			below, ok := server.(interface{ NetConn() net.Conn })
			if !ok {
				t.Fatalf("%T has nothing below", server)
			}
			if err := cut(server, below.NetConn()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Read: %v, want an error that is no end", err)
			}
			_ = s.Abort()
		})
	}
}
