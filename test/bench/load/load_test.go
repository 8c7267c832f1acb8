package load_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/bench/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, server *load.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return listener.Addr().String()
}

func serveGRPC(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- load.ServeGRPC(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		<-served
	})
	return listener.Addr().String()
}

func serveEchoOnly(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- load.EchoOnly(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func TestKinds(t *testing.T) {
	tcp := serve(t, &load.Server{})
	nginx := apps.StartNginx(t, map[string][]byte{"file": []byte(strings.Repeat("x", 5000))})
	grpc := serveGRPC(t)
	for _, test := range []struct {
		kind    load.Kind
		address string
		bytes   int // of one call
	}{
		{load.TCP{Operation: load.Echo, Size: 1000}, tcp, 2000},
		{load.TCP{Operation: load.Upload, Size: 1 << 20}, tcp, 1 << 20},
		{load.TCP{Operation: load.Download, Size: 1 << 20}, tcp, 1 << 20},
		{load.TCP{Operation: load.Both, Size: 1 << 20}, tcp, 2 << 20},
		{load.Connect{TCP: load.TCP{Operation: load.Echo, Size: 64}}, tcp, 128},
		{load.Connect{TCP: load.TCP{Operation: load.Echo, Size: 64}}, serveEchoOnly(t), 128},
		{load.Greeting{}, serve(t, &load.Server{Greets: true}), 46},
		{load.HTTP1{Path: "/file", Size: 5000}, nginx.Addr, 5000},
		{load.GRPC{Size: 100}, grpc, 200},
		{load.GRPC{Size: 100, Stream: true}, grpc, 200},
	} {
		for name, rate := range map[string]float64{"closed": 0, "open": 1000} {
			t.Run(strings.ReplaceAll(test.kind.String(), "/", "")+" "+name, func(t *testing.T) {
				r, err := load.Run(t.Context(), test.address, test.kind, load.Plan{Callers: 3, Calls: 11, Rate: rate})
				if err != nil {
					t.Fatal(err)
				}
				if r.Calls != 11 || r.Errors != 0 || r.Bytes != int64(11*test.bytes) || len(r.Latencies) != 11 || !slices.IsSorted(r.Latencies) {
					t.Errorf("%d calls, %d errors (%v), %d bytes, latencies %v", r.Calls, r.Errors, r.FirstErr, r.Bytes, r.Latencies)
				}
				if rate > 0 && r.Elapsed < 10*time.Millisecond {
					t.Errorf("11 calls at 1000 a second took %s", r.Elapsed)
				}
			})
		}
	}
}

// named is a kind that counts its calls.
type named struct {
	*atomic.Int64
	slow
}

func (n named) Open(context.Context, string) (load.Caller, error) { return n, nil }

func (n named) Call() (int, error) {
	n.Add(1)
	return 1, nil
}

func TestMixCallsTheFirstMost(t *testing.T) {
	const services, calls, callers = 20, 4000, 4
	var mix load.Mix
	counts := make([]atomic.Int64, services)
	for i := range counts {
		mix.Services = append(mix.Services, load.Service{Kind: named{&counts[i], slow{}}})
	}
	r, err := load.Run(t.Context(), "", &mix, load.Plan{Callers: callers, Calls: calls})
	if err != nil || r.Calls != calls || r.Errors != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	got := make([]int64, services)
	sum := int64(0)
	for i := range counts {
		got[i] = counts[i].Load()
		sum += got[i]
	}
	// Each caller calls each service once to open it.
	if sum != calls+services*callers || got[0] < calls/5 || got[0] < 2*got[2] || got[2] < 2*got[services-1] || got[services-1] <= callers {
		t.Errorf("the services are called %d times", got)
	}
}

func TestMixOverSockets(t *testing.T) {
	echo, greets := serve(t, &load.Server{}), serve(t, &load.Server{Greets: true})
	mix := &load.Mix{Services: []load.Service{
		{Kind: load.TCP{Operation: load.Echo, Size: 10}, Address: echo}, {Kind: load.GRPC{Size: 10}, Address: serveGRPC(t)}, {Kind: load.Greeting{}, Address: greets},
	}}
	if r, err := load.Run(t.Context(), "", mix, load.Plan{Callers: 2, Calls: 30, Rate: 1000}); err != nil || r.Calls != 30 || r.Errors != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	mix.Services = append(mix.Services, load.Service{Kind: load.TCP{Operation: load.Echo, Size: 10}, Address: "127.0.0.1:1"})
	if _, err := load.Run(t.Context(), "", mix, load.Plan{Callers: 1, Calls: 1}); err == nil || !strings.Contains(err.Error(), "service 4") {
		t.Errorf("nobody listens, and the error is %v", err)
	}
}

// socks is a SOCKS5 proxy that refuses what is not for an IPv4 address.
func socks(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				var greeting [3]byte
				var request [10]byte
				if _, err := io.ReadFull(conn, greeting[:]); err != nil || greeting != [3]byte{5, 1, 0} {
					return
				}
				_, _ = conn.Write([]byte{5, 0})
				if _, err := io.ReadFull(conn, request[:]); err != nil || [4]byte(request[:4]) != [4]byte{5, 1, 0, 1} {
					_, _ = conn.Write([]byte{5, 8, 0, 1})
					return
				}
				to, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: request[4:8], Port: int(request[8])<<8 | int(request[9])})
				if err != nil {
					_, _ = conn.Write([]byte{5, 5, 0, 1})
					return
				}
				defer to.Close()
				_, _ = conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
				back := make(chan struct{})
				go func() {
					defer close(back)
					_, _ = io.Copy(conn, to)
					conn.Close()
				}()
				_, _ = io.Copy(to, conn)
				to.Close()
				<-back
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return listener.Addr().String()
}

