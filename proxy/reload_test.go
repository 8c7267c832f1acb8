package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/ca"
)

func sayAndEnd(line string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, line) }
}

// TestApplyIsWholeOrNotAtAll: one address that cannot be bound, and everything
// stays as it was.
func TestApplyIsWholeOrNotAtAll(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	app := serve(t, sayAndEnd("before"))
	p := newPair(t, app, nil, nil)
	before := p.server.address("127.0.0.1:0")
	next := inboundYAML(serve(t, sayAndEnd("after"))) + "\n---" + strings.NewReplacer("127.0.0.1:0", taken.Addr().String(), "name: in}", "name: in2}").Replace(inboundYAML(app))
	err = p.server.Apply(t.Context(), parsed(t, next))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("error is %v", err)
	}
	if n := len(p.server.Addresses()); n != 1 || p.server.address("127.0.0.1:0") != before {
		t.Errorf("listening at %v", p.server.Addresses())
	}
	if got, _ := io.ReadAll(connect(t, p.address)); string(got) != "before" {
		t.Errorf("got %q", got)
	}
}

// TestReloadKeepsWhatItDoesNotConcern: sockets, connections and sessions.
func TestReloadKeepsWhatItDoesNotConcern(t *testing.T) {
	app := echo(t)
	p := newPair(t, app, []string{"  session: Mux"}, nil)
	conn := connect(t, p.address)
	say(t, conn, "before")
	to, expect := p.server.address("127.0.0.1:0"), "spiffe://example.org/ns/data/sa/db"
	// Another accept.Config: the server at the socket is replaced.
	p.client.apply(outboundYAML(to, expect, "  session: Mux", "  acceptProxyProtocol: {from: [192.0.2.0/24]}"))
	p.server.apply(inboundYAML(app, authorization("ALLOW", "Enforce", onlyShop)))
	if p.client.address("127.0.0.1:0") != p.address {
		t.Errorf("now at %s", p.client.address("127.0.0.1:0"))
	}
	if got := say(t, conn, "after"); got != "after" {
		t.Errorf("got %q", got)
	}
	if got := say(t, connect(t, p.address), "new"); got != "new" {
		t.Errorf("got %q", got)
	}
	if n := p.client.metric(`hallmark_sessions_opened_total\{`); n != 1 {
		t.Errorf("%v sessions were opened", n)
	}
}

// TestReloadTakesEffectOnOpenSessions: a stream that opens later on a session
// that is there goes where the new configuration says.
func TestReloadTakesEffectOnOpenSessions(t *testing.T) {
	p := newPair(t, serve(t, sayAndEnd("old")), []string{"  session: Mux"}, nil)
	if got, _ := io.ReadAll(connect(t, p.address)); string(got) != "old" {
		t.Fatalf("got %q", got)
	}
	p.server.apply(inboundYAML(serve(t, sayAndEnd("new"))))
	if got, _ := io.ReadAll(connect(t, p.address)); string(got) != "new" {
		t.Errorf("got %q", got)
	}
	if n := p.client.metric(`hallmark_sessions_opened_total\{`); n != 1 {
		t.Errorf("%v sessions were opened", n)
	}
}

// TestRemovedListenerDrains: it takes no more connections, and those that are
// open go on.
func TestRemovedListenerDrains(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			app := echo(t)
			p := newPair(t, app, []string{"  session: " + kind}, nil)
			conn := connect(t, p.address)
			say(t, conn, "before")
			address := p.server.address("127.0.0.1:0")
			p.server.apply(strings.NewReplacer("127.0.0.1:0", "127.0.0.2:0").Replace(inboundYAML(app)))
			if c, err := net.Dial("tcp", address); err == nil {
				_ = c.Close()
				t.Error("the removed listener accepts")
			}
			if got := say(t, conn, "after"); got != "after" {
				t.Errorf("got %q", got)
			}
			_ = conn.Close()
		})
	}
}

// TestRotationOpensNewSessions: streams that are open go on, and later ones go by
// a session of the new SVID; the old one ends when its last stream does.
func TestRotationOpensNewSessions(t *testing.T) {
	p := newPair(t, echo(t), []string{"  session: Mux"}, nil)
	conn := connect(t, p.address)
	say(t, conn, "before")
	p.client.publish("service.name", "cart", "service.version", "2")
	if got := say(t, conn, "during"); got != "during" {
		t.Errorf("got %q", got)
	}
	say(t, connect(t, p.address), "after")
	if n := p.client.metric(`hallmark_sessions_opened_total\{`); n != 2 {
		t.Errorf("%v sessions were opened", n)
	}
	_ = conn.Close()
	eventually(t, "the old session ends as stale", func() bool {
		return p.client.metric(`hallmark_sessions_closed_total\{.*reason="stale"`) == 1
	})
}

