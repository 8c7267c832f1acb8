package http

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// secured is a listener of mutual TLS in front of a relay.
func secured(t *testing.T, domain *ca.Domain, config Config) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &tlsctx.ServerConfig{
		Source:     identity.Static{Current: domain.Snapshot(t, "/app", ca.Attributes(t))},
		Policy:     tlsctx.Policy{Authorize: tlsctx.AuthorizeMemberOf(domain.TrustDomain())},
		Sessions:   []tlsctx.Session{tlsctx.H2},
		Registered: []string{"h2", "http/1.1"},
	}
	relay := New(config)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				conn, err := tlsctx.Server(ctx, raw, server)
				if err != nil {
					return
				}
				protocol := tlsctx.HTTP1
				if conn.Peer().Session == tlsctx.H2 {
					protocol = tlsctx.HTTP2
				}
				_ = relay.Serve(ctx, Connection{Conn: conn, Protocol: protocol, Source: &Source{Peer: conn.Peer()}})
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		cancel()
		wg.Wait()
	})
	return listener.Addr().String()
}

// TestMutualTLS: between two proxies over TLS, from a peer that does not know us
// over either registered protocol, the application is told who calls.
func TestMutualTLS(t *testing.T) {
	domain := ca.New(t, "example.org")
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		io.WriteString(w, r.Header.Get(ClientCert)+"|"+r.Header.Get("X-Forwarded-Proto")+"|"+string(body))
	})
	inbound := secured(t, domain, with(to(plain(t, address, tlsctx.HTTP1)), func(c *Config) { c.Identity = &Identity{XForwarded: true} }))
	caller := domain.Snapshot(t, "/caller", ca.Attributes(t, "service.version", "1"))

	check := func(t *testing.T, c *http.Client, url string) {
		t.Helper()
		for _, body := range []string{"", "short", strings.Repeat("long", 1<<18)} {
			r, _ := http.NewRequest("POST", url, strings.NewReader(body))
			r.Header.Set("X-Forwarded-Client-Cert", "URI=spiffe://example.org/admin")
			res, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			told, sent, _ := strings.Cut(string(got), "|")
			_, sent, _ = strings.Cut(sent, "|")
			if err != nil || !strings.HasPrefix(told, "By=spiffe://example.org/app;Hash=") || !strings.HasSuffix(told, ";URI=spiffe://example.org/caller") || sent != body {
				t.Errorf("got %.200q, %v", got, err)
			}
		}
	}
	t.Run("pair", func(t *testing.T) {
		raw, err := net.Dial("tcp", inbound)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tlsctx.Client(t.Context(), raw, &tlsctx.ClientConfig{
			Source: identity.Static{Current: caller}, Policy: tlsctx.Policy{Authorize: tlsctx.AuthorizeMemberOf(domain.TrustDomain())},
			Sessions: []tlsctx.Session{tlsctx.H2}, Detected: tlsctx.HTTP1,
		})
		if err != nil {
			t.Fatal(err)
		}
		s := NewSession(conn, h2.Config{})
		t.Cleanup(func() { s.Close() })
		if err := s.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		outbound := start(t, tlsctx.HTTP1, to(s))
		check(t, client(t, tlsctx.HTTP1), "http://"+outbound.address)
	})
	for _, alpn := range []string{"h2", "http/1.1"} {
		t.Run("unaware "+alpn, func(t *testing.T) {
			transport := &http.Transport{ForceAttemptHTTP2: alpn == "h2", TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{alpn},
				Certificates: []tls.Certificate{ca.TLSCertificate(caller.SVID)},
			}}
			t.Cleanup(transport.CloseIdleConnections)
			check(t, &http.Client{Transport: transport, Timeout: deadline}, "https://"+inbound)
		})
	}
}
