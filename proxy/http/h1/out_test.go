package h1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ends returns both ends of a connection over loopback, the first with a small
// send buffer.
func ends(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialled, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dialled.Close()
		accepted.Close()
	})
	near, far = dialled.(*net.TCPConn), accepted.(*net.TCPConn)
	if err := near.SetWriteBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// wrapped is a connection that is no plain socket.
type wrapped struct{ *net.TCPConn }

// noting is one that notes its write deadline.
type noting struct {
	*net.TCPConn
	mu       sync.Mutex
	deadline time.Time
	set      int
}

func (c *noting) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	c.set++
	return c.TCPConn.SetWriteDeadline(t)
}

// TestOutLeavesNoDeadline: the deadline of a write does not outlive it, or it
// would fail the next one, however much later that is.
func TestOutLeavesNoDeadline(t *testing.T) {
	near, far := ends(t)
	c := &noting{TCPConn: near}
	o := NewOut(c, 0, nil, func(err error) { t.Error(err) })
	go io.Copy(io.Discard, far)
	o.Append(0, func(to []byte) []byte { return append(to, make([]byte, 1<<20)...) })
	o.Flush()
	o.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.set < 2 || !c.deadline.IsZero() {
		t.Errorf("set %d times, to %v at last", c.set, c.deadline)
	}
	near.Close()
}

// TestOut: what is appended arrives in order and without a gap, whether it goes
// out at once, in part, or by the goroutine; all of the content is told, once;
// and the end comes last.
func TestOut(t *testing.T) {
	for name, over := range map[string]func(*net.TCPConn) net.Conn{
		"socket": func(c *net.TCPConn) net.Conn { return c }, "wrapped": func(c *net.TCPConn) net.Conn { return wrapped{c} },
	} {
		t.Run(name, func(t *testing.T) {
			near, far := ends(t)
			var sent atomic.Int64
			o := NewOut(over(near), 0, func(n int) { sent.Add(int64(n)) }, func(err error) { t.Error(err) })
			const words = 1 << 18
			received := make(chan []byte, 1)
			go func() {
				all, _ := io.ReadAll(far)
				received <- all
			}()
			var want []byte
			for i := range words {
				word := binary.BigEndian.AppendUint32(nil, uint32(i))
				want = append(want, word...)
				o.Append(len(word), func(to []byte) []byte { return append(to, word...) })
				if i%1000 == 0 {
					o.Flush()
				}
			}
			o.CloseWrite()
			if got := <-received; !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want %d", len(got), len(want))
			}
			o.Wait()
			if got := sent.Load(); got != 4*words {
				t.Errorf("told of %d bytes of content, want %d", got, 4*words)
			}
			if o.Pending() {
				t.Error("something is pending")
			}
			o.Close()
			if _, err := near.Write([]byte("x")); err == nil {
				t.Error("not closed")
			}
		})
	}
}

// TestOutDoesNotBlock: nobody reads, and nobody who writes waits.
func TestOutDoesNotBlock(t *testing.T) {
	near, far := ends(t)
	failed := make(chan error, 2)
	o := NewOut(near, time.Hour, func(int) {}, func(err error) { failed <- err })
	for range 100 {
		o.Append(0, func(to []byte) []byte { return append(to, make([]byte, 1<<16)...) })
		o.Flush()
	}
	if !o.Pending() {
		t.Fatal("6 MiB went out to nobody")
	}
	far.SetLinger(0)
	far.Close()
	if err := <-failed; err == nil {
		t.Error("no error")
	}
	o.Wait()
	o.Append(0, func(to []byte) []byte { return append(to, "more"...) })
	o.Flush()
	if o.Pending() {
		t.Error("what cannot be written is kept")
	}
	select {
	case err := <-failed:
		t.Errorf("told again: %v", err)
	default:
	}
}

// TestOutTimeout: a peer that reads nothing is given up.
func TestOutTimeout(t *testing.T) {
	near, _ := ends(t)
	failed := make(chan error, 1)
	o := NewOut(near, time.Millisecond, nil, func(err error) { failed <- err })
	o.Append(0, func(to []byte) []byte { return append(to, make([]byte, 8<<20)...) })
	o.Flush()
	if err := <-failed; !Expired(err) {
		t.Errorf("got %v", err)
	}
	o.Wait()
}

// TestIn: what was peeked comes first; a buffer is held only while there is
// something in it.
func TestIn(t *testing.T) {
	for name, over := range map[string]func(*net.TCPConn) net.Conn{
		"socket": func(c *net.TCPConn) net.Conn { return c }, "wrapped": func(c *net.TCPConn) net.Conn { return wrapped{c} },
	} {
		t.Run(name, func(t *testing.T) {
			near, far := ends(t)
			in := NewIn(over(near), []byte("peeked "))
			go func() {
				far.Write(bytes.Repeat([]byte("x"), 100_000))
				far.CloseWrite()
			}()
			var got []byte
			for {
				got = append(got, in.Bytes()...)
				in.Take(len(in.Bytes()))
				in.Release()
				if in.buf != nil {
					t.Fatal("an empty buffer is held")
				}
				var err error
				if len(got)%2 == 0 {
					err = in.Wait()
				} else {
					err = in.More()
				}
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if string(got[:7]) != "peeked " || len(got) != 100_007 {
				t.Errorf("got %d bytes, %.20q", len(got), got)
			}
			if in.buf != nil {
				t.Error("a buffer is held at the end")
			}
			if _, err := in.Chunk(10); !errors.Is(err, io.EOF) {
				t.Errorf("got %v", err)
			}
		})
	}
}
