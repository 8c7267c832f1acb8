package accept

import (
	"context"
	"io"
	"net"
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
