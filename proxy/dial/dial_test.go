package dial

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeConn is a connection to an address in a bubble.
type fakeConn struct {
	net.Conn
	address string
	network *network
}

func (c *fakeConn) CloseWrite() error { return nil }

func (c *fakeConn) Close() error {
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	c.network.closed = append(c.network.closed, c.address)
	return nil
}

// network answers connects as a test has set.
type network struct {
	delay map[string]time.Duration // 0 means at once, negative never
	err   map[string]error

	mu     sync.Mutex
	start  time.Time
	tried  []string
	when   []time.Duration
	closed []string
	stuck  bool // answers although it was told to stop
}

func (n *network) connect(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	if n.start.IsZero() {
		n.start = time.Now()
	}
	n.tried, n.when = append(n.tried, address), append(n.when, time.Since(n.start))
	delay, err := n.delay[address], n.err[address]
	n.mu.Unlock()
	if delay != 0 {
		answered := make(<-chan time.Time)
		if delay > 0 {
			answered = time.After(delay)
		}
		select {
		case <-answered:
		case <-ctx.Done():
			if !n.stuck {
				return nil, ctx.Err()
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return &fakeConn{address: address, network: n}, nil
}

// dialing returns a dialer over the network whose first turn is the first
// address.
func dialing(n *network) *Dialer { return &Dialer{Connect: n.connect, started: true} }

func to(c Conn) string {
	if f, ok := c.(*fakeConn); ok {
		return f.address
	}
	return ""
}

const (
	v4a, v4b = "192.0.2.1:80", "192.0.2.2:80"
	v6a, v6b = "[2001:db8::1]:80", "[2001:db8::2]:80"
)

func TestStagger(t *testing.T) {
	for name, c := range map[string]struct {
		network *network
		want    string
		tried   []string
		when    []time.Duration
	}{
		"the first answers": {&network{}, v6a, []string{v6a}, []time.Duration{0}},
		"the first is slow": {
			&network{delay: map[string]time.Duration{v6a: time.Second}},
			v4a,
			[]string{v6a, v4a},
			[]time.Duration{0, DefaultStagger},
		},
		"the first is slow, but wins": {
			&network{delay: map[string]time.Duration{v6a: 300 * time.Millisecond, v4a: time.Second}},
			v6a,
			[]string{v6a, v4a},
			[]time.Duration{0, DefaultStagger},
		},
		"the first fails": {
			&network{err: map[string]error{v6a: syscall.ECONNREFUSED}},
			v4a,
			[]string{v6a, v4a},
			[]time.Duration{0, 0},
		},
		"all but the last are dead": {
			&network{delay: map[string]time.Duration{v6a: -1, v4a: -1, v6b: -1}},
			v4b,
			[]string{v6a, v4a, v6b, v4b},
			[]time.Duration{0, DefaultStagger, 2 * DefaultStagger, 3 * DefaultStagger},
		},
		"one fails in between": {
			&network{delay: map[string]time.Duration{v6a: -1, v4a: 100 * time.Millisecond}, err: map[string]error{v4a: syscall.EHOSTUNREACH}},
			v6b,
			[]string{v6a, v4a, v6b},
			[]time.Duration{0, DefaultStagger, DefaultStagger + 100*time.Millisecond},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, err := dialing(c.network).Dial(t.Context(), []string{v6a, v6b, v4a, v4b})
				if err != nil || to(conn) != c.want {
					t.Fatalf("connected to %q, %v; want %s", to(conn), err, c.want)
				}
				if !slices.Equal(c.network.tried, c.tried) || !slices.Equal(c.network.when, c.when) {
					t.Errorf("tried %q at %v, want %q at %v", c.network.tried, c.network.when, c.tried, c.when)
				}
			})
		})
	}
}

// TestLosersAreClosed has a second connection succeed just as the first does.
func TestLosersAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: map[string]time.Duration{v6a: -1}, stuck: true}
		conn, err := dialing(n).Dial(t.Context(), []string{v6a, v4a})
		if err != nil || to(conn) != v4a {
			t.Fatalf("%q, %v", to(conn), err)
		}
		if !slices.Equal(n.closed, []string{v6a}) {
			t.Errorf("closed %q, want the other connection", n.closed)
		}
	})
}

func TestErrorNamesEveryAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{err: map[string]error{v6a: syscall.ECONNREFUSED, v4a: syscall.EHOSTUNREACH}}
		_, err := dialing(n).Dial(t.Context(), []string{v6a, v4a, "nonsense"})
		for _, want := range []string{v6a, v4a, "nonsense", "refused", "no route"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %s", err, want)
			}
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("%v does not wrap its causes", err)
		}
		if _, err := dialing(n).Dial(t.Context(), nil); err == nil {
			t.Error("connected to no address")
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: map[string]time.Duration{v6a: -1, v4a: -1}}
		d := dialing(n)
		d.Timeout, d.Stagger = 3*time.Second, 2*time.Second
		start := time.Now()
		_, err := d.Dial(t.Context(), []string{v6a, v4a, v6b, v4b})
		var e *Error
		if !errors.As(err, &e) || len(e.Failures) != 2 || e.Untried != 2 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %s, want 3 s", took)
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: map[string]time.Duration{v6a: -1}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := dialing(n).Dial(ctx, []string{v6a}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

// TestReplicasShareTheLoad dials three replicas, and then with one dead.
// TestCancelWithATypedNil has a connect that returns, with its error, a nil of a
// type of its own in an interface that is not nil: it is not to be closed.
func TestCancelWithATypedNil(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	trying := make(chan struct{})
	go func() {
		<-trying
		cancel()
	}()
	_, err := new(Dialer).Race(ctx, []string{"192.0.2.1:1"}, func(ctx context.Context, _ string) (Conn, error) {
		close(trying)
		<-ctx.Done()
		var none *fakeConn
		return none, context.Cause(ctx)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Race: %v, want that it was canceled", err)
	}
}

func TestReplicasShareTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := []string{"192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"}
		n := &network{}
		d := &Dialer{Connect: n.connect} // a random start, which is as good as any
		for range 300 {
			if _, err := d.Dial(t.Context(), replicas); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range replicas {
			if got := count(n.tried, r); got != 100 {
				t.Errorf("%s got %d of 300 connections", r, got)
			}
		}
		n.err = map[string]error{replicas[1]: syscall.ECONNREFUSED}
		n.tried = nil
		for range 300 {
			if _, err := d.Dial(t.Context(), replicas); err != nil {
				t.Fatal(err)
			}
		}
		if got := count(n.tried, replicas[1]); got != 1 {
			t.Errorf("the dead one was tried %d times, want once", got)
		}
		if a, c := count(n.tried, replicas[0]), count(n.tried, replicas[2]); a+c != 300 || a < 100 || c < 100 {
			t.Errorf("the others got %d and %d", a, c)
		}
		time.Sleep(slowFor)
		n.tried = nil
		for range 3 {
			_, _ = d.Dial(t.Context(), replicas)
		}
		if got := count(n.tried, replicas[1]); got != 1 {
			t.Errorf("after a while the dead one was tried %d times, want once again", got)
		}
	})
}

// TestOvertakenAddressComesLast has a family that answers nobody: it costs the
// stagger once, not with every other connection.
func TestOvertakenAddressComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: map[string]time.Duration{v6a: -1}}
		d := dialing(n)
		start := time.Now()
		for range 10 {
			if _, err := d.Dial(t.Context(), []string{v6a, v4a}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != DefaultStagger {
			t.Errorf("ten connections took %s, want one stagger", took)
		}
	})
}

func count(list []string, s string) (n int) {
	for _, x := range list {
		if x == s {
			n++
		}
	}
	return n
}

func TestOrder(t *testing.T) {
	d := &Dialer{started: true}
	all := []string{v4a, v4b, v6a, v6b, "unix:/a"}
	for _, want := range [][]string{
		{v4a, v6a, v4b, v6b, "unix:/a"},
		{v4b, v6a, "unix:/a", v6b, v4a},
		{v6a, "unix:/a", v6b, v4a, v4b},
	} {
		if got := d.Order(all); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if !slices.Equal(all, []string{v4a, v4b, v6a, v6b, "unix:/a"}) {
		t.Error("the argument was changed")
	}
}

func TestSlowAddressesAreBounded(t *testing.T) {
	d := new(Dialer)
	for i := range 3 * maxSlow {
		d.delay(strings.Repeat("x", i))
	}
	if len(d.slow) > maxSlow {
		t.Errorf("%d addresses are remembered", len(d.slow))
	}
}

func TestSplit(t *testing.T) {
	for address, want := range map[string][2]string{
		v4a: {"tcp", v4a}, v6a: {"tcp", v6a}, "unix:/run/a.sock": {"unix", "/run/a.sock"},
		"unix:": {}, "db:80": {}, "192.0.2.1": {}, "": {}, "unix": {},
	} {
		network, rest, err := Split(address)
		if got := [2]string{network, rest}; got != want || (err == nil) != (want[0] != "") {
			t.Errorf("%q: %q, %v; want %q", address, got, err, want)
		}
	}
}

// TestRealSockets connects by TCP and to a unix socket, past a port at which
// nobody listens.
func TestRealSockets(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	path := filepath.Join(t.TempDir(), "s")
	for network, listen := range map[string]string{"tcp": "127.0.0.1:0", "unix": path} {
		l, err := net.Listen(network, listen)
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		if network == "unix" {
			address = "unix:" + path
		}
		var prepared net.Conn
		d := &Dialer{started: true, Prepare: func(c net.Conn) { prepared = c }}
		c, err := d.Dial(t.Context(), []string{closed.Addr().String(), address})
		if err != nil {
			t.Fatal(err)
		}
		if prepared != net.Conn(c) {
			t.Errorf("%s: prepared %v", network, prepared)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.CloseWrite()
		if b, err := io.ReadAll(s); err != nil || len(b) > 0 {
			t.Errorf("%s: %q, %v; want the end", network, b, err)
		}
		_, _, _ = c.Close(), s.Close(), l.Close()
	}
	if _, err := new(Dialer).Dial(t.Context(), []string{closed.Addr().String()}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

// TestDialLoopback connects to what listens on loopback, in both families, and to
// what does not: there the socket is connected before package net comes to it.
func TestDialLoopback(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		var d Dialer
		c, err := d.Dial(t.Context(), []string{address})
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if c.RemoteAddr().String() != address || c.LocalAddr().String() != accepted.RemoteAddr().String() {
			t.Errorf("connected from %s to %s, want to %s, which sees %s", c.LocalAddr(), c.RemoteAddr(), address, accepted.RemoteAddr())
		}
		if _, err := accepted.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Errorf("read %q, %v", got, err)
		}
		for _, closer := range []io.Closer{c, accepted, listener} {
			_ = closer.Close()
		}
		if _, err := d.Dial(t.Context(), []string{address}); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
	}
}
