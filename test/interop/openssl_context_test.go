package interop

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

const opensslToken = "hallmark/1/raw/unknown"

// opensslContext has OpenSSL make a context beside the SVID, and returns a file
// of the chain and the context to send after the leaf.
func opensslContext(t *testing.T, f ca.Files, target string) string {
	t.Helper()
	dir := t.TempDir()
	context := filepath.Join(dir, "context.pem")
	components.Command(t, "openssl")
	components.Output(t, components.Process{Path: "./openssl_context.sh", Args: []string{f.Chain, f.Key, target, context}})
	var chain []byte
	for _, name := range []string{f.Chain, context} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, content...)
	}
	// s_client and s_server send the leaf by -cert and the rest by -cert_chain.
	_, rest, _ := strings.Cut(string(chain), "-----END CERTIFICATE-----\n")
	path := filepath.Join(dir, "rest.pem")
	if err := os.WriteFile(path, []byte(rest), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (m *mesh) checkOpenSSLContext(t *testing.T, r met) {
	t.Helper()
	if r.err != nil {
		t.Fatal(r.err)
	}
	if r.peer.ID != m.other.ID() || !r.peer.Aware || r.peer.ALPN != opensslToken {
		t.Errorf("met %s, aware=%t, ALPN %q; want %s, aware, %q", r.peer.ID, r.peer.Aware, r.peer.ALPN, m.other.ID(), opensslToken)
	}
	if pod := r.peer.Attributes.Value("k8s.pod.name", tlsctx.Asserted); pod != "made-by-openssl" {
		t.Errorf("peer states k8s.pod.name=%q, want made-by-openssl", pod)
	}
	if !hasContext(r.sent) {
		t.Error("we sent no context certificate to a peer with which a token was negotiated")
	}
}

func TestContextMadeByOpenSSLFromAClient(t *testing.T) {
	m := newMesh(t)
	rest := opensslContext(t, m.files, "db")
	address, served := m.serve(t, tlsctx.ServerConfig{})
	components.Start(t, components.Process{Path: components.Command(t, "openssl"), Args: []string{
		"s_client", "-connect", address, "-CAfile", m.files.Bundle, "-cert", m.files.Chain, "-cert_chain", rest, "-key", m.files.Key,
		"-verify", "4", "-verify_return_error", "-alpn", opensslToken,
	}, Stdin: slowly(t, "hello\n"), ReadyOutput: strings.TrimSpace(greeting)}).Stop()
	r := <-served
	m.checkOpenSSLContext(t, r)
	if r.err == nil && r.peer.Target != "db" {
		t.Errorf("client asks for target %q, want db", r.peer.Target)
	}
}

func TestContextMadeByOpenSSLFromAServer(t *testing.T) {
	m := newMesh(t)
	rest := opensslContext(t, m.files, "")
	address := components.FreeAddr(t)
	components.Start(t, components.Process{Path: components.Command(t, "openssl"), Args: []string{
		"s_server", "-accept", address, "-CAfile", m.files.Bundle, "-cert", m.files.Chain, "-cert_chain", rest, "-key", m.files.Key,
		"-Verify", "4", "-verify_return_error", "-rev", "-alpn", opensslToken,
	}, ReadyOutput: "ACCEPT"})
	m.checkOpenSSLContext(t, m.dial(t, address, tlsctx.ClientConfig{Awareness: tlsctx.Require}, "olleh\n", "hello"))
}

// TestOpenSSLWithoutContextIsMalformed negotiates a token and sends no context.
func TestOpenSSLWithoutContextIsMalformed(t *testing.T) {
	m := newMesh(t)
	address, served := m.serve(t, tlsctx.ServerConfig{})
	client := exec.CommandContext(t.Context(), components.Command(t, "openssl"),
		"s_client", "-connect", address, "-CAfile", m.files.Bundle, "-cert", m.files.Chain, "-cert_chain", m.files.Chain, "-key", m.files.Key, "-alpn", opensslToken)
	client.Stdin = slowly(t, "hello\n")
	if out, err := client.CombinedOutput(); err == nil {
		t.Errorf("openssl was served without a context:\n%s", out)
	}
	if r := <-served; !errors.Is(r.err, tlsctx.MissingContext) {
		t.Errorf("server: %v, want %v", r.err, tlsctx.MissingContext)
	}
}
