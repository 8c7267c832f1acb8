package tlsctx

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

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

// TestAwaitDoesNotWaitForWhatHasCome: neither for the rest of a record, nor for
// one that came in the same packet; and reading gathers what is there.
func TestAwaitDoesNotWaitForWhatHasCome(t *testing.T) {
	c, s := newMesh(t).shake(t)
	client, server := c.conn, s.conn
	send := func(records ...string) {
		server.below.hold()
		for _, r := range records {
			if _, err := server.tls.Write([]byte(r)); err != nil {
				t.Fatal(err)
			}
		}
		if err := server.below.release(); err != nil {
			t.Fatal(err)
		}
	}
	_ = client.SetDeadline(time.Now().Add(time.Minute))
	for _, size := range []int{1, 2, 3, 4, 64} {
		send("one", "two", "three")
		got := ""
		for len(got) < len("onetwothree") {
			b := make([]byte, size)
			client.Await()
			n, err := client.Read(b)
			if err != nil {
				t.Fatalf("by %d: after %q: %v", size, got, err)
			}
			got += string(b[:n])
		}
		if got != "onetwothree" {
			t.Errorf("by %d: got %q", size, got)
		}
	}
	send("one", "two", "three")
	client.Await()
	b := make([]byte, 64)
	if n, err := client.Read(b); string(b[:n]) != "onetwothree" || err != nil {
		t.Errorf("got %q, %v in one read", b[:n], err)
	}
	_, _ = server.Write([]byte("bye")) // the last words and the end are there together
	_ = server.CloseWrite()
	client.Await()
	if n, err := client.Read(b); string(b[:n]) != "bye" || err != nil {
		t.Errorf("got %q, %v", b[:n], err)
	}
	client.Await()
	if n, err := client.Read(b); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
}
