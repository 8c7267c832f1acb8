package e2e_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// storm plays scripts through a pair, so many at once, and checks that each went
// well at both ends and reached the server once. It returns the payload.
func storm(t *testing.T, pair func(backend string) string, seed uint64, scripts, atOnce int, size int64) int64 {
	t.Helper()
	server, err := e2e.NewStormServer()
	if err != nil {
		t.Fatal(err)
	}
	address := pair(server.Addr)
	random := rand.New(rand.NewPCG(seed, 0))
	queue := make(chan e2e.Script)
	var payload atomic.Int64
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for s := range queue {
				if err := s.Play(t.Context(), address); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				payload.Add(s.Up + s.Down)
			}
		})
	}
	seeds := make([]uint64, 0, scripts)
	for range scripts {
		s := e2e.NewScript(random, size)
		seeds = append(seeds, s.Seed)
		queue <- s
	}
	close(queue)
	all.Wait()
	played := server.Close()
	for _, one := range seeds {
		// A connection that its client resets may never reach the server.
		if err := played[one]; err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	return payload.Load()
}

// TestStormItself plays scripts without a pair, and with servers that lose,
// garble and cut: it is about the test.
func TestStormItself(t *testing.T) {
	if n := storm(t, func(backend string) string { return backend }, 1, 200, 20, 1<<20); n == 0 {
		t.Error("nothing was sent")
	}
	for name, spoil := range map[string]func(conn *net.TCPConn, s e2e.Script){
		"early end": func(conn *net.TCPConn, _ e2e.Script) { _ = conn.CloseWrite() },
		"reset":     func(conn *net.TCPConn, _ e2e.Script) { _ = conn.SetLinger(0) },
		"garbled":   func(conn *net.TCPConn, s e2e.Script) { _, _ = conn.Write(make([]byte, s.Down)) },
	} {
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		s := e2e.Script{Seed: 7, Up: 100, Down: 100, ClientResets: -1, ServerResets: -1}
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 141)) // all that the client sends
			spoil(conn, s)
		}()
		if err := s.Play(t.Context(), listener.Addr().String()); err == nil {
			t.Errorf("%s goes unnoticed", name)
		}
		listener.Close()
		<-done
	}
}

// TestByteExact is a small storm through a pair with each kind of session.
func TestByteExact(t *testing.T) {
	for _, keys := range []string{",session=Mux", ",session=Raw", ""} {
		t.Run("session"+keys, func(t *testing.T) {
			issuer := build.Issuer(t, twoWorkloads)
			storm(t, func(backend string) string {
				return e2e.RunPair(t, e2e.Ways{
					Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{backend}, Keys: keys,
				}).Addr(0)
			}, rand.Uint64(), 400, 40, 1<<20)
		})
	}
}
