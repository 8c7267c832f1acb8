package detect_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/detect"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// outcome is how a race in a test ended.
type outcome struct {
	detect.Result
	err error
}

// race runs one between a client, whose end it returns, and a backend.
func race(ctx context.Context, r detect.Race, b *backend) (client *memConn, ended chan outcome) {
	client, down := memPair()
	r.Open = b.open
	ended = make(chan outcome, 1)
	go func() {
		res, err := r.Run(ctx, down)
		ended <- outcome{res, err}
	}()
	return client, ended
}

// undecided fails the test if the race has ended.
func undecided(t *testing.T, ended chan outcome) {
	t.Helper()
	synctest.Wait()
	select {
	case o := <-ended:
		t.Fatalf("ended as %s by %s (%v), and nobody has spoken", o.Protocol, o.How, o.err)
	default:
	}
}

const mysqlGreeting = "\x4a\x00\x00\x00\x0a8.0.36\x00"

func TestClientSpeaksWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		client, ended := race(t.Context(), detect.Race{}, b)
		io.WriteString(client, "GET / HTTP/1.1\r\n\r\n")
		_ = client.CloseWrite()
		o := <-ended
		if o.Protocol != tlsctx.HTTP1 || o.How != detect.ByClient || o.Speculated || o.Waited != 0 {
			t.Errorf("%+v", o)
		}
		if got := all(t, o.Down); got != "GET / HTTP/1.1\r\n\r\n" {
			t.Errorf("%q is left to read", got)
		}
		if got := b.opened(); !slices.Equal(got, []tlsctx.Protocol{tlsctx.HTTP1}) {
			t.Errorf("opened for %q", got)
		}
	})
}

func TestServerSpeaksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{greet: mysqlGreeting, delay: 3 * time.Millisecond}
		memory := new(detect.Memory)
		client, ended := race(t.Context(), detect.Race{Target: "db", Memory: memory}, b)
		o := <-ended
		if o.err != nil || o.Protocol != tlsctx.MySQL || o.How != detect.ByServer || !o.Speculated || !o.Adopted {
			t.Errorf("%+v", o)
		}
		if want := detect.DefaultGrace + b.delay; o.Waited != want {
			t.Errorf("waited %s, want the grace and the opening, %s", o.Waited, want)
		}
		_ = b.server(0).CloseWrite()
		if got := all(t, o.Up); got != mysqlGreeting {
			t.Errorf("%q of the server is left to read", got)
		}
		_, _ = io.WriteString(client, "later")
		_ = client.CloseWrite()
		if got := all(t, o.Down); got != "later" {
			t.Errorf("%q of the client is left to read", got)
		}

		_, ended = race(t.Context(), detect.Race{Target: "db", Memory: memory}, b)
		if o = <-ended; o.Waited != b.delay {
			t.Errorf("the second connection waited %s, want no grace, %s", o.Waited, b.delay)
		}
	})
}

// TestNoTimeoutDecides lets nobody speak for a day, and then either.
func TestNoTimeoutDecides(t *testing.T) {
	for name, c := range map[string]struct {
		speak    func(client, server *memConn)
		protocol tlsctx.Protocol
		how      detect.How
	}{
		"the client": {func(client, _ *memConn) { io.WriteString(client, "*1\r\n$4\r\nPING\r\n") }, tlsctx.Redis, detect.ByClient},
		"the server": {func(_, server *memConn) { io.WriteString(server, "SSH-2.0-x\r\n") }, tlsctx.SSH, detect.ByServer},
		"the server, h2": {func(_, server *memConn) {
			io.WriteString(server, "\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		}, tlsctx.HTTP2, detect.ByServer},
		"the client ends": {func(client, _ *memConn) { _ = client.CloseWrite() }, tlsctx.Opaque, detect.ByEnd},
		"the server ends": {func(_, server *memConn) { _ = server.CloseWrite() }, tlsctx.Opaque, detect.ByServer},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{}
				client, ended := race(t.Context(), detect.Race{}, b)
				time.Sleep(24 * time.Hour)
				undecided(t, ended)
				c.speak(client, b.server(0))
				o := <-ended
				if o.err != nil || o.Protocol != c.protocol || o.How != c.how || !o.Adopted || o.Up == nil {
					t.Errorf("%+v; want %s by %s, adopted", o, c.protocol, c.how)
				}
				if got := b.opened(); !slices.Equal(got, []tlsctx.Protocol{tlsctx.Unknown}) {
					t.Errorf("opened for %q, want once on speculation", got)
				}
			})
		})
	}
}

func TestSpeculationIsDiscardedForHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, memory := &backend{}, new(detect.Memory)
		r := detect.Race{Target: "web", Memory: memory}
		client, ended := race(t.Context(), r, b)
		time.Sleep(time.Second)
		io.WriteString(client, "GET / HTTP/1.1\r\n")
		o := <-ended
		if o.err != nil || o.Protocol != tlsctx.HTTP1 || !o.Speculated || o.Adopted {
			t.Fatalf("%+v", o)
		}
		if !b.near(0).isClosed() || b.near(1).isClosed() {
			t.Error("the speculative connection stayed open, or the other did not")
		}
		if got := b.opened(); !slices.Equal(got, []tlsctx.Protocol{tlsctx.Unknown, tlsctx.HTTP1}) {
			t.Errorf("opened for %q", got)
		}

		// Nothing is opened on speculation for as long as that is remembered...
		client, ended = race(t.Context(), r, b)
		time.Sleep(detect.DefaultRememberFor / 2)
		undecided(t, ended)
		if got := b.opened(); len(got) != 2 {
			t.Errorf("opened for %q", got)
		}
		io.WriteString(client, "GET / HTTP/1.1\r\n")
		<-ended

		// ...and then it is, also for who waits already.
		_, ended = race(t.Context(), r, b)
		time.Sleep(detect.DefaultRememberFor)
		undecided(t, ended)
		io.WriteString(b.server(len(b.opened())-1), mysqlGreeting)
		if o := <-ended; o.Protocol != tlsctx.MySQL {
			t.Errorf("%+v", o)
		}
	})
}

// TestClientFirstReplacesNoFact has a client speak HTTP to a target whose server
// was seen to speak first.
func TestClientFirstReplacesNoFact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, memory := &backend{greet: mysqlGreeting}, new(detect.Memory)
		r := detect.Race{Target: "db", Memory: memory}
		_, ended := race(t.Context(), r, b)
		<-ended

		slow := &backend{}
		client, ended := race(t.Context(), r, slow)
		synctest.Wait()
		io.WriteString(client, "GET / HTTP/1.1\r\n")
		if o := <-ended; o.Protocol != tlsctx.HTTP1 || o.err != nil || !slow.near(0).isClosed() {
			t.Errorf("%+v", o)
		}
		_, ended = race(t.Context(), r, b)
		if o := <-ended; o.Protocol != tlsctx.MySQL || o.Waited != 0 {
			t.Errorf("after a client that spoke HTTP: %+v", o)
		}
	})
}

// TestOpeningDoesNotTeach has the client speak HTTP while the speculative
// connection is still being opened: that says nothing of the server.
func TestOpeningDoesNotTeach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, memory := &backend{delay: time.Minute}, new(detect.Memory)
		r := detect.Race{Target: "web", Memory: memory}
		client, ended := race(t.Context(), r, b)
		time.Sleep(time.Second)
		io.WriteString(client, "GET / HTTP/1.1\r\n")
		o := <-ended
		if o.err != nil || o.Waited != time.Second || len(b.ours) != 1 {
			t.Errorf("%+v with %d connections", o, len(b.ours))
		}
		fast := &backend{greet: mysqlGreeting}
		_, ended = race(t.Context(), r, fast)
		if o := <-ended; o.Protocol != tlsctx.MySQL || o.Waited != detect.DefaultGrace {
			t.Errorf("%+v, want MySQL after the grace", o)
		}
	})
}

