//go:build !race

package tlsctx

import (
	"encoding/binary"
	"net"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
)

// TestMemoryIsFlatOverHandshakes runs as many as a normal pass has time for;
// with the tag long there is one that runs a hundred thousand.
func TestMemoryIsFlatOverHandshakes(t *testing.T) { checkMemory(t, 1000) }

// checkMemory lets both sides shake hands n times, each time with another
// context both ways, and fails the test if what is reachable afterwards has
// grown by a byte for each.
func checkMemory(t *testing.T, n int) {
	t.Helper()
	m := newMesh(t)
	m.server.Disclosure.Public = []string{AllAttributes}
	// Not over a pipe, whose deadlines outlive it, nor over TCP, which runs out
	// of ports.
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	shake := func(i int) {
		near, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		far, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint64(m.client.Trace.TraceID[:], uint64(i)+1)
		m.client.Trace.SpanID[0] = 1
		done := make(chan error)
		go func() {
			conn, err := Server(t.Context(), far, &m.server)
			if err == nil {
				_ = conn.Close()
			}
			done <- err
		}()
		conn, err := Client(t.Context(), near, &m.client)
		if err == nil {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		if serverErr := <-done; err != nil || serverErr != nil {
			t.Fatalf("handshake %d: client %v, server %v", i, err, serverErr)
		}
	}
	warm := min(n/2, 1000)
	for i := range warm {
		shake(i)
	}
	heap, goroutines := reachable(), runtime.NumGoroutine()
	for i := range n {
		shake(warm + i)
	}
	grown, more := int64(reachable())-int64(heap), runtime.NumGoroutine()-goroutines
	t.Logf("%d handshakes: %d bytes more on a heap of %d", n, grown, heap)
	if limit := int64(64<<10 + n); grown > limit || more > 0 {
		t.Errorf("after %d handshakes %d bytes are left, more than %d, and %d goroutines", n, grown, limit, more)
	}
}

// reachable returns the bytes on the heap after collections, of which the second
// takes what finalizers and weak pointers of the first let go.
func reachable() uint64 {
	for range 3 {
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestMintAllocates no more than its result needs: it runs for every connection.
func TestMintAllocates(t *testing.T) {
	leaf := newMesh(t).domain.SVID(t, clientPath).Certificates[0]
	context := Context{Attributes: ca.Attributes(t, "k8s.pod.name", "web-0", "service.version", "1.2.3"), Target: "db"}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Mint(leaf, context); err != nil {
			t.Error(err)
		}
	}); n > 8 {
		t.Errorf("Mint allocates %.0f times", n)
	}
}
