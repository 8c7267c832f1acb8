package tlsctx

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestHandshakeTimesOut on both sides, by the default, by the configuration and
// by the context, whichever is first.
func TestHandshakeTimesOut(t *testing.T) {
	m := newMesh(t)
	for _, test := range []struct {
		name             string
		timeout, context time.Duration
		want             time.Duration
	}{
		{"by default", 0, 0, DefaultTimeout},
		{"by configuration", 3 * time.Second, 0, 3 * time.Second},
		{"by context", 0, 2 * time.Second, 2 * time.Second},
		{"by configuration before the context", time.Second, 2 * time.Second, time.Second},
	} {
		for side, run := range map[string]func(context.Context, net.Conn) (*Conn, error){
			"client": func(ctx context.Context, conn net.Conn) (*Conn, error) {
				config := m.client
				config.Timeout = test.timeout
				return Client(ctx, conn, &config)
			},
			"server": func(ctx context.Context, conn net.Conn) (*Conn, error) {
				config := m.server
				config.Timeout = test.timeout
				return Server(ctx, conn, &config)
			},
		} {
			t.Run(side+" "+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx := t.Context()
					if test.context != 0 {
						limited, cancel := context.WithTimeout(ctx, test.context)
						defer cancel()
						ctx = limited
					}
					near, silent := net.Pipe()
					defer silent.Close()
					start := time.Now()
					conn, err := run(ctx, near)
					e := wantReason(t, outcome{conn, err}, TimedOut)
					if !errors.Is(e, context.DeadlineExceeded) || time.Since(start) != test.want {
						t.Errorf("after %s: %v", time.Since(start), e)
					}
					if _, err := near.Write([]byte{1}); err == nil {
						t.Error("the connection is still open")
					}
				})
			})
		}
	}
}

// TestHandshakeTimesOutOnATrickle: a peer that sends a byte now and then does
// not extend its time.
func TestHandshakeTimesOutOnATrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.server.Timeout = 0
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			record := append([]byte{22, 3, 1, 2, 0}, make([]byte, 512)...)
			for _, b := range record {
				if _, err := far.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		start := time.Now()
		conn, err := Server(t.Context(), near, &m.server)
		wantReason(t, outcome{conn, err}, TimedOut)
		if time.Since(start) != DefaultTimeout {
			t.Errorf("took %s", time.Since(start))
		}
		<-done
	})
}

// TestHandshakeIsCanceled by its caller, on both sides.
func TestHandshakeIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		ctx, cancel := context.WithCancel(t.Context())
		near, far := net.Pipe()
		silent, other := net.Pipe()
		defer far.Close()
		defer silent.Close()
		time.AfterFunc(time.Second, cancel)
		conn, err := Client(ctx, near, &m.client)
		wantReason(t, outcome{conn, err}, Canceled)
		conn, err = Server(ctx, other, &m.server)
		wantReason(t, outcome{conn, err}, Canceled)
	})
}

// TestDeadlineOfTheHandshakeEndsWithIt: the connection outlives its context.
func TestDeadlineOfTheHandshakeEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.client.Timeout, m.server.Timeout = 0, 0
		ctx, cancel := context.WithCancel(t.Context())
		near, far := net.Pipe()
		server := make(chan *Conn)
		go func() {
			conn, _ := Server(ctx, far, &m.server)
			server <- conn
		}()
		client, err := Client(ctx, near, &m.client)
		if err != nil {
			t.Fatal(err)
		}
		other := <-server
		cancel()
		time.Sleep(2 * DefaultTimeout)
		go func() { _, _ = other.Write([]byte("late")) }()
		got := make([]byte, 4)
		if n, err := client.Read(got); err != nil || string(got[:n]) != "late" {
			t.Errorf("read %q, %v", got[:n], err)
		}
		_ = near.Close()
		_ = far.Close()
	})
}
