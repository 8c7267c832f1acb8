package interop

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// host is 127.0.0.1 under a name that the SVIDs hold.
func host(address string) string { return "localhost" + address[strings.LastIndexByte(address, ':'):] }

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// slowly is standard input that says something and stays open, so that the
// client does not leave before it was greeted.
func slowly(t *testing.T, line string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	if _, err := w.WriteString(line); err != nil {
		t.Fatal(err)
	}
	return r
}

// clients are the programs that connect to our server, each with and, where it
// can, without an ALPN identifier.
var clients = []struct {
	name string
	run  func(t *testing.T, f ca.Files, address, alpn string)
}{
	{"openssl", func(t *testing.T, f ca.Files, address, alpn string) {
		args := []string{"s_client", "-connect", address, "-CAfile", f.Bundle, "-cert", f.Chain, "-cert_chain", f.Chain, "-key", f.Key, "-verify", "4", "-verify_return_error"}
		if alpn != "" {
			args = append(args, "-alpn", alpn)
		}
		components.Start(t, components.Process{
			Path: components.Command(t, "openssl"), Args: args, Stdin: slowly(t, "hello\n"), ReadyOutput: strings.TrimSpace(greeting),
		}).Stop()
	}},
	{"gnutls", func(t *testing.T, f ca.Files, address, alpn string) {
		args := []string{"--port", port(address), "--x509cafile", f.Bundle, "--x509certfile", f.Chain, "--x509keyfile", f.Key, "--no-ocsp", "localhost"}
		if alpn != "" {
			args = append([]string{"--alpn", alpn}, args...)
		}
		components.Start(t, components.Process{
			Path: components.Command(t, "gnutls-cli"), Args: args, Stdin: slowly(t, "hello\n"), ReadyOutput: strings.TrimSpace(greeting),
		}).Stop()
	}},
	{"boringssl", func(t *testing.T, f ca.Files, address, alpn string) {
		args := []string{"client", "-connect", host(address), "-server-name", "localhost", "-root-certs", f.Bundle, "-cert", f.Chain, "-key", f.Key}
		if alpn != "" {
			args = append(args, "-alpn-protos", alpn)
		}
		components.Start(t, components.Process{
			Path: components.Command(t, "bssl-tool"), Args: args, Stdin: slowly(t, "hello\n"), ReadyOutput: strings.TrimSpace(greeting),
		}).Stop()
	}},
}

func TestUnawareClients(t *testing.T) {
	for _, c := range clients {
		for _, alpn := range []string{"", "http/1.1"} {
			t.Run(c.name+"/alpn="+strings.ReplaceAll(alpn, "/", ""), func(t *testing.T) {
				m := newMesh(t)
				address, served := m.serve(t, tlsctx.ServerConfig{Registered: []string{"http/1.1"}})
				c.run(t, m.files, address, alpn)
				r := <-served
				m.check(t, r, alpn)
				if !strings.HasPrefix(r.got, "hello") {
					t.Errorf("client sent %q, want hello", r.got)
				}
			})
		}
	}
}

func TestUnawareClientGoSPIFFE(t *testing.T) {
	m := newMesh(t)
	address, served := m.serve(t, tlsctx.ServerConfig{})
	conn, err := dialTLS(address, tlsconfig.MTLSClientConfig(m.other.SVID, m.other.Bundles, tlsconfig.AuthorizeID(m.ours.ID())))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	m.check(t, <-served, "")
}

func TestUnawareClientCurl(t *testing.T) {
	for name, alpn := range map[string]string{"--alpn": "http/1.1", "--no-alpn": ""} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			address, served := m.serveThat(t, tlsctx.ServerConfig{Registered: []string{"http/1.1"}}, answerHTTP)
			m.curl(t, address, name)
			m.check(t, <-served, alpn)
		})
	}
}

// TestUnawareClientCurlOfNetHTTP has curl negotiate with net/http behind our
// adapter.
func TestUnawareClientCurlOfNetHTTP(t *testing.T) {
	m := newMesh(t)
	m.curl(t, m.serveHTTP(t))
}

