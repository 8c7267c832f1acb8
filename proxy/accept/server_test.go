package accept

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a listener whose Accept returns what it is told.
type scripted struct {
	mu     sync.Mutex
	steps  []func() (net.Conn, error)
	closed chan struct{}
	once   sync.Once
}

func newScripted(steps ...func() (net.Conn, error)) *scripted {
	return &scripted{steps: steps, closed: make(chan struct{})}
}

func (l *scripted) Accept() (net.Conn, error) {
	l.mu.Lock()
	if len(l.steps) > 0 {
		step := l.steps[0]
		l.steps = l.steps[1:]
		l.mu.Unlock()
		return step()
	}
	l.mu.Unlock()
	<-l.closed
	return nil, net.ErrClosed
}

func (l *scripted) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *scripted) Addr() net.Addr { return &net.TCPAddr{} }

func fails(err error) func() (net.Conn, error) { return func() (net.Conn, error) { return nil, err } }

func connects() (net.Conn, error) {
	near, far := net.Pipe()
	_ = far.Close()
	return near, nil
}

func TestServeSurvivesRunningOutOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled, limited atomic.Int32
		s := NewServer(Config{OnLimit: func(l Limit) {
			if l == LimitDescriptors {
				limited.Add(1)
			}
		}}, func(_ context.Context, c *Conn) {
			handled.Add(1)
			_ = c.Close()
		})
		emfile := &net.OpError{Op: "accept", Err: syscall.EMFILE}
		l := newScripted(fails(emfile), fails(emfile), connects, fails(&net.OpError{Op: "accept", Err: syscall.ECONNABORTED}), connects)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, l) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if !s.Drain(t.Context()) || handled.Load() != 2 || limited.Load() != 2 {
			t.Errorf("handled %d, limits met %d; want 2 and 2", handled.Load(), limited.Load())
		}
	})
}

func TestServeEndsOnAnErrorThatStays(t *testing.T) {
	broken := errors.New("broken")
	if err := NewServer(Config{}, nil).Serve(t.Context(), newScripted(fails(broken))); !errors.Is(err, broken) {
		t.Errorf("Serve: %v, want %v", err, broken)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open, most, limited atomic.Int32
		s := NewServer(Config{MaxConnections: 3, OnLimit: func(Limit) { limited.Add(1) }}, func(_ context.Context, c *Conn) {
			most.Store(max(most.Load(), open.Add(1)))
			time.Sleep(time.Second)
			open.Add(-1)
			_ = c.Close()
		})
		steps := make([]func() (net.Conn, error), 20)
		for i := range steps {
			steps[i] = connects
		}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, newScripted(steps...)) }()
		time.Sleep(time.Hour)
		cancel()
		<-served
		s.Drain(t.Context())
		if most.Load() != 3 || limited.Load() == 0 {
			t.Errorf("%d connections at once, limit met %d times; want 3 and some", most.Load(), limited.Load())
		}
	})
}

func TestDrainCutsWhatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{}, func(ctx context.Context, c *Conn) {
			<-ctx.Done()
			_ = c.Close()
		})
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, newScripted(connects)) }()
		synctest.Wait()
		cancel()
		<-served
		deadline, stop := context.WithTimeout(t.Context(), 30*time.Second)
		defer stop()
		if s.Drain(deadline) {
			t.Error("Drain says that nothing was cut")
		}
	})
}

func TestGate(t *testing.T) {
	met := make(map[Limit]int)
	g := Gate{Max: 3, MaxPerSource: 2, OnLimit: func(l Limit) { met[l]++ }}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	over, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits
	leave, _ := g.Enter(t.Context(), a)
	_, _ = g.Enter(t.Context(), a)
	if _, kept := g.Enter(over, a); kept != LimitHandshakesPerSource {
		t.Errorf("third of one source: kept out by %q", kept)
	}
	_, _ = g.Enter(t.Context(), b)
	if _, kept := g.Enter(t.Context(), b); kept != LimitHandshakes {
		t.Errorf("fourth of all: kept out by %q", kept)
	}
	leave()
	leave() // a second time changes nothing
	if _, kept := g.Enter(t.Context(), a); kept != "" {
		t.Errorf("after one has left: kept out by %q", kept)
	}
	if _, kept := g.Enter(t.Context(), b); kept != LimitHandshakes {
		t.Errorf("leaving twice let two in: %q", kept)
	}
	if met[LimitHandshakes] != 2 || met[LimitHandshakesPerSource] != 1 {
		t.Errorf("told of %v", met)
	}
}

// TestGateQueues has more of one source than may be inside: they come in in the
// order in which they came, but for one that gives up, and others do not wait for
// them.
func TestGateQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Gate{MaxPerSource: 1}
		a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		leave, _ := g.Enter(t.Context(), a)
		type entry struct {
			number int
			leave  func()
			kept   Limit
		}
		entered := make(chan entry, 5)
		impatient, giveUp := context.WithCancel(t.Context())
		for i := range 4 {
			ctx := t.Context()
			if i == 1 {
				ctx = impatient
			}
			go func() {
				leave, kept := g.Enter(ctx, a)
				entered <- entry{i, leave, kept}
			}()
			synctest.Wait()
		}
		if _, kept := g.Enter(t.Context(), a); kept != LimitHandshakesPerSource {
			t.Errorf("a fifth who waits: kept out by %q", kept)
		}
		if leave, kept := g.Enter(t.Context(), b); kept != "" {
			t.Errorf("another source: kept out by %q", kept)
		} else {
			leave()
		}
		if len(entered) != 0 {
			t.Fatal("somebody was let in beside another")
		}
		giveUp()
		if e := <-entered; e.number != 1 || e.kept != LimitHandshakesPerSource {
			t.Errorf("gave up: %+v", e)
		}
		for _, want := range []int{0, 2, 3} {
			leave()
			e := <-entered
			if e.number != want || e.kept != "" {
				t.Fatalf("the next is %+v, want number %d", e, want)
			}
			leave = e.leave
		}
		leave()
		if g.total != 0 || len(g.sources) != 0 {
			t.Errorf("%d are inside, of %d sources", g.total, len(g.sources))
		}
	})
}