// TestServersRotationRetiresSessions: the peer opens a new one for new streams.
func TestServersRotationRetiresSessions(t *testing.T) {
	p := newPair(t, echo(t), []string{"  session: Mux"}, nil)
	conn := connect(t, p.address)
	say(t, conn, "before")
	p.server.publish()
	eventually(t, "a new session is opened", func() bool {
		say(t, connect(t, p.address), "again")
		return p.client.metric(`hallmark_sessions_opened_total\{`) == 2
	})
	if got := say(t, conn, "after"); got != "after" {
		t.Errorf("got %q", got)
	}
}

// TestDrainWaitsForStreams, and for nothing else.
func TestDrainWaitsForStreams(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			p := newPair(t, echo(t), []string{"  session: " + kind}, nil)
			conn := connect(t, p.address)
			say(t, conn, "before")
			drained := make(chan bool, 1)
			go func() { drained <- p.server.Drain(context.Background()) }()
			eventually(t, "it is not ready any more", func() bool { return p.server.Ready() != nil })
			if got := say(t, conn, "during"); got != "during" {
				t.Errorf("got %q", got)
			}
			select {
			case <-drained:
				t.Error("it has not waited for the stream")
			default:
			}
			_ = conn.Close()
			if !<-drained {
				t.Error("something was cut")
			}
		})
	}
}

// TestDrainCutsInTheEnd, and says so.
func TestDrainCutsInTheEnd(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			p := newPair(t, echo(t), []string{"  session: " + kind}, nil)
			conn := connect(t, p.address)
			say(t, conn, "before")
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if p.server.Drain(ctx) {
				t.Error("nothing was cut, it says")
			}
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the stream ends with %v", err)
			}
		})
	}
}

// TestOutboundServesUntilItsLastConnection: new connections are taken meanwhile.
func TestOutboundServesUntilItsLastConnection(t *testing.T) {
	p := newPair(t, echo(t), nil, nil)
	first := connect(t, p.address)
	say(t, first, "before")
	drained := make(chan bool, 1)
	go func() { drained <- p.client.Drain(context.Background()) }()
	eventually(t, "it is not ready any more", func() bool { return p.client.Ready() != nil })
	second := connect(t, p.address)
	if got := say(t, second, "during"); got != "during" {
		t.Errorf("got %q", got)
	}
	_ = first.Close()
	if got := say(t, second, "still"); got != "still" {
		t.Errorf("got %q", got)
	}
	_ = second.Close()
	if !<-drained {
		t.Error("something was cut")
	}
}

// TestIdentityMayComeLate: connections wait for it.
func TestIdentityMayComeLate(t *testing.T) {
	domain := ca.New(t, "example.org")
	server := newWorkload(t, domain, "/ns/data/sa/db")
	server.apply(inboundYAML(echo(t)))
	client := &workload{tb: t, domain: domain, path: "/ns/shop/sa/cart", store: emptyStore(), events: &events{}}
	client.start()
	client.apply(outboundYAML(server.address("127.0.0.1:0"), "spiffe://example.org/ns/data/sa/db"))
	if client.Ready() == nil {
		t.Error("it is ready without an identity")
	}
	conn := connect(t, client.address("127.0.0.1:0"))
	if _, err := io.WriteString(conn, "early\n"); err != nil {
		t.Fatal(err)
	}
	client.publish()
	if got := hear(t, conn); got != "early" {
		t.Errorf("got %q", got)
	}
	if err := client.Ready(); err != nil {
		t.Errorf("it is not ready: %v", err)
	}
}

// TestSessionsToAddressesThatLeftDrain: the stream that is open goes on, and the
// next one goes elsewhere.
func TestSessionsToAddressesThatLeftDrain(t *testing.T) {
	p := newPair(t, echo(t), []string{"  session: Mux"}, nil)
	conn := connect(t, p.address)
	say(t, conn, "before")
	address := p.server.address("127.0.0.1:0")
	from, err := p.client.where.at(address)
	if err != nil {
		t.Fatal(err)
	}
	p.client.left(from.(*place), []string{address})
	if got := say(t, conn, "after"); got != "after" {
		t.Errorf("got %q", got)
	}
	say(t, connect(t, p.address), "new")
	if n := p.client.metric(`hallmark_sessions_opened_total\{`); n != 2 {
		t.Errorf("%v sessions were opened", n)
	}
	_ = conn.Close()
	eventually(t, "the old session ends because its address left", func() bool {
		return p.client.metric(`hallmark_sessions_closed_total\{.*reason="endpoint_left"`) == 1
	})
}

// TestSessionsLeaveNothingBehind: the context of a session that has ended is not
// kept by that of its listener, which lives on.
func TestSessionsLeaveNothingBehind(t *testing.T) {
	server := newWorkload(t, ca.New(t, "example.org"), "/ns/data/sa/db")
	server.apply(inboundYAML(echo(t)))
	for _, l := range server.listeners {
		ctx, session := server.live.enter(t.Context(), l, &stream{peer: plaintext()})
		if ctx.Err() != nil || session.drain.Err() != nil {
			t.Error("the session has ended already")
		}
		session.leave()
		if ctx.Err() == nil || session.drain.Err() == nil {
			t.Error("the session's context outlives it")
		}
	}
}