func TestThroughSOCKS(t *testing.T) {
	proxy := socks(t)
	nginx := apps.StartNginx(t, map[string][]byte{"file": []byte("12345")})
	for _, test := range []struct {
		kind   load.Kind
		target string
	}{
		{load.TCP{Operation: load.Echo, Size: 100}, serve(t, &load.Server{})},
		{load.Connect{TCP: load.TCP{Operation: load.Echo, Size: 64}}, serve(t, &load.Server{})},
		{load.HTTP1{Path: "/file", Size: 5}, nginx.Addr},
		{load.GRPC{Size: 100}, serveGRPC(t)},
		{load.Greeting{}, serve(t, &load.Server{Greets: true})},
	} {
		r, err := load.Run(t.Context(), load.Via(proxy, test.target), test.kind, load.Plan{Callers: 2, Calls: 10})
		if err != nil || r.Calls != 10 || r.Errors != 0 {
			t.Errorf("%s: %+v, %v", test.kind, r, err)
		}
	}
	for _, target := range []string{"127.0.0.1:1", "[::1]:1", "no-address"} {
		if _, err := load.Run(t.Context(), load.Via(proxy, target), load.TCP{Operation: load.Echo, Size: 1}, load.Plan{Callers: 1, Calls: 1}); err == nil || !strings.Contains(err.Error(), target) {
			t.Errorf("%s: the error is %v", target, err)
		}
	}
}

func TestErrorsAreCounted(t *testing.T) {
	nginx := apps.StartNginx(t, map[string][]byte{"file": []byte("12345")})
	for name, kind := range map[string]load.HTTP1{"status": {Path: "/missing", Size: 5}, "size": {Path: "/file", Size: 6}} {
		r, err := load.Run(t.Context(), nginx.Addr, kind, load.Plan{Callers: 2, Calls: 6})
		if err != nil || r.Calls != 0 || r.Errors != 6 || r.FirstErr == nil {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := load.Run(t.Context(), "127.0.0.1:1", load.HTTP1{}, load.Plan{Callers: 1, Calls: 1}); err == nil {
		t.Error("nobody listens, and a run begins")
	}
}

// TestCrowdCountsErrors has callers that are answered something else, and some
// that are not answered at all.
func TestCrowdCountsErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	kind := load.Connect{TCP: load.TCP{Operation: load.Echo, Size: 8}}
	for name, address := range map[string]string{
		"another answer": serve(t, &load.Server{Greets: true}), "nobody": listener.Addr().String(),
	} {
		r, err := load.Run(t.Context(), address, kind, load.Plan{Callers: 2, Calls: 6})
		if err != nil || r.Calls != 0 || r.Errors != 6 || r.FirstErr == nil {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// slow is a server that answers after a while.
type slow struct{ wait time.Duration }

func (s slow) String() string { return "slow" }
func (s slow) Open(context.Context, string) (load.Caller, error) {
	return s, nil
}

func (s slow) Call() (int, error) {
	<-time.After(s.wait)
	return 1, nil
}
func (s slow) Close() error { return nil }

// TestOpenLoopCountsFromTheIntendedTime has one caller that cannot keep up: each
// call waits for those before, and its latency says so.
func TestOpenLoopCountsFromTheIntendedTime(t *testing.T) {
	const wait = 10 * time.Millisecond
	r, err := load.Run(t.Context(), "", slow{wait}, load.Plan{Callers: 1, Calls: 10, Rate: 1000})
	if err != nil {
		t.Fatal(err)
	}
	// The tenth is due after 9 ms and done after 100.
	if last := r.Quantile(1); last < 90*time.Millisecond {
		t.Errorf("the last of ten calls counts %s", last)
	}
	closed, err := load.Run(t.Context(), "", slow{wait}, load.Plan{Callers: 1, Calls: 10})
	if err != nil {
		t.Fatal(err)
	}
	if first := closed.Quantile(0); first < wait || closed.Elapsed < 10*wait {
		t.Errorf("a closed loop of ten took %s, the fastest %s", closed.Elapsed, first)
	}
}

func TestQuantile(t *testing.T) {
	r := load.Result{}
	if r.Quantile(0.5) != 0 {
		t.Error("no calls have a median")
	}
	for i := range 1000 {
		r.Latencies = append(r.Latencies, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 500, 0.9: 900, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := r.Quantile(q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
}
