package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/bench/load"
)

// echo is the exchange that traffic consists of.
var echo = load.TCP{Operation: load.Echo, Size: 64}

// EchoServer runs an application that echoes, for as long as the test lasts, and
// returns its address. [Traffic] and package load speak its protocol.
func EchoServer(tb testing.TB) string {
	tb.Helper()
	return serve(tb, &load.Server{})
}

// GreetingServer runs an application that speaks first.
func GreetingServer(tb testing.TB) string {
	tb.Helper()
	return serve(tb, &load.Server{Greets: true})
}

func serve(tb testing.TB, server *load.Server) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // until it is closed
	}()
	tb.Cleanup(func() {
		server.Close()
		<-served
	})
	return listener.Addr().String()
}

// Exchange connects, has something echoed and leaves.
func Exchange(ctx context.Context, address string) error {
	return call(ctx, load.Connect{TCP: echo}, address)
}

// Greeted connects to an application that speaks first, and leaves once it has.
func Greeted(ctx context.Context, address string) error { return call(ctx, load.Greeting{}, address) }

func call(ctx context.Context, kind load.Kind, address string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := kind.Open(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Call()
	return err
}

// Kept is a connection that stays.
type Kept struct{ caller load.Caller }

// Keep connects to an application that echoes.
func Keep(tb testing.TB, address string) *Kept {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*patience)
	tb.Cleanup(cancel)
	c, err := echo.Open(ctx, address)
	if err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return &Kept{c}
}

// Echo has something echoed on it.
func (k *Kept) Echo() error {
	_, err := k.caller.Call()
	return err
}

// Close closes it.
func (k *Kept) Close() { _ = k.caller.Close() }

// Traffic is connections that come and go all the time, each with an exchange,
// and connections that stay, with one exchange after the other.
type Traffic struct {
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	calls  int
	errs   []error
	change chan struct{} // closed and replaced at every call
}

// StartTraffic makes traffic to an application that echoes until it is stopped:
// so many callers that connect anew each time, and so many that stay connected.
func StartTraffic(tb testing.TB, address string, coming, staying int) *Traffic {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	t := &Traffic{stop: stop, change: make(chan struct{})}
	for range coming {
		t.all.Go(func() {
			for ctx.Err() == nil {
				t.count(Exchange(context.WithoutCancel(ctx), address))
			}
		})
	}
	for range staying {
		kept := Keep(tb, address)
		t.all.Go(func() {
			for ctx.Err() == nil {
				err := kept.Echo()
				t.count(err)
				if err != nil {
					return
				}
			}
		})
	}
	tb.Cleanup(func() {
		stop()
		t.all.Wait()
	})
	return t
}

func (t *Traffic) count(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.errs = append(t.errs, err)
	} else {
		t.calls++
	}
	close(t.change)
	t.change = make(chan struct{})
}

// Await waits for so many more exchanges that went well.
func (t *Traffic) Await(tb testing.TB, more int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	t.mu.Lock()
	until := t.calls + more
	for t.calls < until {
		change := t.change
		t.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			t.mu.Lock()
			tb.Fatalf("e2e: %d exchanges, and no more; errors: %v", t.calls, errors.Join(t.errs...))
		}
		t.mu.Lock()
	}
	t.mu.Unlock()
}

// Stop ends it, and returns how many exchanges went well and the errors of
// those that did not.
func (t *Traffic) Stop() (calls int, errs []error) {
	t.stop()
	t.all.Wait()
	return t.calls, t.errs
}

// MustStop is Stop, and fails the test if an exchange has failed.
func (t *Traffic) MustStop(tb testing.TB) (calls int) {
	tb.Helper()
	calls, errs := t.Stop()
	if len(errs) > 0 {
		tb.Errorf("e2e: %d exchanges failed of %d: %s", len(errs), calls+len(errs), first(errs))
	}
	return calls
}

// first words the first errors of many.
func first(errs []error) string {
	const few = 5
	if len(errs) > few {
		return fmt.Sprintf("%v and %d more", errors.Join(errs[:few]...), len(errs)-few)
	}
	return errors.Join(errs...).Error()
}
