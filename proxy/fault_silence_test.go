package proxy

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestHandshakeFlood: hundreds of handshakes from one source that begin and go no
// further keep nobody else from new sessions.
func TestHandshakeFlood(t *testing.T) {
	p := newPair(t, echo(t), []string{"  session: Raw"}, nil)
	flooder := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	hello := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3} // the beginning of a ClientHello
	held := 0
	for i := range 400 {
		c, err := flooder.DialContext(t.Context(), "tcp", p.server.address("127.0.0.1:0"))
		if err != nil {
			continue // reset already
		}
		defer c.Close()
		_, _ = c.Write(hello[:i%len(hello)])
		if held++; i%20 == 0 {
			if got := say(t, connect(t, p.address), "beside"); got != "beside" {
				t.Errorf("got %q", got)
			}
		}
	}
	eventually(t, "the flood meets its limit", func() bool {
		return p.server.metric(`hallmark_limits_met_total\{limit="handshakes_per_source"`) >= 100
	})
	for range 20 {
		if got := say(t, connect(t, p.address), "after"); got != "after" {
			t.Errorf("got %q", got)
		}
	}
	if n := p.client.metric(`hallmark_handshake_failures_total\{`); n != 0 {
		t.Errorf("%v handshakes of a client that did nothing wrong failed (%d flooding connections held)", n, held)
	}
}

// TestBurstOfHandshakes has one peer open a thousand connections at once, each
// with a handshake of its own: those over the limit of their source wait, and
// all of them are carried.
func TestBurstOfHandshakes(t *testing.T) {
	patient := `
---
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: patient}
spec: {timeouts: {handshake: 5m, dial: 5m}}
`
	p := newPair(t, echo(t), []string{"  session: Raw", patient}, []string{patient})
	failed := make(chan error, 1000)
	for i := range cap(failed) {
		go func() {
			text := strconv.Itoa(i)
			answer, err := ask(p.address, text)
			if err == nil && answer != text {
				err = fmt.Errorf("%s is answered %q", text, answer)
			}
			failed <- err
		}()
	}
	errs := 0
	for range cap(failed) {
		if err := <-failed; err != nil {
			if errs++; errs < 5 {
				t.Error(err)
			}
		}
	}
	if errs > 0 {
		t.Errorf("%d of %d failed", errs, cap(failed))
	}
}

// TestSilentServer completes the handshake and then says nothing: where the
// session needs the peer's first word its clients are reset in time, and nothing
// is left of it.
func TestSilentServer(t *testing.T) {
	domain := ca.New(t, "example.org")
	held := make(chan *tlsctx.Conn, 100)
	address := serve(t, func(c net.Conn) {
		secured, err := tlsctx.Server(t.Context(), c, serverConfig(t, domain))
		if err != nil {
			return
		}
		held <- secured
		_, _ = io.Copy(io.Discard, secured)
	})
	client := newWorkload(t, domain, "/ns/shop/sa/cart")
	client.apply(outboundYAML(address, "spiffe://example.org/ns/data/sa/db", "  session: Mux", impatient))
	for range 2 {
		if err := outcomeAt(client.address("127.0.0.1:0")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a client sees %v", err)
		}
	}
	eventually(t, "no session is left", func() bool { return client.metric(`^hallmark_sessions_open\{`) == 0 })
	if len(held) == 0 {
		t.Error("nobody has shaken hands")
	}
}

// serverConfig is that of a server of our own making.
func serverConfig(t *testing.T, domain *ca.Domain) *tlsctx.ServerConfig {
	return &tlsctx.ServerConfig{
		Source:   identity.Static{Current: domain.Snapshot(t, "/ns/data/sa/db", ca.Attributes(t))},
		Policy:   tlsctx.Policy{Authorize: tlsctx.AuthorizeMemberOf(domain.TrustDomain())},
		Sessions: []tlsctx.Session{tlsctx.Mux, tlsctx.Raw},
	}
}

// TestSilentClients complete the handshake and then say nothing, with either kind
// of session, by the hundred: those who work beside them notice nothing, the mux
// sessions that never speak HTTP/2 are given up, and the others, which may be
// silent as long as they like, leave nothing behind when they go.
func TestSilentClients(t *testing.T) {
	domain := ca.New(t, "example.org")
	server := newWorkload(t, domain, "/ns/data/sa/db")
	server.apply(inboundYAML(echo(t)) + impatient)
	address := server.address("127.0.0.1:0")
	client := newWorkload(t, domain, "/ns/shop/sa/cart")
	client.apply(outboundYAML(address, "spiffe://example.org/ns/data/sa/db"))
	var mux, raw []*tlsctx.Conn
	for range 50 {
		for kind, list := range map[tlsctx.Session]*[]*tlsctx.Conn{tlsctx.Mux: &mux, tlsctx.Raw: &raw} {
			conn, err := shake(t, domain, "/ns/shop/sa/mute", address, tlsctx.ClientConfig{
				Policy:   tlsctx.Policy{Authorize: tlsctx.AuthorizeMemberOf(domain.TrustDomain())},
				Sessions: []tlsctx.Session{kind}, Detected: tlsctx.Opaque,
			})
			if err != nil {
				t.Fatal(err)
			}
			*list = append(*list, conn)
		}
		if got := say(t, connect(t, client.address("127.0.0.1:0")), "beside"); got != "beside" {
			t.Errorf("got %q", got)
		}
	}
	for _, conn := range mux {
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, syscall.EAGAIN) {
			t.Errorf("a silent mux session is kept: %v", err)
		}
	}
	for _, conn := range raw {
		if got := say(t, conn, "at last"); got != "at last" {
			t.Errorf("got %q", got)
		}
		_ = conn.Close()
	}
	eventually(t, "only the working client's session is left", func() bool {
		return server.metric(`^hallmark_sessions_open\{`) == 1
	})
}

// TestGarbageInsteadOfHTTP2, from a client and from a server that have proved who
// they are: their sessions end, and nobody else's.
func TestGarbageInsteadOfHTTP2(t *testing.T) {
	p := newPair(t, echo(t), []string{"  session: Mux"}, nil)
	steady := connect(t, p.address)
	say(t, steady, "before")
	for range 20 {
		conn, err := shake(t, p.client.domain, "/ns/shop/sa/mad", p.server.address("127.0.0.1:0"), tlsctx.ClientConfig{
			Policy:   tlsctx.Policy{Authorize: tlsctx.AuthorizeMemberOf(p.client.domain.TrustDomain())},
			Sessions: []tlsctx.Session{tlsctx.Mux}, Detected: tlsctx.Opaque,
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.CopyN(conn, rand.Reader, 64<<10)
		_, _ = io.Copy(io.Discard, conn)
	}
	eventually(t, "the garbled sessions end", func() bool {
		return p.server.metric(`hallmark_sessions_closed_total\{.*reason="broken"`) == 20
	})
	mad := serve(t, func(c net.Conn) {
		secured, err := tlsctx.Server(t.Context(), c, serverConfig(t, p.client.domain))
		if err != nil {
			return
		}
		_, _ = io.CopyN(secured, rand.Reader, 64<<10)
		_, _ = io.Copy(io.Discard, secured)
	})
	other := newWorkload(t, p.client.domain, "/ns/shop/sa/other")
	other.apply(outboundYAML(mad, "spiffe://example.org/ns/data/sa/db", "  session: Mux"))
	for range 5 {
		if err := outcomeAt(other.address("127.0.0.1:0")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a client of a mad server sees %v", err)
		}
	}
	if got := say(t, steady, "after"); got != "after" {
		t.Errorf("got %q", got)
	}
}
