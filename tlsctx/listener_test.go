package tlsctx

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener accepts what is sent to it: a net.Conn or an error.
type pipeListener struct {
	next   chan any
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{next: make(chan any), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case next := <-l.next:
		if err, failed := next.(error); failed {
			return nil, err
		}
		return next.(net.Conn), nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// dial returns the client's end of a new connection to l.
func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.next <- far
	return near
}

// TestListenerIsNotHeldUpByASilentPeer: the next one is accepted meanwhile, and
// the silent one times out.
func TestListenerIsNotHeldUpByASilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.server.Timeout, m.client.Timeout = 0, 0
		inner := newPipeListener()
		var failed atomic.Pointer[error]
		l := NewListener(inner, &m.server, ListenerOptions{OnError: func(_ net.Addr, err error) { failed.Store(&err) }})
		start := time.Now()
		silent := inner.dial()
		defer silent.Close()
		quick := inner.dial()
		go func() { _, _ = Client(t.Context(), quick, &m.client) }()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if conn.(*Conn).Peer().ID.Path() != clientPath || time.Since(start) != 0 {
			t.Errorf("accepted %v after %s", conn.(*Conn).Peer().ID, time.Since(start))
		}
		time.Sleep(DefaultTimeout)
		synctest.Wait()
		if err := failed.Load(); err == nil || ReasonOf(*err) != TimedOut {
			t.Errorf("the silent peer ended by %v", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestListenerBoundsHandshakesInProgress: past the bound it does not accept, and
// a handshake that fails makes room.
func TestListenerBoundsHandshakesInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.server.Timeout = time.Second
		inner := newPipeListener()
		l := NewListener(inner, &m.server, ListenerOptions{MaxHandshakes: 2})
		for range 2 {
			defer inner.dial().Close()
		}
		synctest.Wait()
		third, far := net.Pipe()
		defer third.Close()
		select {
		case inner.next <- far:
			t.Error("a third connection was accepted")
		case <-time.After(time.Second / 2):
		}
		inner.next <- far // when the first two have timed out
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestListenerSurvivesWantOfDescriptors: it pauses, and accepts again.
func TestListenerSurvivesWantOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		inner := newPipeListener()
		l := NewListener(inner, &m.server, ListenerOptions{})
		start := time.Now()
		for range 10 {
			inner.next <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
		}
		near := inner.dial()
		go func() { _, _ = Client(t.Context(), near, &m.client) }()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if paused := time.Since(start); paused < maxPause || paused > 10*maxPause {
			t.Errorf("paused for %s", paused)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestListenerEndsWithTheInnerOne and says why, as often as asked.
func TestListenerEndsWithTheInnerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		broken := errors.New("interface is gone")
		inner := newPipeListener()
		l := NewListener(inner, &m.server, ListenerOptions{})
		inner.next <- broken
		for range 2 {
			if conn, err := l.Accept(); conn != nil || !errors.Is(err, broken) {
				t.Errorf("Accept = %v, %v", conn, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestListenerCloseEndsEverything: handshakes in progress, connections that
// nobody has accepted, and the pause after a failure. synctest fails the test if
// a goroutine stays.
func TestListenerCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		inner := newPipeListener()
		l := NewListener(inner, &m.server, ListenerOptions{OnError: func(_ net.Addr, err error) {
			t.Errorf("OnError is told of the listener's own end: %v", err)
		}})
		silent, unaccepted := inner.dial(), inner.dial()
		defer silent.Close()
		client := make(chan outcome)
		go func() {
			client <- attempt(func() (*Conn, error) { return Client(t.Context(), unaccepted, &m.client) })
		}()
		synctest.Wait()
		inner.next <- syscall.EMFILE
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if o := <-client; !errors.Is(o.err, io.EOF) && !errors.Is(o.err, io.ErrClosedPipe) {
			t.Errorf("the client that nobody accepted ended by %v", o.err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EMFILE) {
			t.Errorf("Accept after Close = %v", err)
		}
	})
}

// TestListenerTellsOfFailures with the remote address and a typed error.
func TestListenerTellsOfFailures(t *testing.T) {
	m := newMesh(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	var from net.Addr
	l := NewListener(inner, &m.server, ListenerOptions{OnError: func(remote net.Addr, err error) {
		from = remote
		told <- err
	}})
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	wantReason(t, outcome{err: <-told}, ProtocolFailure)
	if from.String() != conn.LocalAddr().String() {
		t.Errorf("from %s, want %s", from, conn.LocalAddr())
	}
}
