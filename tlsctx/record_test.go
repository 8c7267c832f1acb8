package tlsctx

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// TestRecordConnIsANetConn runs the conformance suite for net.Conn over TCP and
// unix sockets.
func TestRecordConnIsANetConn(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				return recordPair(t, network)
			})
		})
	}
}

func recordPair(t *testing.T, network string) (c1, c2 net.Conn, stop func(), err error) {
	t.Helper()
	listener, err := nettest.NewLocalListener(network)
	if err != nil {
		return nil, nil, nil, err
	}
	defer listener.Close()
	near, err := net.Dial(network, listener.Addr().String())
	if err != nil {
		return nil, nil, nil, err
	}
	far, err := listener.Accept()
	if err != nil {
		return nil, nil, nil, err
	}
	return newRecordConn(near), newRecordConn(far), func() { _ = near.Close(); _ = far.Close() }, nil
}

// TestRecordConnGathersInOrder writes pieces of random sizes, some of them held,
// and expects every byte once and in order.
func TestRecordConnGathersInOrder(t *testing.T) {
	near, far, stop, err := recordPair(t, "tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	random := rand.New(rand.NewPCG(1, 2))
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(random.Uint32())
	}
	go func() {
		c := near.(*recordConn)
		for rest := sent; len(rest) > 0; {
			hold := random.IntN(2) == 0
			if hold {
				c.hold()
			}
			for range random.IntN(8) {
				n := min(len(rest), random.IntN(2*batch))
				if _, err := c.Write(rest[:n]); err != nil {
					t.Error(err)
				}
				rest = rest[n:]
			}
			if hold {
				if err := c.release(); err != nil {
					t.Error(err)
				}
			}
		}
		_ = near.Close()
	}()
	got, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("received %d bytes, not the %d sent", len(got), len(sent))
	}
}

// TestRecordConnHoldsNoBufferWhenIdle looks inside after everything was read
// and written.
func TestRecordConnHoldsNoBufferWhenIdle(t *testing.T) {
	near, far, stop, err := recordPair(t, "tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	n, f := near.(*recordConn), far.(*recordConn)
	n.hold()
	_, _ = n.Write(make([]byte, 1000))
	if err := n.release(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(f, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if n.out != nil || f.in != nil {
		t.Error("a buffer is held by an idle connection")
	}
}
