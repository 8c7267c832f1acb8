package interop

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/hallmark-mesh/hallmark/tlsctx/httpctx"
)

// serveHTTP answers every request with who calls.
func (m *mesh) serveHTTP(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := httpctx.PeerFromContext(r.Context())
		fmt.Fprintf(w, "%s aware=%t", p.ID, p.Aware)
	})}
	served := make(chan error, 1)
	go func() {
		served <- httpctx.Serve(server, listener, tlsctx.ServerConfig{Source: identity.Static{Current: m.ours}}, tlsctx.ListenerOptions{
			OnError: func(_ net.Addr, err error) { t.Logf("handshake: %v", err) },
		})
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return listener.Addr().String()
}

func dialTLS(address string, config *tls.Config) (net.Conn, error) {
	return (&tls.Dialer{Config: config}).DialContext(context.Background(), "tcp", address)
}

// startHAProxyWith runs HAProxy with the given frontends and backends.
func startHAProxyWith(t *testing.T, config string, ready func(context.Context) error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	config = "global\n  maxconn 100\n  log stdout format raw local0\ndefaults\n  mode http\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n" + config
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	components.Start(t, components.Process{
		Path: components.Command(t, "haproxy"), Args: []string{"-db", "-f", path}, Ready: ready,
	})
}
