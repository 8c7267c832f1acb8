package proxy

import (
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/proxy/tunnel"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestTrustBundleReplaced: the sessions of peers that the old authority vouched
// for are closed and counted, at the end that has the new bundle; peers with an
// SVID of the new authority are taken.
func TestTrustBundleReplaced(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			p := newPair(t, echo(t), []string{"  session: " + kind}, nil)
			conn := connect(t, p.address)
			say(t, conn, "before")
			p.server.domain.Rotate(t)
			p.server.domain.Retire()
			p.server.publish()
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the stream ended with %v", err)
			}
			eventually(t, "it is counted", func() bool {
				return p.server.metric(`hallmark_sessions_closed_total\{.*reason="trust_changed"`) == 1
			})
			if err := outcomeAt(p.address); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("with an SVID of the old authority a client sees %v", err)
			}
			p.client.publish()
			if got := say(t, connect(t, p.address), "after"); got != "after" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestExpiredPeerGetsNoNewStream: neither on the session that it has, though it
// goes on asking, nor on a new one; the streams that it has go on.
func TestExpiredPeerGetsNoNewStream(t *testing.T) {
	domain := ca.New(t, "example.org")
	server := newWorkload(t, domain, "/ns/data/sa/db")
	server.apply(inboundYAML(echo(t)))
	snapshot := domain.Snapshot(t, "/ns/shop/sa/cart", ca.Attributes(t), ca.WithTTL(3*time.Second))
	d := tlsctx.Dialer{Config: tlsctx.ClientConfig{
		Source:   identity.Static{Current: snapshot},
		Policy:   tlsctx.Policy{Authorize: tlsctx.AuthorizeMemberOf(domain.TrustDomain())},
		Sessions: []tlsctx.Session{tlsctx.Mux}, Detected: tlsctx.Opaque,
	}}
	conn, err := d.DialContext(t.Context(), "tcp", server.address("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	session, err := tunnel.NewSession(t.Context(), conn, tunnel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	info := tunnel.Info{Client: netip.MustParseAddrPort("192.0.2.1:1234")}
	first, err := session.Open(t.Context(), info)
	if err != nil {
		t.Fatal(err)
	}
	if got := say(t, first, "before"); got != "before" {
		t.Errorf("got %q", got)
	}
	eventually(t, "a stream is refused", func() bool {
		s, err := session.Open(t.Context(), info)
		if err != nil {
			return true
		}
		defer s.Close()
		if s.Answer(t.Context()) != nil {
			return true
		}
		_ = s.CloseWrite() // ended in order: a session retires that resets hundreds
		_, _ = io.Copy(io.Discard, s)
		return false
	})
	if now := time.Now(); now.Before(snapshot.NotAfter()) {
		t.Errorf("refused at %s, and valid until %s", now, snapshot.NotAfter())
	}
	if s, err := session.Open(t.Context(), info); err == nil && s.Answer(t.Context()) == nil {
		t.Error("a stream opens after the peer's certificate has expired")
	}
	server.publish() // everybody is asked about again
	if got := say(t, first, "after"); got != "after" {
		t.Errorf("got %q", got)
	}
}

// TestOwnExpiry: with an SVID that has expired no stream opens, and one that was
// open goes on; with a fresh SVID all is well.
func TestOwnExpiry(t *testing.T) {
	p := newPair(t, echo(t), []string{"  session: Mux"}, nil)
	short := p.client.domain.Snapshot(t, p.client.path, ca.Attributes(t), ca.WithTTL(3*time.Second))
	if err := p.client.store.Publish(short); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, p.address)
	say(t, conn, "before")
	eventually(t, "it is not ready any more", func() bool { return p.client.Ready() != nil })
	eventually(t, "the session leaves the pool", func() bool { return p.client.pool.Len() == 0 })
	if err := outcomeAt(p.address); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client sees %v", err)
	}
	if got := say(t, conn, "still"); got != "still" {
		t.Errorf("got %q", got)
	}
	p.client.publish()
	if got := say(t, connect(t, p.address), "after"); got != "after" {
		t.Errorf("got %q", got)
	}
}
