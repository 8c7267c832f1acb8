package socket

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// each runs a test over a pair of connected TCP and unix sockets.
func each(t *testing.T, test func(t *testing.T, near, far net.Conn)) {
	t.Helper()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			listener, err := nettest.NewLocalListener(network)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			near, err := net.Dial(network, listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			far, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			test(t, near, far)
		})
	}
}

// once makes one attempt inside f, which does not wait.
func once(t *testing.T, try func(func(fd uintptr) bool) error, f func(fd uintptr)) {
	t.Helper()
	if err := try(func(fd uintptr) bool { f(fd); return true }); err != nil {
		t.Fatal(err)
	}
}

// readAll reads with Read, waiting as who uses it does.
func readAll(raw syscall.RawConn) ([]byte, error) {
	var all []byte
	p := make([]byte, 1000)
	for {
		var n int
		var err error
		if failed := raw.Read(func(fd uintptr) bool {
			n, err = Read(fd, p)
			return !errors.Is(err, ErrWait)
		}); failed != nil {
			return all, failed
		}
		all = append(all, p[:n]...)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // it does not fail
	return b
}

func TestReadDoesNotWait(t *testing.T) {
	each(t, func(t *testing.T, near, far net.Conn) {
		raw, p := Raw(near), make([]byte, 8)
		once(t, raw.Read, func(fd uintptr) {
			if n, err := Read(fd, p); n != 0 || !errors.Is(err, ErrWait) {
				t.Errorf("nothing has come: read %d bytes, %v", n, err)
			}
		})
		if _, err := far.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		_ = far.Close()
		if got, err := readAll(raw); string(got) != "0123456789" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

func TestReadReportsAReset(t *testing.T) {
	each(t, func(t *testing.T, near, far net.Conn) {
		tcp, ok := far.(*net.TCPConn)
		if !ok {
			return // a unix socket knows none
		}
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
		_, err := readAll(Raw(near))
		if call, ok := errors.AsType[*os.SyscallError](err); !ok || call.Syscall != "read" || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
	})
}

func TestWriteDoesNotWait(t *testing.T) {
	each(t, func(t *testing.T, near, far net.Conn) {
		raw, sent := Raw(near), 0
		p := random(1 << 20)
		for waits := false; !waits; {
			once(t, raw.Write, func(fd uintptr) {
				n, err := Write(fd, p)
				waits = errors.Is(err, ErrWait)
				if waits && n != 0 || !waits && (err != nil || n == 0) {
					t.Fatalf("wrote %d bytes, %v", n, err)
				}
				sent += n
			})
		}
		_ = near.Close()
		if n, err := io.Copy(io.Discard, far); n != int64(sent) || err != nil {
			t.Errorf("%d bytes were taken, and %d have come: %v", sent, n, err)
		}
	})
}

// TestWriterWritesEverything to a reader that is slower: every byte once and in
// order.
func TestWriterWritesEverything(t *testing.T) {
	each(t, func(t *testing.T, near, far net.Conn) {
		w, sent := NewWriter(Raw(near)), random(8<<20)
		go func() {
			for rest, n := sent, 1; len(rest) > 0; n *= 3 {
				piece := rest[:min(n, len(rest))]
				if k, err := w.Write(piece); k != len(piece) || err != nil {
					t.Errorf("wrote %d bytes of %d, %v", k, len(piece), err)
				}
				rest = rest[len(piece):]
			}
			_ = near.Close()
		}()
		if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("read %d bytes, not the %d written: %v", len(got), len(sent), err)
		}
	})
}

// TestWriterWritesBuffersInOrder, more of them than one call takes, some empty,
// to a reader that is slower.
func TestWriterWritesBuffersInOrder(t *testing.T) {
	each(t, func(t *testing.T, near, far net.Conn) {
		w, sent := NewWriter(Raw(near)), random(8<<20)
		source := rand.New(rand.NewPCG(3, 4))
		var all [][]byte
		for rest := sent; len(rest) > 0; {
			n := min(source.IntN(12<<10), len(rest))
			all = append(all, rest[:n])
			rest = rest[n:]
		}
		if len(all) <= maxVectors {
			t.Fatalf("%d buffers go into one call", len(all))
		}
		go func() {
			if n, err := w.WriteBuffers(all); n != len(sent) || err != nil {
				t.Errorf("wrote %d bytes of %d, %v", n, len(sent), err)
			}
			_ = near.Close()
		}()
		if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("read %d bytes, not the %d written: %v", len(got), len(sent), err)
		}
	})
}

// TestWriterKeepsTheDeadline, and says how much it has written.
func TestWriterKeepsTheDeadline(t *testing.T) {
	each(t, func(t *testing.T, near, far net.Conn) {
		w, p := NewWriter(Raw(near)), random(32<<20)
		_ = near.SetWriteDeadline(time.Now().Add(time.Millisecond))
		n, err := w.Write(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == len(p) {
			t.Fatalf("wrote %d bytes to nobody, %v", n, err)
		}
		_ = near.Close()
		if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, p[:n]) {
			t.Errorf("%d bytes were written, and %d have come: %v", n, len(got), err)
		}
	})
}

func TestWriterReportsWhatIsWrong(t *testing.T) {
	each(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(Raw(near))
		_ = far.Close()
		for err := error(nil); ; _, err = w.Write(random(1 << 20)) {
			if err == nil {
				continue
			}
			if _, ok := errors.AsType[*os.SyscallError](err); !ok {
				t.Errorf("to a connection that is gone: %v", err)
			}
			break
		}
		_ = near.Close()
		if _, err := w.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("to one that is closed: %v", err)
		}
	})
}

// TestRawKnowsSocketsOnly: what embeds one is not one.
func TestRawKnowsSocketsOnly(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	each(t, func(t *testing.T, near, _ net.Conn) {
		if Raw(near) == nil {
			t.Error("a socket is none")
		}
		if Raw(a) != nil || Raw(struct{ net.Conn }{near}) != nil {
			t.Error("what is no socket is one")
		}
	})
}

func BenchmarkExchange(b *testing.B) {
	listener, err := nettest.NewLocalListener("tcp")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer near.Close()
	far, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer far.Close()
	w, r, p := NewWriter(Raw(near)), Raw(far), make([]byte, 64)
	read := func(fd uintptr) bool {
		_, err := Read(fd, p)
		return err == nil
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
		if err := r.Read(read); err != nil {
			b.Fatal(err)
		}
	}
}