// curl asks our server for what it says of curl.
func (m *mesh) curl(t *testing.T, address string, args ...string) {
	t.Helper()
	out := components.Output(t, components.Process{Path: components.Command(t, "curl"), Args: append(args,
		"--silent", "--show-error", "--fail", "--cacert", m.files.Bundle, "--cert", m.files.Chain, "--key", m.files.Key, "https://"+host(address)+"/",
	)})
	if want := m.other.ID().String() + " aware=false"; !strings.Contains(out, want) {
		t.Errorf("curl got %q, want %q", out, want)
	}
}

// servers are the programs that our client connects to.
var servers = []struct {
	name string
	// start runs the server and returns what to send, and what comes back.
	start func(t *testing.T, f ca.Files, address string) (send, want string)
	alpn  string
}{
	{"openssl", func(t *testing.T, f ca.Files, address string) (string, string) {
		components.Start(t, components.Process{Path: components.Command(t, "openssl"), Args: []string{
			"s_server", "-accept", address, "-CAfile", f.Bundle, "-cert", f.Chain, "-cert_chain", f.Chain, "-key", f.Key,
			"-Verify", "4", "-verify_return_error", "-rev", "-alpn", "http/1.1",
		}, ReadyOutput: "ACCEPT"})
		return "olleh\n", "hello"
	}, "http/1.1"},
	{"openssl without ALPN", func(t *testing.T, f ca.Files, address string) (string, string) {
		components.Start(t, components.Process{Path: components.Command(t, "openssl"), Args: []string{
			"s_server", "-accept", address, "-CAfile", f.Bundle, "-cert", f.Chain, "-cert_chain", f.Chain, "-key", f.Key,
			"-Verify", "4", "-verify_return_error", "-rev",
		}, ReadyOutput: "ACCEPT"})
		return "olleh\n", "hello"
	}, ""},
	{"gnutls", func(t *testing.T, f ca.Files, address string) (string, string) {
		components.Start(t, components.Process{Path: components.Command(t, "gnutls-serv"), Args: []string{
			"--port", port(address), "--echo", "--require-client-cert", "--verify-client-cert", "--alpn", "http/1.1",
			"--x509cafile", f.Bundle, "--x509certfile", f.Chain, "--x509keyfile", f.Key,
		}, Ready: components.Accepts("tcp", address)})
		return "hello\n", "hello"
	}, "http/1.1"},
	{"boringssl", func(t *testing.T, f ca.Files, address string) (string, string) {
		components.Start(t, components.Process{Path: components.Command(t, "bssl-tool"), Args: []string{
			"server", "-accept", port(address), "-cert", f.Chain, "-key", f.Key, "-require-any-client-cert", "-loop", "-www",
		}, Ready: components.Accepts("tcp", address)})
		return "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "Cipher:"
	}, ""},
	{"go-spiffe", startGoSPIFFE, ""},
	{"nginx", startNginx, "http/1.1"},
	{"haproxy", startHAProxy, "http/1.1"},
}

// startGoSPIFFE serves an echo the way that go-spiffe's users do it.
func startGoSPIFFE(t *testing.T, f ca.Files, address string) (send, want string) {
	t.Helper()
	svid, err := x509svid.Load(f.Chain, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := x509bundle.Load(svid.ID.TrustDomain(), f.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", address, tlsconfig.MTLSServerConfig(svid, bundle, tlsconfig.AuthorizeMemberOf(svid.ID.TrustDomain())))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	wg.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	})
	return "hello\n", "hello"
}

func TestUnawareServers(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			m := newMesh(t)
			address := components.FreeAddr(t)
			send, want := s.start(t, m.files, address)
			r := m.dial(t, address, tlsctx.ClientConfig{Detected: tlsctx.HTTP1, Target: "secret"}, send, want)
			m.check(t, r, s.alpn)
		})
	}
}

const getRequest = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

