package conformance_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/bench/proc"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// noise is an endless stream of bytes that its seed decides: whoever reads it can
// tell whether it is all there, in order. Its period is no power of two.
type noise struct {
	block []byte
	at    int
}

func newNoise(seed uint64) *noise {
	n := &noise{block: make([]byte, 99_991)}
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(n.block)
	return n
}

// Read fills p.
func (n *noise) Read(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		m := copy(rest, n.block[n.at:])
		rest, n.at = rest[m:], (n.at+m)%len(n.block)
	}
	return len(p), nil
}

// sameAs reads to the end and reports whether it is so many bytes of the noise.
func sameAs(r io.Reader, seed uint64, size int64) error {
	want, got, source := make([]byte, 64<<10), make([]byte, 64<<10), newNoise(seed)
	var n int64
	for {
		m, err := io.ReadFull(r, got)
		_, _ = source.Read(want)
		if string(got[:m]) != string(want[:m]) {
			return fmt.Errorf("after %d bytes, the next %d are not what was sent", n, m)
		}
		n += int64(m)
		switch {
		case err == nil:
		case n == size && (err == io.EOF || err == io.ErrUnexpectedEOF):
			return nil
		default:
			return fmt.Errorf("after %d bytes of %d: %w", n, size, err)
		}
	}
}

// endless sends without an end, on /endless, and else as much noise as is asked
// for, once it has read as much.
func endless(size int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/endless" {
			_, _ = io.Copy(w, newNoise(0))
			return
		}
		if err := sameAs(r.Body, 1, size); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.CopyN(w, newNoise(2), size)
	}
}

// bulk sends so much through a pair, one way and then the other, and checks it.
func bulk(ctx context.Context, client *http.Client, url string, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.LimitReader(newNoise(1), size))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		return fmt.Errorf("%s: %s", res.Status, text)
	}
	return sameAs(res.Body, 2, size)
}

// TestNeverReading: a thousand streams that ask for much and whose clients never
// read it do not slow those that do, on the same session. Of clients of HTTP/1 there
// are fewer: their full sockets alone would be more than the system has for TCP,
// and then everybody is slow, whoever is at fault.
func TestNeverReading(t *testing.T) {
	const size = 16 << 20
	m := through(t, serve(t, narrow(endless(size))))
	for version, readers := range map[int]int{1: 100, 2: 1000} {
		t.Run(fmt.Sprintf("HTTP/%d", version), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			idle := browser(t, version)
			narrowly(idle)
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for range readers / 4 {
						req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Addr(0)+"/endless", nil)
						if err != nil {
							t.Error(err)
							return
						}
						res, err := idle.Do(req)
						if err != nil {
							t.Error(err)
							return
						}
						t.Cleanup(func() { _ = res.Body.Close() })
					}
				})
			}
			all.Wait()
			fast := browser(t, version)
			for range 4 {
				all.Go(func() {
					if err := bulk(t.Context(), fast, "http://"+m.Addr(0), size); err != nil {
						t.Errorf("beside %d that never read: %v", readers, err)
					}
				})
			}
			all.Wait()
			t.Logf("resident: %d MiB outbound, %d MiB inbound", memory(t, m.Outbound)>>20, memory(t, m.Inbound)>>20)
		})
	}
	if n := m.Outbound.Sum(t, "hallmark_sessions_opened_total", "kind", "h2"); n > 3 { // each carries 1024 streams
		t.Errorf("%v sessions were opened", n)
	}
}

// small is the size of the test's own buffers of sockets.
const small = 64 << 10

// narrow is a server of both versions of HTTP with small buffers.
func narrow(handle http.HandlerFunc) *http.Server {
	server := &http.Server{Handler: handle, Protocols: new(http.Protocols), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(small)
		return ctx
	}}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return server
}

// narrowly gives a client small buffers.
func narrowly(client *http.Client) {
	transport := client.Transport.(*http.Transport)
	transport.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: small} // rather than 4 MiB
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(small)
		}
		return conn, err
	}
}

// memory is what a sidecar holds, in bytes.
func memory(t *testing.T, s *e2e.Sidecar) int64 {
	t.Helper()
	m, err := proc.MemoryOf(s.Pid())
	if err != nil {
		t.Fatal(err)
	}
	return m.Resident
}
