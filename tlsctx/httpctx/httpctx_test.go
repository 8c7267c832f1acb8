package httpctx_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/hallmark-mesh/hallmark/tlsctx/httpctx"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

// whoCalls answers with the caller, as the handshake left it.
func whoCalls(w http.ResponseWriter, r *http.Request) {
	p, ok := httpctx.PeerFromContext(r.Context())
	if !ok || r.TLS == nil {
		http.Error(w, "no peer", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "%s aware=%t %s pod=%s", p.ID, p.Aware, r.Proto, p.Attributes.Value("k8s.pod.name", tlsctx.Asserted))
}

func serve(t *testing.T, source identity.Source) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(whoCalls)}
	served := make(chan error, 1)
	go func() {
		served <- httpctx.Serve(server, listener, tlsctx.ServerConfig{Source: source}, tlsctx.ListenerOptions{})
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return "https://" + listener.Addr().String()
}

func get(t *testing.T, transport http.RoundTripper, url string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestBothEndsKnowEachOther(t *testing.T) {
	domain := ca.New(t, "example.org")
	url := serve(t, identity.Static{Current: domain.Snapshot(t, "/server", identity.Attributes{})})
	client := domain.Snapshot(t, "/client", ca.Attributes(t, "k8s.pod.name", "web-0"))

	transport := httpctx.NewTransport(tlsctx.ClientConfig{Source: identity.Static{Current: client}})
	defer transport.CloseIdleConnections()
	for range 2 { // the second over the same connection
		response, body := get(t, transport, url)
		if want := "spiffe://example.org/client aware=true HTTP/1.1 pod=web-0"; body != want {
			t.Errorf("server saw %q, want %q", body, want)
		}
		server, ok := httpctx.PeerFromContext(response.Request.Context())
		if !ok || server.ID != domain.ID(t, "/server") {
			t.Errorf("client reached %v", server)
		}
	}
}

// An unaware client that negotiates h2 is served HTTP/2, and one that
// negotiates nothing HTTP/1.1.
func TestPlainSPIFFEClients(t *testing.T) {
	domain := ca.New(t, "example.org")
	url := serve(t, identity.Static{Current: domain.Snapshot(t, "/server", identity.Attributes{})})
	client := domain.Snapshot(t, "/client", identity.Attributes{})
	config := tlsconfig.MTLSClientConfig(client.SVID, client.Bundles, tlsconfig.AuthorizeMemberOf(domain.TrustDomain()))
	for proto, transport := range map[string]*http.Transport{
		"HTTP/1.1": {TLSClientConfig: config},
		"HTTP/2.0": {TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true},
	} {
		_, body := get(t, transport, url)
		transport.CloseIdleConnections()
		if want := "spiffe://example.org/client aware=false " + proto + " pod="; body != want {
			t.Errorf("server saw %q, want %q", body, want)
		}
	}
}

func TestPlaintextURLIsRefused(t *testing.T) {
	transport := httpctx.NewTransport(tlsctx.ClientConfig{Source: identity.Static{}})
	request, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://127.0.0.1:1/", nil)
	if _, err := transport.RoundTrip(request); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("plaintext request: %v, want advice to use https", err)
	}
}

func TestServerWithoutHandlerIsRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := httpctx.Serve(&http.Server{}, listener, tlsctx.ServerConfig{}, tlsctx.ListenerOptions{}); err == nil || !strings.Contains(err.Error(), "Handler") {
		t.Errorf("Serve: %v, want advice to set a Handler", err)
	}
	if _, err := listener.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}
