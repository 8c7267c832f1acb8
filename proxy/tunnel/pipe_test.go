package tunnel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// path is an application, a pipe, and a server, over TCP.
type path struct {
	client, server *net.TCPConn
	done           chan error
	sent, received atomic.Uint64
}

func newPath(ctx context.Context, t *testing.T, halfOpen time.Duration) *path {
	t.Helper()
	p := &path{done: make(chan error, 1)}
	client, down := tcpPair(t)
	up, server := tcpPair(t)
	p.client, p.server = client, server
	pipe := Pipe{Down: down, Up: up, Sent: &p.sent, Received: &p.received, HalfOpen: halfOpen}
	go func() { p.done <- pipe.Run(ctx) }()
	return p
}

func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	return near, far
}

// random returns n bytes that a seed determines.
func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8(sha256.Sum256([]byte{byte(seed), byte(seed >> 8)}))
	_, _ = r.Read(b)
	return b
}

func TestHalfCloseIsKept(t *testing.T) {
	for name, swap := range map[string]bool{"client ends first": false, "server ends first": true} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t.Context(), t, 0)
			first, second := p.client, p.server
			if swap {
				first, second = second, first
			}
			question, answer := random(1, 3<<20), random(2, 5<<20)
			go func() {
				_, _ = first.Write(question)
				_ = first.CloseWrite()
			}()
			// The answer is written only after the end of the question was seen.
			got, err := io.ReadAll(second)
			if err != nil || !bytes.Equal(got, question) {
				t.Fatalf("read %d bytes, %v; want the %d sent", len(got), err, len(question))
			}
			go func() {
				_, _ = second.Write(answer)
				_ = second.CloseWrite()
			}()
			got, err = io.ReadAll(first)
			if err != nil || !bytes.Equal(got, answer) {
				t.Fatalf("read %d bytes, %v; want the %d answered", len(got), err, len(answer))
			}
			if err := <-p.done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if n := p.sent.Load() + p.received.Load(); n != uint64(len(question)+len(answer)) {
				t.Errorf("counted %d bytes, want %d", n, len(question)+len(answer))
			}
		})
	}
}

func TestResetArrivesAsReset(t *testing.T) {
	for name, swap := range map[string]bool{"client resets": false, "server resets": true} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t.Context(), t, 0)
			first, second := p.client, p.server
			if swap {
				first, second = second, first
			}
			if _, err := first.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(second, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			_ = first.SetLinger(0)
			_ = first.Close()
			if _, err := second.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other end read %v, want a reset", err)
			}
			var e *Error
			if err := <-p.done; !errors.As(err, &e) || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("Run: %v, want which side was reset", err)
			}
		})
	}
}

func TestContextCutsTheStream(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p := newPath(ctx, t, 0)
	drained := errors.New("drained")
	cancel(drained)
	if err := <-p.done; !errors.Is(err, drained) {
		t.Errorf("Run: %v, want the context's cause", err)
	}
	if _, err := p.client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("client read %v, want a reset: nothing may look like an orderly end", err)
	}
}

func TestHalfOpenEnds(t *testing.T) {
	p := newPath(t.Context(), t, 20*time.Millisecond)
	_ = p.client.CloseWrite()
	if err := <-p.done; !errors.Is(err, ErrHalfOpen) {
		t.Errorf("Run: %v, want %v", err, ErrHalfOpen)
	}
}

// TestManyStreamsByteExact has many streams carry seeded random data both ways
// at once, in pieces of random sizes, and end in random ways: every byte that an
// orderly stream was given arrives, once and in order.
func TestManyStreamsByteExact(t *testing.T) {
	const streams, most = 64, 2 << 20
	var wg sync.WaitGroup
	for i := range uint64(streams) {
		wg.Go(func() {
			p := newPath(t.Context(), t, 0)
			r := rand.New(rand.NewPCG(i, 7))
			reset := r.IntN(4) == 0
			up, down := random(2*i, r.IntN(most)), random(2*i+1, r.IntN(most))
			var ends sync.WaitGroup
			ends.Go(func() { trickle(p.client, up, i) })
			ends.Go(func() { trickle(p.server, down, i+streams) })
			ends.Go(func() { expect(t, p.server, up, reset) })
			ends.Go(func() {
				if reset { // stop reading somewhere and reset
					_, _ = io.CopyN(io.Discard, p.client, int64(len(down)/2))
					_ = p.client.SetLinger(0)
					_ = p.client.Close()
					return
				}
				expect(t, p.client, down, false)
			})
			ends.Wait()
			if err := <-p.done; (err != nil) != reset {
				// A reset after everything has arrived may go unseen.
				if !reset {
					t.Errorf("stream %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
}

// trickle writes in pieces of random sizes and half-closes.
func trickle(c *net.TCPConn, b []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 9))
	for len(b) > 0 {
		n := min(len(b), 1+r.IntN(200_000))
		if r.IntN(2) == 0 {
			n = min(n, 100)
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
	_ = c.CloseWrite()
}

// expect reads to the end. What arrives before a reset is a prefix of it.
func expect(t *testing.T, c *net.TCPConn, want []byte, reset bool) {
	got, err := io.ReadAll(c)
	if !bytes.HasPrefix(want, got) || !reset && (err != nil || len(got) != len(want)) {
		t.Errorf("read %d bytes of %d, %v: lost, added or out of order", len(got), len(want), err)
	}
}

// TestIdleStreamHoldsNoLargeBuffer is checked by what copy takes from the pool:
// after a burst both directions are back to waiting without one.
func TestBufferedCopyGoesBackToTheSmallBuffer(t *testing.T) {
	src := &chunks{sizes: []int{small, large, small, 10, 20, small, 0}}
	var n atomic.Uint64
	d := direction{src: src, dst: discard{}, n: &n}
	if err := d.copy(); err != nil {
		t.Fatal(err)
	}
	want := []int{small, large, large, large, small, small, large}
	for i, size := range want {
		if src.asked[i] != size {
			t.Errorf("read %d was into %d bytes, want %d (all: %v)", i, src.asked[i], size, src.asked)
		}
	}
}

// chunks is a connection that gives pieces of the given sizes, and remembers how
// much it was asked for.
type chunks struct {
	net.Conn
	sizes, asked []int
}

func (c *chunks) CloseWrite() error { return nil }

func (c *chunks) Read(b []byte) (int, error) {
	c.asked = append(c.asked, len(b))
	n := c.sizes[0]
	c.sizes = c.sizes[1:]
	if n == 0 {
		return 0, io.EOF
	}
	return min(n, len(b)), nil
}

type discard struct{ net.Conn }

func (discard) CloseWrite() error           { return nil }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
