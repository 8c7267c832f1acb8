//go:build long

package http

import (
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestHugeBody: ten gigabytes pass through a pair with flat memory, up and down.
func TestHugeBody(t *testing.T) {
	const size = 10 << 30
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil || n != size {
				panic(http.ErrAbortHandler)
			}
			return
		}
		io.Copy(w, io.LimitReader(zeros{}, size))
	})
	for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
		outbound, _ := pair(t, down, address)
		c := client(t, down)
		c.Timeout = 0
		runtime.GC()
		highest, stop := watchMemory()
		began := time.Now()
		r, err := c.Get("http://" + outbound.address)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r.Body); err != nil || n != size {
			t.Fatalf("%s down: got %d bytes, %v", down, n, err)
		}
		r.Body.Close()
		middle := time.Now()
		r, err = c.Post("http://"+outbound.address, "", io.LimitReader(zeros{}, size))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		stop()
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s up: got %d", down, r.StatusCode)
		}
		t.Logf("%s: down in %v, up in %v, heap at most %d MiB", down, middle.Sub(began), time.Since(middle), *highest>>20)
		if *highest > 256<<20 {
			t.Errorf("%s: the heap grew to %d MiB", down, *highest>>20)
		}
	}
}

// watchMemory looks at the heap until it is stopped.
func watchMemory() (highest *uint64, stop func()) {
	highest = new(uint64)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			*highest = max(*highest, m.HeapInuse)
			select {
			case <-ticker.C:
			case <-done:
				return
			}
		}
	}()
	return highest, func() {
		close(done)
		<-ended
	}
}
