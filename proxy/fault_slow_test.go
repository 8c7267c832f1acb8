package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// reluctant connects with a small receive buffer: what is not read shall fill the
// proxies, not the kernel.
func reluctant(tb testing.TB, address string) net.Conn {
	tb.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		}), err)
	}}
	c, err := d.DialContext(tb.Context(), "tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// TestStreamsThatNobodyReads: a thousand on one session, as full as they get, hold
// up neither others on the same session nor more memory than there is for it.
func TestStreamsThatNobodyReads(t *testing.T) {
	const (
		slow   = 1000
		window = 64 << 10  // of a stream, as long as nobody reads
		each   = 320 << 10 // more than the proxies take of a stream; the rest is the kernel's
	)
	var filled atomic.Int64
	app := serve(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		line, _ := r.ReadString('\n')
		if line == "fill\n" {
			_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
			for range each / (16 << 10) {
				n, err := c.Write(make([]byte, 16<<10))
				filled.Add(int64(n))
				if err != nil {
					break
				}
			}
			_, _ = c.Read(make([]byte, 1)) // until the client goes
			return
		}
		_, _ = io.WriteString(c, line)
		_, _ = io.Copy(c, r)
	})
	limits := `
---
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: p}
spec: {limits: {streamsPerSession: 4096}}
`
	p := newPair(t, app, []string{"  session: Mux", "  protocol: opaque", limits}, []string{limits})
	say(t, connect(t, p.address), "warm") // the one session
	for range slow {
		if _, err := io.WriteString(reluctant(t, p.address), "fill\n"); err != nil {
			t.Fatal(err)
		}
	}
	before, still := int64(0), 0
	eventually(t, "each is full", func() bool {
		now := filled.Load()
		if still++; now != before {
			before, still = now, 0
		}
		return still > 20 && now > slow*window
	})
	var fast sync.WaitGroup
	for range 10 {
		conn := connect(t, p.address)
		fast.Go(func() {
			if _, err := io.WriteString(conn, "echo\n"); err != nil {
				t.Error(err)
			}
			go func() {
				_, _ = io.CopyN(conn, zeros{}, 2<<20)
				_ = conn.CloseWrite()
			}()
			if n, err := io.Copy(io.Discard, conn); n != 2<<20+int64(len("echo\n")) || err != nil {
				t.Errorf("a fast stream got %d bytes, %v", n, err)
			}
		})
	}
	fast.Wait()
	if n := p.client.metric(`^hallmark_sessions_opened_total\{`); n != 1 {
		t.Errorf("%v sessions were opened", n)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d MB written into %d streams, %d MB of heap in both proxies and their ends", filled.Load()>>20, slow, m.HeapAlloc>>20)
	if m.HeapAlloc > 2*h2Memory {
		t.Errorf("%d MB of heap", m.HeapAlloc>>20)
	}
}
