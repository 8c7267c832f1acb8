package announce

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// ask sends a header and a request to a real program, and returns what it says
// of its client.
func ask(t *testing.T, address string, h Header) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := h.WriteTo(c); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %q, %v", answer.Status, body, err)
	}
	return string(body)
}

func TestHAProxyReadsIt(t *testing.T) {
	address := components.FreeAddr(t)
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := fmt.Sprintf(`
defaults
  mode http
  timeout client 30s
  timeout connect 30s
  timeout server 30s
frontend f
  bind %s accept-proxy
  http-request return status 200 content-type text/plain lf-string "%%[src] %%[src_port] %%[dst] %%[dst_port] %%[fc_pp_authority]"
`, address)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	components.Start(t, components.Process{
		Path: components.Command(t, "haproxy"), Args: []string{"-db", "-f", path}, Ready: components.Accepts("tcp", address),
	})
	h := Header{Source: source, Destination: destination, Peer: checkout(), Protocol: tlsctx.HTTP1, Authority: "db.example"}
	if got, want := ask(t, address, h), "192.0.2.1 40000 192.0.2.2 5432 db.example"; got != want {
		t.Errorf("HAProxy says %q, want %q", got, want)
	}
}

func TestNginxReadsIt(t *testing.T) {
	dir := t.TempDir()
	address := components.FreeAddr(t)
	path := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server {
    listen %[2]s proxy_protocol;
    location / { return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port"; }
  }
}
`, dir, address)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	components.Start(t, components.Process{
		Path: components.Command(t, "nginx"), Args: []string{"-p", dir, "-c", path, "-e", "stderr"}, Ready: components.Accepts("tcp", address),
	})
	h := Header{Source: source, Destination: destination, Peer: checkout()}
	if got, want := ask(t, address, h), "192.0.2.1 40000 192.0.2.2 5432"; got != want {
		t.Errorf("nginx says %q, want %q", got, want)
	}
}
