package http

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func peer() *tlsctx.Peer {
	return &tlsctx.Peer{
		ID:      spiffeid.RequireFromString("spiffe://example.org/ns/a/sa/caller"),
		LocalID: spiffeid.RequireFromString("spiffe://example.org/ns/b/sa/app"),
		Attributes: tlsctx.Attributes{
			{Name: "k8s.namespace.name", Value: "a", Provenance: tlsctx.Verified},
			{Name: "service.name", Value: "a b,\"c\"%ü", Provenance: tlsctx.Asserted},
		},
	}
}

// TestIdentity: what the application is told replaces whatever the client said,
// in every spelling.
func TestIdentity(t *testing.T) {
	r := record(t)
	source := Source{Peer: peer(), Client: netip.MustParseAddrPort("[2001:db8::1]:5")}
	p := startFor(t, tlsctx.HTTP1, source, with(to(plain(t, r.address, tlsctx.HTTP1)), func(c *Config) {
		c.Identity = &Identity{Forwarded: true, XForwarded: true}
	}))
	c := p.dial()
	c.send("GET /x HTTP/1.1\r\nHost: app\r\n" +
		"X-Forwarded-Client-Cert: URI=spiffe://evil/1\r\nx_forwarded_client_cert: URI=spiffe://evil/2\r\n" +
		"X-Forwarded_Client-Cert: URI=spiffe://evil/3\r\nx.forwarded.client.cert: URI=spiffe://evil/4\r\n" +
		"X-Hallmark-Source: evil=5\r\nX_HALLMARK_SOURCE: evil=6\r\nForwarded: for=evil7\r\n" +
		"X-Envoy-Peer-Metadata: evil12\r\nx_envoy_peer_metadata: evil13\r\nX-Envoy-Peer-Metadata-Id: evil14\r\n" +
		"L5d-Client-Id: evil15\r\nL5D_CLIENT_ID: evil16\r\n" +
		"X-Forwarded-For: evil8\r\nX_Forwarded_For: evil9\r\nX-Forwarded-Port: evil10\r\nX-Forwarded-Anything: evil11\r\n" +
		"Connection: x-forwarded-client-cert, forwarded, x-hallmark-source\r\nKept: 1\r\nX-Forward: kept\r\n\r\n")
	c.response("GET")
	got := strings.Split(strings.TrimSpace(r.all()[0]), "\r\n")
	want := []string{
		"GET /x HTTP/1.1", "host: app", "kept: 1", "x-forward: kept",
		"x-forwarded-client-cert: By=spiffe://example.org/ns/b/sa/app;URI=spiffe://example.org/ns/a/sa/caller",
		"x-hallmark-source: k8s.namespace.name=a;provenance=verified,service.name=a%20b%2C%22c%22%25%C3%BC;provenance=asserted",
		"x-forwarded-for: 2001:db8::1", "x-forwarded-proto: https", "x-forwarded-host: app",
		`forwarded: for="[2001:db8::1]";proto=https;host="app"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestIdentityOfNobody: without a peer the application is told of none, and not
// what the client says.
func TestIdentityOfNobody(t *testing.T) {
	for _, source := range []Source{{}, {Peer: &tlsctx.Peer{}}} {
		r := record(t)
		p := startFor(t, tlsctx.HTTP1, source, with(to(plain(t, r.address, tlsctx.HTTP1)), func(c *Config) { c.Identity = &Identity{} }))
		c := p.dial()
		c.send("GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-Client-Cert: URI=spiffe://evil/1\r\nX-Forwarded-For: evil\r\n\r\n")
		c.response("GET")
		if got := r.all()[0]; got != "GET / HTTP/1.1\r\nhost: app\r\n\r\n" {
			t.Errorf("got %q", got)
		}
	}
}

func TestIdentityLeast(t *testing.T) {
	told := newIdentityFields(&Identity{Least: tlsctx.Verified}).of(&Source{Peer: peer()})
	if got := told.fields[1].Value; got != "k8s.namespace.name=a;provenance=verified" {
		t.Errorf("got %q", got)
	}
}

func TestTrustForwarded(t *testing.T) {
	r := record(t)
	p := start(t, tlsctx.HTTP1, with(to(plain(t, r.address, tlsctx.HTTP1)), func(c *Config) { c.Identity = &Identity{TrustForwarded: true} }))
	c := p.dial()
	c.send("GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-Client-Cert: URI=spiffe://evil/1\r\nX_Hallmark_Source: evil\r\nX-Forwarded-For: kept\r\n\r\n")
	c.response("GET")
	if got := r.all()[0]; got != "GET / HTTP/1.1\r\nhost: app\r\nx-forwarded-for: kept\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}
