package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// tlsPair is a mutual TLS connection over loopback.
func tlsPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	domain := ca.New(t, "example.org")
	source := identity.Static{Current: domain.Snapshot(t, "/a", identity.Attributes{})}
	near, far := tcpPair(t)
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := tlsctx.Server(context.Background(), far, &tlsctx.ServerConfig{Source: source, Sessions: []tlsctx.Session{tlsctx.Mux, tlsctx.Raw}})
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	c, err := tlsctx.Client(context.Background(), near, &tlsctx.ClientConfig{Source: source, Sessions: []tlsctx.Session{tlsctx.Mux, tlsctx.Raw}})
	if err != nil {
		t.Fatal(err)
	}
	return c, <-accepted
}

// muxed is a session and its server, whose streams handle takes. Both have ended
// when the test has.
type muxed struct {
	*Session
	served chan error
	cancel context.CancelFunc
}

func newMuxed(t testing.TB, config Config, handle func(context.Context, *Incoming)) *muxed {
	t.Helper()
	client, server := tlsPair(t)
	return muxedOver(t, client, server, config, handle)
}

func muxedOver(t testing.TB, client, server net.Conn, config Config, handle func(context.Context, *Incoming)) *muxed {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &muxed{served: make(chan error, 1), cancel: cancel}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.served <- Serve(ctx, server, config, handle)
	}()
	session, err := NewSession(t.Context(), client, config)
	if err != nil {
		t.Fatal(err)
	}
	m.Session = session
	t.Cleanup(func() {
		cancel()
		_ = session.Close()
		<-session.Done()
		<-ended
	})
	return m
}