// TestSettle has a client stop in the middle of what could become a request.
func TestSettle(t *testing.T) {
	for _, sent := range []string{"G", "\x00", "*", "SSH", "\x10"} {
		synctest.Test(t, func(t *testing.T) {
			b := &backend{}
			client, ended := race(t.Context(), detect.Race{}, b)
			io.WriteString(client, sent)
			o := <-ended
			if o.Protocol != tlsctx.Opaque || o.How != detect.ByStall || o.Waited != detect.DefaultSettle {
				t.Errorf("%q: %+v", sent, o)
			}
			_ = client.CloseWrite()
			if got := all(t, o.Down); got != sent {
				t.Errorf("%q is left to read of %q", got, sent)
			}
		})
	}
}

// TestSettingsTeachNothing has an HTTP/2 server send its preface unasked: its
// clients do so as well, and a connection opened for them on speculation is
// wasted.
func TestSettingsTeachNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{greet: "\x00\x00\x00\x04\x00\x00\x00\x00\x00"}
		r := detect.Race{Target: "grpc", Memory: new(detect.Memory)}
		for range 2 {
			_, ended := race(t.Context(), r, b)
			if o := <-ended; o.Protocol != tlsctx.HTTP2 || o.How != detect.ByServer || o.Waited != detect.DefaultGrace {
				t.Errorf("%+v", o)
			}
		}
		client, ended := race(t.Context(), r, b)
		io.WriteString(client, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		if o := <-ended; o.Protocol != tlsctx.HTTP2 || o.How != detect.ByClient || o.Speculated {
			t.Errorf("%+v", o)
		}
	})
}

// TestServerAnswersHalfAWord has the server speak while the client has begun
// something: both are forwarded.
func TestServerAnswersHalfAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, memory := &backend{}, new(detect.Memory)
		r := detect.Race{Settle: time.Hour, Target: "x", Memory: memory}
		client, ended := race(t.Context(), r, b)
		time.Sleep(time.Second)
		io.WriteString(client, "GE")
		undecided(t, ended)
		io.WriteString(b.server(0), "what?")
		o := <-ended
		if o.Protocol != tlsctx.Opaque || o.How != detect.ByServer || !o.Adopted || o.Waited != time.Second {
			t.Errorf("%+v", o)
		}
		_, _ = client.CloseWrite(), b.server(0).CloseWrite()
		if down, up := all(t, o.Down), all(t, o.Up); down != "GE" || up != "what?" {
			t.Errorf("left to read: %q and %q", down, up)
		}
		// The client spoke first, if not much: nothing is learnt.
		_, ended = race(t.Context(), r, &backend{greet: mysqlGreeting})
		if o := <-ended; o.Waited != detect.DefaultGrace {
			t.Errorf("the next connection waited %s, want the grace", o.Waited)
		}
	})
}

func TestDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		client, ended := race(t.Context(), detect.Race{Declared: tlsctx.Opaque}, b)
		o := <-ended
		if o.Protocol != tlsctx.Opaque || o.How != detect.Declared || o.Waited != 0 || !slices.Equal(b.opened(), []tlsctx.Protocol{tlsctx.Opaque}) {
			t.Errorf("%+v", o)
		}
		io.WriteString(client, "GET")
		_ = client.CloseWrite()
		if got := all(t, o.Down); got != "GET" {
			t.Errorf("%q is left to read", got)
		}
	})
}

func TestServerFirstHasNoGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{greet: mysqlGreeting}
		_, ended := race(t.Context(), detect.Race{ServerFirst: true}, b)
		if o := <-ended; o.Protocol != tlsctx.MySQL || o.Waited != 0 {
			t.Errorf("%+v", o)
		}
	})
}

