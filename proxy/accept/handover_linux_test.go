package accept

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// successor runs TakeOver as the new process does.
func successor(t *testing.T, path string) (*Sockets, *Succession) {
	t.Helper()
	var s Sockets
	succession, err := TakeOver(t.Context(), path, &s)
	if err != nil {
		t.Fatal(err)
	}
	return &s, succession
}

func TestFirstProcessHasNobodyToTakeOverFrom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover.sock")
	for range 2 { // the second finds what one that has ended left behind
		if _, succession := successor(t, path); succession != nil {
			t.Error("took over from nobody")
		}
		h, err := OfferHandover(path)
		if err != nil {
			t.Fatal(err)
		}
		_ = h.Close()
	}
}

// TestQueuedConnectionSurvives connects before the handover and is answered by
// the new process: the descriptor is the same, and so is its queue.
func TestQueuedConnectionSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover.sock")
	old, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := old.Addr().String()
	h, err := OfferHandover(path)
	if err != nil {
		t.Fatal(err)
	}
	handed := make(chan error, 1)
	go func() {
		err := h.Serve(t.Context(), func() map[string]net.Listener { return map[string]net.Listener{address: old} }, func(err error) { t.Error(err) })
		_ = old.Close()
		handed <- err
	}()
	queued, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer queued.Close()

	sockets, succession := successor(t, path)
	l, err := sockets.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := succession.Ready(); err != nil {
		t.Fatal(err)
	}
	if err := <-handed; err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "new")
	_ = c.Close()
	if got, err := io.ReadAll(queued); err != nil || string(got) != "new" {
		t.Errorf("the queued connection got %q, %v", got, err)
	}
}

// TestFailedSuccessorChangesNothing has the first successor give up: the old
// process is told, and hands over to the second.
func TestFailedSuccessorChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover.sock")
	old, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	h, err := OfferHandover(path)
	if err != nil {
		t.Fatal(err)
	}
	reports, handed := make(chan error, 1), make(chan error, 1)
	go func() {
		handed <- h.Serve(t.Context(), func() map[string]net.Listener { return map[string]net.Listener{"a": old} }, func(err error) { reports <- err })
	}()
	sockets, succession := successor(t, path)
	succession.Abandon()
	if err := <-reports; err == nil {
		t.Error("the failed successor was not reported")
	}
	if rest := sockets.Rest(); len(rest) != 1 || rest[0] != "a" {
		t.Errorf("sockets that nobody asked for: %q, want a", rest)
	}
	_, succession = successor(t, path)
	if err := succession.Ready(); err != nil {
		t.Fatal(err)
	}
	if err := <-handed; err != nil {
		t.Fatal(err)
	}
}

func TestHandoverEndsWithItsContext(t *testing.T) {
	h, err := OfferHandover(filepath.Join(t.TempDir(), "handover.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := h.Serve(ctx, nil, nil); err == nil {
		t.Error("Serve returned nil though nobody came")
	}
}

func TestSameAddress(t *testing.T) {
	bound := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct {
		bound, asked string
		same         bool
	}{
		{"[::]:80", ":80", true},
		{"0.0.0.0:80", ":80", true},
		{"[::]:80", "0.0.0.0:80", true},
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", ":80", false},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"127.0.0.1:80", "127.0.0.1:0", false},
		{"127.0.0.1:80", "nonsense", false},
	} {
		if got := sameAddress(bound(c.bound), c.asked); got != c.same {
			t.Errorf("bound to %s, asked for %s: same=%t, want %t", c.bound, c.asked, got, c.same)
		}
	}
}

// successorPath is set in the environment of the process that
// TestHandoverBetweenProcesses starts: where its predecessor waits.
const successorPath = "HALLMARK_TEST_HANDOVER"

// TestHandoverBetweenProcesses hands a socket to another process, which answers
// who waits in its queue.
func TestHandoverBetweenProcesses(t *testing.T) {
	if path := os.Getenv(successorPath); path != "" {
		succeed(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "handover.sock")
	old, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	h, err := OfferHandover(path)
	if err != nil {
		t.Fatal(err)
	}
	handed := make(chan error, 1)
	go func() {
		handed <- h.Serve(t.Context(), func() map[string]net.Listener { return map[string]net.Listener{":8443": old} }, func(err error) { t.Error(err) })
		_ = old.Close() // as the old process does: the socket lives on in the new one
	}()
	client, err := net.Dial("tcp", old.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHandoverBetweenProcesses$")
	cmd.Env = append(os.Environ(), successorPath+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := <-handed; err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(client); err != nil || string(got) != "the new process" {
		t.Errorf("read %q, %v", got, err)
	}
}

// succeed takes the socket over and serves one connection.
func succeed(t *testing.T, path string) {
	sockets, succession := successor(t, path)
	l, err := sockets.Listen(t.Context(), ":8443")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := succession.Ready(); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "the new process")
	_ = c.Close()
}

// TestManySockets hands over as many sockets as fit, and refuses more.
func TestManySockets(t *testing.T) {
	for n, fits := range map[int]bool{maxHandover: true, maxHandover + 1: false} {
		sockets := make(map[string]net.Listener, n)
		for range n {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			sockets[l.Addr().String()] = l
		}
		path := filepath.Join(t.TempDir(), "handover.sock")
		h, err := OfferHandover(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		handed, reports := make(chan error, 1), make(chan error, 1)
		go func() {
			handed <- h.Serve(ctx, func() map[string]net.Listener { return sockets }, func(err error) { reports <- err })
		}()
		var s Sockets
		succession, err := TakeOver(t.Context(), path, &s)
		if fits {
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(succession.Ready(), <-handed); err != nil {
				t.Error(err)
			}
			if got := s.Rest(); len(got) != n {
				t.Errorf("%d sockets came, want %d", len(got), n)
			}
		} else {
			if err == nil || <-reports == nil {
				t.Errorf("%d sockets were handed over", n)
			}
			cancel()
			<-handed
		}
		cancel()
	}
}