// open opens a stream or fails the test.
func (m *muxed) open(t testing.TB, info Info) *Stream {
	t.Helper()
	s, err := m.Open(context.Background(), info)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// forwardTo returns a handler that pipes each stream to a connection of dial.
func forwardTo(dial func() *net.TCPConn) func(context.Context, *Incoming) {
	return func(ctx context.Context, in *Incoming) {
		up := dial()
		down, err := in.Accept()
		if err != nil {
			_ = up.Close()
			return
		}
		_ = Pipe{Down: down, Up: up}.Run(ctx)
	}
}

// TestMuxByteExact has many streams of one session carry seeded random data both
// ways at once between TCP connections, in pieces of random sizes, and end in
// random ways: every byte that an orderly stream was given arrives, once and in
// order.
func TestMuxByteExact(t *testing.T) {
	const streams, most = 100, 1 << 20
	servers := make(chan *net.TCPConn, streams)
	m := newMuxed(t, Config{}, forwardTo(func() *net.TCPConn {
		up, server := tcpPair(t)
		servers <- server
		return up
	}))
	var opening sync.Mutex // so that client and server of a stream are known to belong together
	var wg sync.WaitGroup
	for i := range uint64(streams) {
		wg.Go(func() {
			client, down := tcpPair(t)
			opening.Lock()
			up := m.open(t, Info{})
			server := <-servers
			opening.Unlock()
			ended := make(chan error, 1)
			go func() { ended <- Pipe{Down: down, Up: up}.Run(t.Context()) }()

			r := rand.New(rand.NewPCG(i, 7))
			reset := r.IntN(4) == 0
			there, back := random(2*i, r.IntN(most)), random(2*i+1, r.IntN(most))
			var ends sync.WaitGroup
			ends.Go(func() { trickle(client, there, i) })
			ends.Go(func() { trickle(server, back, i+streams) })
			ends.Go(func() { expect(t, server, there, reset) })
			ends.Go(func() {
				if reset { // stop reading somewhere and reset
					_, _ = io.CopyN(io.Discard, client, int64(len(back)/2))
					_ = client.SetLinger(0)
					_ = client.Close()
					return
				}
				expect(t, client, back, false)
			})
			ends.Wait()
			if err := <-ended; err != nil && !reset {
				t.Errorf("stream %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	m.Retire()
	<-m.Done()
	if err := m.Err(); err != nil {
		t.Errorf("the session ended with %v", err)
	}
	if err := <-m.served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// echoAll accepts and sends back what comes.
func echoAll(_ context.Context, in *Incoming) {
	s, err := in.Accept()
	if err != nil {
		return
	}
	_, _ = io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s})
	_ = s.Close()
}

// TestStalledStreamsHoldUpNobody: a thousand streams of a session are sent more
// than they read, and others go on.
func TestStalledStreamsHoldUpNobody(t *testing.T) {
	const stalled = 1000
	body := random(1, 256<<10)
	full := make(chan struct{}, stalled)
	config := Config{H2: h2.Config{MaxStreams: stalled + 10, Budget: h2.NewBudget(256 << 20)}}
	m := newMuxed(t, config, func(ctx context.Context, in *Incoming) {
		if in.Info.Client.IsValid() { // the mark of a stream that nobody reads
			s, err := in.Accept()
			if err != nil {
				return
			}
			_, _ = s.Write(make([]byte, 64<<10)) // fills the window
			full <- struct{}{}
			_, err = s.Write(make([]byte, 1<<20))
			if err == nil {
				t.Error("a stream that nobody reads took a megabyte")
			}
			return
		}
		echoAll(ctx, in)
	})
	for range stalled {
		m.open(t, Info{Client: netip.MustParseAddrPort("192.0.2.1:1")})
	}
	for range stalled {
		<-full
	}
	for range 10 {
		s := m.open(t, Info{})
		go func() {
			_, _ = s.Write(body)
			_ = s.CloseWrite()
		}()
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("read %d bytes of %d beside stalled streams: %v", len(got), len(body), err)
		}
		_ = s.Close()
	}
	m.cancel()
	if err := <-m.served; !errors.Is(err, h2.ReasonClosed) {
		t.Errorf("Serve: %v", err)
	}
}

func TestInfoArrives(t *testing.T) {
	trace, err := tlsctx.ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan Info, 1)
	m := newMuxed(t, Config{Authority: "db"}, func(ctx context.Context, in *Incoming) {
		got <- in.Info
		echoAll(ctx, in)
	})
	for _, want := range []Info{
		{Authority: "db", Client: netip.MustParseAddrPort("192.0.2.7:4711"), Trace: trace},
		{Authority: "db", Client: netip.MustParseAddrPort("[2001:db8::1]:80")},
		{Authority: "db"},
	} {
		s := m.open(t, want)
		if info := <-got; info != want {
			t.Errorf("got %+v, want %+v", info, want)
		}
		if err := s.Answer(t.Context()); err != nil {
			t.Error(err)
		}
		_ = s.Close()
	}
}

// TestRefusals: an answer that is not 200 says why, at once and on every read,
// and is not an end of the stream.
func TestRefusals(t *testing.T) {
	m := newMuxed(t, Config{}, func(_ context.Context, in *Incoming) {
		if err := in.Reject(200, ""); err == nil {
			t.Error("200 was taken as a rejection")
		}
		if err := in.Reject(503, "no token\r\n"); err == nil {
			t.Error("a reason that is none was taken")
		}
		if in.Info.Client.IsValid() {
			_ = in.Reject(502, "connection_refused")
		} // else it forgets to answer
	})
	for _, c := range []struct {
		info Info
		want Refused
	}{
		{Info{Client: netip.MustParseAddrPort("192.0.2.7:4711")}, Refused{502, "connection_refused"}},
		{Info{}, Refused{500, "proxy_internal_error"}},
		{Info{Authority: "elsewhere"}, Refused{421, "destination_not_found"}},
	} {
		s := m.open(t, c.info)
		_, _ = s.Write([]byte("early"))
		err := s.Answer(t.Context())
		if refused := (*Refused)(nil); !errors.As(err, &refused) || *refused != c.want {
			t.Errorf("Answer: %v, want %v", err, &c.want)
		}
		if _, err := s.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Read: %v", err)
		}
		_ = s.Abort()
	}
}

// TestDataBeforeTheAnswer: what the client sends at once is there when the
// server accepts.
func TestDataBeforeTheAnswer(t *testing.T) {
	accept := make(chan struct{})
	m := newMuxed(t, Config{}, func(ctx context.Context, in *Incoming) {
		<-accept
		echoAll(ctx, in)
	})
	s := m.open(t, Info{})
	if _, err := s.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	close(accept)
	got, err := io.ReadAll(s)
	if err != nil || string(got) != "early" {
		t.Errorf("read %q, %v", got, err)
	}
	_ = s.Close()
}

// TestServerDrains: after the word, no new stream is taken, and the old one goes
// on to its end.
func TestServerDrains(t *testing.T) {
	drain := make(chan struct{})
	m := newMuxed(t, Config{Drain: drain}, echoAll)
	old := m.open(t, Info{})
	if err := old.Answer(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(drain)
	for m.Available() { // until GOAWAY has come
		if s, err := m.Open(t.Context(), Info{}); err == nil {
			_ = s.Answer(t.Context())
			_ = s.Close()
		}
	}
	if _, err := m.Open(t.Context(), Info{}); !errors.Is(err, h2.ErrUnavailable) {
		t.Errorf("Open: %v", err)
	}
	if _, err := old.Write([]byte("still here")); err != nil {
		t.Error(err)
	}
	_ = old.CloseWrite()
	if got, err := io.ReadAll(old); err != nil || string(got) != "still here" {
		t.Errorf("read %q, %v", got, err)
	}
	_ = old.Close()
	if err := <-m.served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	<-m.Done()
	if err := m.Err(); err != nil {
		t.Errorf("session: %v", err)
	}
}

// TestRefusedByPeerShowsInNewSession: in TLS 1.3 a server's refusal comes after
// the client's handshake, and no stream must be lost to it.
func TestRefusedByPeerShowsInNewSession(t *testing.T) {
	domain := ca.New(t, "example.org")
	source := identity.Static{Current: domain.Snapshot(t, "/a", identity.Attributes{})}
	near, far := tcpPair(t)
	go func() {
		policy := tlsctx.Policy{Authorize: tlsctx.AuthorizeID(domain.ID(t, "/someone/else"))}
		_, _ = tlsctx.Server(context.Background(), far, &tlsctx.ServerConfig{Source: source, Policy: policy})
	}()
	conn, err := tlsctx.Client(t.Context(), near, &tlsctx.ClientConfig{Source: source})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = NewSession(t.Context(), conn, Config{}); !errors.Is(err, tlsctx.RefusedByPeer) {
		t.Errorf("NewSession: %v, want %v in it", err, tlsctx.RefusedByPeer)
	}
}

// TestLostSessionIsReset: a connection that ends without a goodbye resets every
// stream, and the application sees a reset.
func TestLostSessionIsReset(t *testing.T) {
	m := newMuxed(t, Config{}, echoAll)
	app, down := tcpPair(t)
	up := m.open(t, Info{})
	ended := make(chan error, 1)
	go func() { ended <- Pipe{Down: down, Up: up}.Run(t.Context()) }()
	if _, err := app.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(app, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = m.NetConn().(*tlsctx.Conn).NetConn().Close()
	if err := <-ended; !errors.Is(err, h2.ReasonLost) {
		t.Errorf("Run: %v", err)
	}
	if _, err := app.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the application read %v, want a reset", err)
	}
	if err := <-m.served; !errors.Is(err, h2.ReasonLost) {
		t.Errorf("Serve: %v", err)
	}
}

// TestGoneTellsOfAClientThatGaveUp while its connection is being opened.
func TestGoneTellsOfAClientThatGaveUp(t *testing.T) {
	var accepted atomic.Bool
	waiting, gone := make(chan struct{}), make(chan struct{})
	m := newMuxed(t, Config{}, func(_ context.Context, in *Incoming) {
		close(waiting)
		<-in.Gone()
		_, err := in.Accept()
		accepted.Store(err == nil)
		close(gone)
	})
	s := m.open(t, Info{})
	<-waiting
	_ = s.Abort()
	<-gone
	if accepted.Load() {
		t.Error("a stream that was reset was accepted")
	}
}

func TestStreamIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		accepted := make(chan *Stream, 1)
		client, server := tcpPair(t)
		m := muxedOver(t, client, server, Config{}, func(ctx context.Context, in *Incoming) {
			if s, err := in.Accept(); err == nil {
				accepted <- s
				<-ctx.Done()
			}
		})
		near := m.open(t, Info{})
		far := <-accepted
		return near, far, func() {
			_ = near.Close()
			_ = far.Close()
			m.cancel()
			_ = m.Close()
		}, nil
	})
}
