package http

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestGRPCInterop: gRPC's interop tests, through a pair.
func TestGRPCInterop(t *testing.T) {
	outbound, _ := pair(t, tlsctx.HTTP2, apps.StartGRPCInterop(t))
	apps.GRPCInterop(t, outbound.address)
}

// h2specApp answers h2spec with what it wants: content.
func h2specApp(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	io.WriteString(w, "what h2spec wants: content")
}

// runH2spec runs every test of h2spec, strict ones included.
func runH2spec(t *testing.T, address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	output := components.Output(t, components.Process{
		Path: components.Path(t, components.H2spec),
		Args: []string{"--strict", "-h", host, "-p", port, "-o", "10"},
	})
	if !strings.Contains(output, "146 tests, 146 passed, 0 skipped, 0 failed") {
		t.Error(output)
	}
}

// TestH2spec: against a listener of HTTP/2 with prior knowledge, as an
// application sees it.
func TestH2spec(t *testing.T) {
	p := start(t, tlsctx.HTTP2, with(to(plain(t, app(t, h2specApp), tlsctx.HTTP1)), func(c *Config) { c.H2.MaxStreams = 10 }))
	runH2spec(t, p.address)
}

// TestH2specMutualTLS: against a listener of mutual TLS, as a peer sees it. h2spec
// has no certificate: what it sends goes through a TLS client of ours, byte for
// byte.
func TestH2specMutualTLS(t *testing.T) {
	domain := ca.New(t, "example.org")
	inbound := secured(t, domain, with(to(plain(t, app(t, h2specApp), tlsctx.HTTP1)), func(c *Config) {
		c.H2.MaxStreams = 10
		c.H2.MaxFrameSize = 16 << 10 // h2spec counts on it (4.2/3), whatever the SETTINGS say
	}))
	caller := identity.Static{Current: domain.Snapshot(t, "/caller", ca.Attributes(t))}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			plainSide, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer plainSide.Close()
				raw, err := net.Dial("tcp", inbound)
				if err != nil {
					t.Error(err)
					return
				}
				conn, err := tlsctx.Client(t.Context(), raw, &tlsctx.ClientConfig{
					Source: caller, Policy: tlsctx.Policy{Authorize: tlsctx.AuthorizeMemberOf(domain.TrustDomain())},
					Sessions: []tlsctx.Session{tlsctx.H2}, Detected: tlsctx.HTTP1,
				})
				if err != nil {
					t.Error(err)
					return
				}
				wg.Go(func() {
					io.Copy(conn, plainSide)
					conn.Close()
				})
				io.Copy(plainSide, conn)
			})
		}
	})
	runH2spec(t, listener.Addr().String())
	listener.Close()
	wg.Wait()
}