func startNginx(t *testing.T, f ca.Files, address string) (send, want string) {
	t.Helper()
	dir := components.TempDirFor(t, nil)
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr info;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen %[2]s ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate %[3]s; ssl_certificate_key %[4]s;
    ssl_client_certificate %[5]s; ssl_verify_client on; ssl_verify_depth 4;
    location / { return 200 "verified $ssl_client_verify"; }
  }
}
`, dir, address, f.Chain, f.Key, f.Bundle)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	components.Start(t, components.Process{
		Path: components.Command(t, "nginx"), Args: []string{"-p", dir, "-c", path, "-e", "stderr"}, Ready: components.Accepts("tcp", address),
	})
	return getRequest, "verified SUCCESS"
}

func startHAProxy(t *testing.T, f ca.Files, address string) (send, want string) {
	t.Helper()
	startHAProxyWith(t, fmt.Sprintf(`
frontend in
  bind %s ssl crt %s ca-file %s verify required alpn http/1.1 ssl-min-ver TLSv1.3
  http-request return status 200 content-type text/plain lf-string "verified %%[ssl_c_verify]"
`, address, joined(t, f), f.Bundle), components.Accepts("tcp", address))
	return getRequest, "verified 0"
}

// TestUnawareClientsThatProxy has nginx and HAProxy open the connection to our
// server.
func TestUnawareClientsThatProxy(t *testing.T) {
	t.Run("nginx", func(t *testing.T) {
		m := newMesh(t)
		backend, served := m.serveThat(t, tlsctx.ServerConfig{}, answerHTTP)
		front := components.FreeAddr(t)
		dir := components.TempDirFor(t, nil)
		config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr info;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen %[2]s;
    location / {
      proxy_pass https://%[3]s;
      proxy_ssl_protocols TLSv1.3; proxy_ssl_name localhost; proxy_ssl_server_name on;
      proxy_ssl_certificate %[4]s; proxy_ssl_certificate_key %[5]s;
      proxy_ssl_trusted_certificate %[6]s; proxy_ssl_verify on; proxy_ssl_verify_depth 4;
    }
  }
}
`, dir, front, backend, m.files.Chain, m.files.Key, m.files.Bundle)
		path := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		components.Start(t, components.Process{
			Path: components.Command(t, "nginx"), Args: []string{"-p", dir, "-c", path, "-e", "stderr"}, Ready: components.Accepts("tcp", front),
		})
		m.fetch(t, front)
		m.check(t, <-served, "")
	})
	t.Run("haproxy", func(t *testing.T) {
		m := newMesh(t)
		backend, served := m.serveThat(t, tlsctx.ServerConfig{Registered: []string{"http/1.1"}}, answerHTTP)
		front := components.FreeAddr(t)
		startHAProxyWith(t, fmt.Sprintf(`
frontend in
  bind %s
  default_backend out
backend out
  server s %s ssl crt %s ca-file %s verify required sni str(localhost) verifyhost localhost alpn http/1.1 ssl-min-ver TLSv1.3
`, front, backend, joined(t, m.files), m.files.Bundle), components.Accepts("tcp", front))
		m.fetch(t, front)
		m.check(t, <-served, "http/1.1")
	})
}

// fetch asks the proxy in front for what our server says of the proxy.
func (m *mesh) fetch(t *testing.T, front string) {
	t.Helper()
	out := components.Output(t, components.Process{
		Path: components.Command(t, "curl"), Args: []string{"--silent", "--show-error", "--fail", "http://" + front + "/"},
	})
	if want := m.other.ID().String() + " aware=false"; !strings.Contains(out, want) {
		t.Errorf("got %q through the proxy, want %q", out, want)
	}
}

// joined writes certificate and key into one file, as HAProxy wants them.
func joined(t *testing.T, f ca.Files) string {
	t.Helper()
	var all []byte
	for _, name := range []string{f.Chain, f.Key} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, content...)
	}
	path := filepath.Join(t.TempDir(), "joined.pem")
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