// TestGateCountsNetworks has one host take many addresses of its network.
func TestGateCountsNetworks(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits
	for address, another := range map[string]string{
		"2001:db8::1": "2001:db8::ffff:2", "::ffff:192.0.2.1": "192.0.2.1", "fe80::1%a": "fe80::2%b",
	} {
		g := Gate{MaxPerSource: 1}
		leave, _ := g.Enter(t.Context(), netip.MustParseAddr(address))
		if _, kept := g.Enter(over, netip.MustParseAddr(another)); kept != LimitHandshakesPerSource {
			t.Errorf("%s beside %s: kept out by %q", another, address, kept)
		}
		if _, kept := g.Enter(t.Context(), netip.MustParseAddr("2001:db8:0:1::1")); kept != "" {
			t.Errorf("another network: kept out by %q", kept)
		}
		leave()
		if _, kept := g.Enter(t.Context(), netip.MustParseAddr(another)); kept != "" {
			t.Errorf("%s after %s has left: kept out by %q", another, address, kept)
		}
	}
	if _, kept := (&Gate{MaxPerSource: 1}).Enter(t.Context(), netip.Addr{}); kept != "" {
		t.Errorf("of no address, as over a unix socket: kept out by %q", kept)
	}
}

// TestServeAgain has a server that was told to stop take no slot with it.
func TestServeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{MaxConnections: 1}, func(_ context.Context, c *Conn) { _ = c.Close() })
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 3 {
			if err := s.Serve(ended, newScripted()); err != nil {
				t.Fatal(err)
			}
		}
		l := newScripted(connects)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, l) }()
		synctest.Wait()
		l.mu.Lock()
		left := len(l.steps)
		l.mu.Unlock()
		if left != 0 {
			t.Error("the connection waits, and none is open")
		}
		cancel()
		<-served
		s.Drain(t.Context())
	})
}

// loopback is a trusted network that every test connection comes from.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// arrive sends bytes to a server that expects headers, and returns what the
// handler saw of the connection, or the error.
func arrive(t *testing.T, p ProxyHeader, sent string) (*Conn, string, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	go func() {
		_, _ = io.WriteString(client, sent)
		_ = client.(*net.TCPConn).CloseWrite()
	}()
	c, err := p.read(t.Context(), raw)
	if err != nil {
		return nil, "", err
	}
	rest, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return c, string(rest), nil
}

const v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x30\x39\x01\xbb"

func TestProxyHeader(t *testing.T) {
	trusting := ProxyHeader{Trusted: loopback}
	for name, c := range map[string]struct {
		sent, source, rest string
		bad                bool
	}{
		"version 1":                              {sent: "PROXY TCP4 192.0.2.1 192.0.2.2 12345 443\r\nhello", source: "192.0.2.1:12345", rest: "hello"},
		"version 1 unknown":                      {sent: "PROXY UNKNOWN\r\nhello", rest: "hello"},
		"version 2":                              {sent: v2 + "hello", source: "192.0.2.1:12345", rest: "hello"},
		"version 2, nothing after":               {sent: v2, source: "192.0.2.1:12345"},
		"version 2 local":                        {sent: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00hello", rest: "hello"},
		"none":                                   {sent: "GET / HTTP/1.1\r\n\r\n", bad: true},
		"none, post":                             {sent: "POST / HTTP/1.1\r\n\r\n", bad: true},
		"version 2 without addresses":            {sent: "\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00hello", rest: "hello"},
		"version 2 without addresses, with TLVs": {sent: "\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x05\x04\x00\x02xxhello", rest: "hello"},
		"version 2 of IPv6": {
			sent:   "\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24" + strings.Repeat("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", 2) + "\x30\x39\x01\xbbhello",
			source: "[2001:db8::1]:12345", rest: "hello",
		},
		"cut":     {sent: "PROXY TCP4 192", bad: true},
		"endless": {sent: "PROXY TCP4 " + string(make([]byte, 200)), bad: true},
		"huge":    {sent: "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", bad: true},
		"empty":   {sent: "", bad: true},
	} {
		conn, rest, err := arrive(t, trusting, c.sent)
		switch {
		case c.bad && err == nil:
			t.Errorf("%s: was taken", name)
		case c.bad:
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case rest != c.rest:
			t.Errorf("%s: %q follows the header, want %q", name, rest, c.rest)
		case c.source != "" && conn.Source.String() != c.source:
			t.Errorf("%s: source %s, want %s", name, conn.Source, c.source)
		case c.source == "" && !conn.Source.Addr().IsLoopback():
			t.Errorf("%s: source %s, want the peer's", name, conn.Source)
		}
	}
}

func TestProxyHeaderOfOthersIsTheirBytes(t *testing.T) {
	_, rest, err := arrive(t, ProxyHeader{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, v2)
	if err != nil || rest != v2 {
		t.Errorf("read %q, %v; want the bytes as they are", rest, err)
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte(v2 + "x"))
	f.Add([]byte("PROXY TCP6 ::1 ::1 1 2\r\nx"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := net.Pipe()
		go func() {
			_, _ = far.Write(sent)
			_ = far.Close()
		}()
		_, _ = readHeader(near)
		_ = near.Close()
		_, _ = io.Copy(io.Discard, far)
	})
}
