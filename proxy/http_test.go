package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// web serves each request by a function, in HTTP/1.1 and in HTTP/2 with prior
// knowledge.
func web(tb testing.TB, handle http.HandlerFunc) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{Handler: handle, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	tb.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return l.Addr().String()
}

// browser is an HTTP client of a version, 1 or 2.
func browser(tb testing.TB, version int) *http.Client {
	tb.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(version == 1)
	transport.Protocols.SetUnencryptedHTTP2(version == 2)
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get returns the status and the body of a page.
func get(tb testing.TB, client *http.Client, url string, header ...string) (int, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// whoami says what the application is told.
func whoami(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s\nxfcc=%s\nsource=%s\nl5d=%s\n", r.Proto, r.URL.Path,
		r.Header.Get("X-Forwarded-Client-Cert"), r.Header.Get("X-Hallmark-Source"), r.Header.Get("L5d-Client-Id"))
}

// TestRequestsThroughThePair: in each version, the application is spoken to in
// the version that its client spoke, and told who that is, whatever it claims.
func TestRequestsThroughThePair(t *testing.T) {
	for version, proto := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0"} {
		for _, kind := range []string{"Auto", "Raw", "Mux"} {
			t.Run(proto+"/"+kind, func(t *testing.T) {
				p := newPair(t, web(t, whoami), []string{"  session: " + kind, clientFirst}, nil)
				client := browser(t, version)
				for range 3 {
					status, body := get(t, client, "http://"+p.address+"/hello", "X-Forwarded-Client-Cert", "URI=spiffe://example.org/admin")
					if status != http.StatusOK || !strings.HasPrefix(body, proto+" /hello\n") {
						t.Errorf("got %d %q", status, body)
					}
					if !strings.Contains(body, "URI=spiffe://example.org/ns/shop/sa/cart") || strings.Contains(body, "admin") {
						t.Errorf("the application is told %q", body)
					}
					if !strings.Contains(body, "k8s.namespace.name=shop;provenance=verified") {
						t.Errorf("the application is told %q", body)
					}
				}
				if n := p.client.metric(`hallmark_sessions_opened_total\{`); n != 1 {
					t.Errorf("%v sessions were opened", n)
				}
				who := `source_principal="spiffe://example.org/ns/shop/sa/cart",.*source_workload="cart",source_workload_namespace="shop"`
				eventually(t, "every request is counted by who sent it", func() bool {
					return p.server.metric(`istio_requests_total\{.*reporter="destination".*request_protocol="http",response_code="200".*`+who) == 3
				})
				if n := p.client.metric(`istio_requests_total\{.*destination_workload="db".*reporter="source".*` + who); kind == "Auto" && n != 3 {
					t.Errorf("%v requests are counted at the source", n)
				}
			})
		}
	}
}

// TestUpgradesAreCounted as what both applications know them as, whatever they are
// between the sidecars.
func TestUpgradesAreCounted(t *testing.T) {
	p := newPair(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "upgrade")
		w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		w.WriteHeader(http.StatusSwitchingProtocols)
	}), nil, nil)
	c := connect(t, p.address)
	if _, err := io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %+v, %v", answer, err)
	}
	_ = c.Close()
	for reporter, w := range map[string]*workload{"source": p.client, "destination": p.server} {
		eventually(t, "the upgrade is counted at the "+reporter, func() bool {
			return w.metric(`istio_requests_total\{.*reporter="`+reporter+`".*response_code="101"`) == 1
		})
	}
}

// TestRequestsAreAuthorized each by itself, also on a session that is open.
func TestRequestsAreAuthorized(t *testing.T) {
	app := web(t, whoami)
	p := newPair(t, app, nil, nil)
	client := browser(t, 1)
	if status, body := get(t, client, "http://"+p.address+"/"); status != http.StatusOK {
		t.Fatalf("got %d %q", status, body)
	}
	p.server.apply(inboundYAML(app, authorization("DENY", "Audit", onlyShop)))
	if status, body := get(t, client, "http://"+p.address+"/"); status != http.StatusOK {
		t.Fatalf("got %d %q", status, body)
	}
	if n := p.server.metric(`hallmark_authorizations_total\{decision="audited"`); n != 1 {
		t.Errorf("%v requests were audited", n)
	}
}