func TestFailures(t *testing.T) {
	broken := errors.New("refused")
	for name, c := range map[string]struct {
		backend *backend
		act     func(client *memConn, b *backend, cancel context.CancelFunc)
		want    error
	}{
		"the speculative connection fails": {&backend{err: broken}, func(*memConn, *backend, context.CancelFunc) {}, broken},
		"the connection fails": {&backend{err: broken}, func(client *memConn, _ *backend, _ context.CancelFunc) {
			io.WriteString(client, "GET / HTTP/1.1\r\n")
		}, broken},
		"the client breaks off within the grace": {&backend{}, func(client *memConn, _ *backend, _ context.CancelFunc) { client.reset() }, errReset},
		"the client breaks off": {&backend{}, func(client *memConn, _ *backend, _ context.CancelFunc) {
			time.Sleep(time.Second)
			client.reset()
		}, errReset},
		"the server breaks off": {&backend{}, func(_ *memConn, b *backend, _ context.CancelFunc) {
			time.Sleep(time.Second)
			b.server(0).reset()
		}, errReset},
		"told to stop within the grace": {&backend{}, func(_ *memConn, _ *backend, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"told to stop": {&backend{}, func(_ *memConn, _ *backend, cancel context.CancelFunc) {
			time.Sleep(time.Second)
			cancel()
		}, context.Canceled},
		"told to stop while opening": {&backend{delay: time.Hour}, func(_ *memConn, _ *backend, cancel context.CancelFunc) {
			time.Sleep(time.Second)
			cancel()
		}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				client, ended := race(ctx, detect.Race{}, c.backend)
				c.act(client, c.backend, cancel)
				o := <-ended
				if !errors.Is(o.err, c.want) {
					t.Errorf("%v, want %v", o.err, c.want)
				}
				for _, up := range c.backend.ours {
					if !up.isClosed() {
						t.Error("an upstream connection was left open")
					}
				}
			})
		})
	}
}

func TestSpeculationIsCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		r := detect.Race{Target: "x", Memory: &detect.Memory{MaxSpeculations: 2}}
		first, firstEnded := race(t.Context(), r, b)
		time.Sleep(time.Second)
		_, secondEnded := race(t.Context(), r, b)
		time.Sleep(time.Second)
		third, thirdEnded := race(t.Context(), r, b)
		time.Sleep(time.Second)
		_, fourthEnded := race(t.Context(), r, b)
		time.Sleep(time.Hour)
		if got := b.opened(); len(got) != 2 {
			t.Fatalf("%d connections on speculation, want 2", len(got))
		}
		// Another target has room of its own.
		other := r
		other.Target = "y"
		_, otherEnded := race(t.Context(), other, &backend{greet: mysqlGreeting})
		if o := <-otherEnded; o.Capped || !o.Adopted {
			t.Errorf("%+v", o)
		}
		// One without room goes on once its client speaks...
		io.WriteString(third, "*1\r\n$4\r\nPING\r\n")
		if o := <-thirdEnded; o.Protocol != tlsctx.Redis || !o.Capped || o.Speculated || o.err != nil {
			t.Errorf("%+v", o)
		}
		// ...and another once there is room.
		io.WriteString(first, "*1\r\n$4\r\nPING\r\n")
		<-firstEnded
		synctest.Wait()
		io.WriteString(b.server(len(b.opened())-1), mysqlGreeting)
		if o := <-fourthEnded; o.Protocol != tlsctx.MySQL || !o.Capped || !o.Adopted {
			t.Errorf("%+v", o)
		}
		io.WriteString(b.server(1), mysqlGreeting)
		<-secondEnded
	})
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{greet: mysqlGreeting}
		memory := &detect.Memory{Max: 10}
		for i := range 100 {
			_, ended := race(t.Context(), detect.Race{Target: strings.Repeat("x", i), Memory: memory}, b)
			<-ended
		}
		if n := memory.Len(); n > 10 {
			t.Errorf("%d targets are remembered, want at most 10", n)
		}
	})
}
