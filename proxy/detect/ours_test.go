package detect_test

import (
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/detect"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestOurs races on a listener that takes our handshakes and plaintext.
func TestOurs(t *testing.T) {
	aware, plain := hello("x.example", "hallmark/1/raw/unknown"), hello("x.example", "h2")
	for name, c := range map[string]struct {
		declared tlsctx.Protocol
		sent     string
		late     time.Duration // before the client speaks
		ours     bool
		protocol tlsctx.Protocol
	}{
		"ours":                       {"", aware, 0, true, tlsctx.TLS},
		"ours, late":                 {"", aware, time.Minute, true, tlsctx.TLS},
		"plain SPIFFE":               {"", plain, 0, true, tlsctx.TLS},
		"ours to a TLS port":         {tlsctx.TLS, aware, 0, true, tlsctx.TLS},
		"TLS to a TLS port":          {tlsctx.TLS, plain, 0, false, tlsctx.TLS},
		"TLS to a TLS port, late":    {tlsctx.TLS, plain, time.Minute, false, tlsctx.TLS},
		"plaintext":                  {"", "GET / HTTP/1.1\r\n", 0, false, tlsctx.HTTP1},
		"plaintext to declared":      {tlsctx.Redis, "*1\r\n$4\r\nPING\r\n", 0, false, tlsctx.Redis},
		"ours to declared":           {tlsctx.Redis, aware, 0, true, tlsctx.TLS},
		"ours to declared, late":     {tlsctx.Redis, aware, time.Minute, true, tlsctx.TLS},
		"HTTP to declared as Redis":  {tlsctx.Redis, "GET / HTTP/1.1\r\n", time.Minute, false, tlsctx.Redis},
		"plaintext to declared HTTP": {tlsctx.HTTP1, "GET / HTTP/1.1\r\n", time.Minute, false, tlsctx.HTTP1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{}
				r := detect.Race{Declared: c.declared, Ours: func(h detect.Hello) bool { return detect.Ours(h, c.declared == tlsctx.TLS) }}
				client, ended := race(t.Context(), r, b)
				time.Sleep(c.late)
				for i := range len(c.sent) { // however it is cut
					io.WriteString(client, c.sent[i:i+1])
					synctest.Wait()
				}
				_ = client.CloseWrite()
				o := <-ended
				if o.err != nil || o.Ours != c.ours || o.Protocol != c.protocol || (o.Up == nil) != c.ours {
					t.Errorf("%+v; want ours=%t and %s", o, c.ours, c.protocol)
				}
				if got := all(t, o.Down); got != c.sent {
					t.Errorf("%d of %d bytes are left to read", len(got), len(c.sent))
				}
				for _, up := range b.ours {
					if c.ours && !up.isClosed() {
						t.Error("the speculative connection stayed open")
					}
				}
			})
		})
	}
}

// TestHalfAHelloIsWaitedFor loses the second half of a ClientHello for longer
// than anything else may stand still.
func TestHalfAHelloIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		client, ended := race(t.Context(), detect.Race{Ours: func(h detect.Hello) bool { return detect.Ours(h, true) }}, b)
		sent := hello("", "hallmark/1/mux/unknown")
		io.WriteString(client, sent[:40])
		time.Sleep(3 * time.Second)
		undecided(t, ended)
		io.WriteString(client, sent[40:])
		if o := <-ended; !o.Ours {
			t.Errorf("%+v", o)
		}
	})
}

// TestOursHasAGrace has a server that speaks first behind such a listener.
func TestOursHasAGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{greet: mysqlGreeting}
		r := detect.Race{ServerFirst: true, Ours: func(h detect.Hello) bool { return detect.Ours(h, false) }}
		client, ended := race(t.Context(), r, b)
		time.Sleep(detect.DefaultOursGrace - time.Millisecond)
		io.WriteString(client, hello("", "hallmark/1/mux/unknown"))
		if o := <-ended; !o.Ours || len(b.opened()) != 0 {
			t.Errorf("%+v after opening %d connections", o, len(b.opened()))
		}
		_, ended = race(t.Context(), r, b)
		if o := <-ended; o.Ours || o.Protocol != tlsctx.MySQL || o.Waited != detect.DefaultOursGrace {
			t.Errorf("a silent client: %+v", o)
		}
	})
}

// TestOnHello is told of the server name before the connection is opened.
func TestOnHello(t *testing.T) {
	sent := hello("db.example", "postgresql")
	for name, c := range map[string]struct {
		declared tlsctx.Protocol
		sent     string
		want     string
		opened   tlsctx.Protocol
	}{
		"TLS":              {"", sent, "db.example", tlsctx.TLS},
		"declared":         {tlsctx.TLS, sent, "db.example", tlsctx.TLS},
		"declared, is not": {tlsctx.TLS, "GET / HTTP/1.1\r\n", "none", tlsctx.TLS},
		"no TLS":           {"", "GET / HTTP/1.1\r\n", "none", tlsctx.HTTP1},
		"another declared": {tlsctx.Opaque, sent, "none", tlsctx.Opaque},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := "none"
				b := &backend{}
				r := detect.Race{Declared: c.declared, OnHello: func(h detect.Hello) {
					told = h.ServerName
					if len(b.opened()) > 0 {
						t.Error("told after opening")
					}
				}}
				client, ended := race(t.Context(), r, b)
				io.WriteString(client, c.sent)
				o := <-ended
				if o.err != nil || told != c.want || !slices.Equal(b.opened(), []tlsctx.Protocol{c.opened}) {
					t.Errorf("told %q, opened for %q, %v; want %q and %s", told, b.opened(), o.err, c.want, c.opened)
				}
				_ = client.CloseWrite()
				if got := all(t, o.Down); got != c.sent {
					t.Errorf("%d of %d bytes are left to read", len(got), len(c.sent))
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a declared TLS port is not opened ahead
		b := &backend{}
		client, ended := race(t.Context(), detect.Race{Declared: tlsctx.TLS, OnHello: func(detect.Hello) {}}, b)
		time.Sleep(time.Hour)
		undecided(t, ended)
		if len(b.opened()) > 0 {
			t.Error("opened on speculation")
		}
		_ = client.CloseWrite()
		if o := <-ended; o.err != nil || o.Protocol != tlsctx.TLS || o.Up == nil {
			t.Errorf("%+v", o)
		}
	})
}