// TestRequestsToAnOpaquePort: what the destination declares is not looked into.
func TestRequestsToAnOpaquePort(t *testing.T) {
	p := newPair(t, web(t, whoami), nil, []string{"    protocol: opaque"})
	status, body := get(t, browser(t, 1), "http://"+p.address+"/", "X-Forwarded-Client-Cert", "mine")
	if status != http.StatusOK || !strings.Contains(body, "xfcc=mine") {
		t.Errorf("got %d %q", status, body)
	}
	if n := p.server.metric(`hallmark_detections_total\{how="declared",protocol="opaque"\}`); n != 1 {
		t.Errorf("%v are counted as declared", n)
	}
}

// TestRequestsToUnawareServers of either version of HTTP.
func TestRequestsToUnawareServers(t *testing.T) {
	domain := ca.New(t, "example.org")
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			client := newWorkload(t, domain, "/ns/shop/sa/cart")
			client.apply(outboundYAML(plainSPIFFEWeb(t, domain, "/ns/data/sa/db", version), "spiffe://example.org/ns/data/sa/db"))
			for range 2 {
				status, body := get(t, browser(t, version), "http://"+client.address("127.0.0.1:0")+"/x")
				if status != http.StatusOK || !strings.Contains(body, "/x") {
					t.Errorf("got %d %q", status, body)
				}
			}
		})
	}
}

// TestApplicationIsDownForRequests: the client is told, by a status.
func TestApplicationIsDownForRequests(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	p := newPair(t, l.Addr().String(), nil, nil)
	status, body := get(t, browser(t, 1), "http://"+p.address+"/")
	if status != http.StatusServiceUnavailable {
		t.Errorf("got %d %q", status, body)
	}
}

// TestDrainEndsIdleConnectionsOfHTTP, which else would last as long as the client
// keeps them.
func TestDrainEndsIdleConnectionsOfHTTP(t *testing.T) {
	p := newPair(t, web(t, whoami), nil, nil)
	client := browser(t, 1)
	if status, body := get(t, client, "http://"+p.address+"/"); status != http.StatusOK {
		t.Fatalf("got %d %q", status, body)
	}
	if !p.client.Drain(context.Background()) || !p.server.Drain(context.Background()) {
		t.Error("something was cut")
	}
}

// TestSessionForMessagesCarriesNothingElse: a peer cannot pass HTTP/2 frames off
// as a stream of something else.
func TestSessionForMessagesCarriesNothingElse(t *testing.T) {
	domain := ca.New(t, "example.org")
	server := newWorkload(t, domain, "/ns/data/sa/db")
	server.apply(inboundYAML(echo(t)))
	conn, err := shake(t, domain, "/ns/shop/sa/cart", server.address("127.0.0.1:0"), tlsctx.ClientConfig{
		Sessions: []tlsctx.Session{tlsctx.H2}, Detected: tlsctx.Redis,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if n, err := conn.Read(make([]byte, 10)); err == nil {
		t.Errorf("%d bytes came back", n)
	}
	eventually(t, "it is recorded", func() bool { return len(server.events.all()) == 1 })
	if got := server.events.all()[0].Outcome; got.Reason != "not_http" {
		t.Errorf("recorded %+v", got)
	}
}

// TestSettingsOfHTTP take effect, on reload too: a head that is too large, and
// what the application is told.
func TestSettingsOfHTTP(t *testing.T) {
	app := web(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q %q", r.Header.Get("Forwarded"), r.Header.Get("X-Hallmark-Source"))
	})
	p := newPair(t, app, nil, nil)
	large := strings.Repeat("x", 8<<10)
	if status, body := get(t, browser(t, 1), "http://"+p.address+"/", "X-Large", large); status != http.StatusOK || !strings.HasPrefix(body, `"" "`) {
		t.Errorf("got %d %q", status, body)
	}
	settings := `
---
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: p}
spec: {http: {limits: {headBytes: 4Ki}, identity: {forwarded: true, minProvenance: attested}}}
`
	p.server.apply(inboundYAML(app, settings))
	p.client.apply(outboundYAML(p.server.address("127.0.0.1:0"), "spiffe://example.org/ns/data/sa/db", settings))
	status, body := get(t, browser(t, 1), "http://"+p.address+"/", "X-Large", large)
	if status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d %q", status, body)
	}
	p.client.apply(outboundYAML(p.server.address("127.0.0.1:0"), "spiffe://example.org/ns/data/sa/db"))
	p.server.publish() // sessions of the old settings drain
	eventually(t, "the application is told by Forwarded, and nothing that is not attested", func() bool {
		_, body := get(t, browser(t, 1), "http://"+p.address+"/")
		return strings.HasPrefix(body, `"for=`) && strings.HasSuffix(body, ` ""`)
	})
}
