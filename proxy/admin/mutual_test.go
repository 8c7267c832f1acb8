package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// mutual is a port that serves those of a trust domain whose path begins with
// /ops.
type mutual struct {
	domain *ca.Domain
	id     spiffeid.ID
	to     net.Addr
	logged chan string // messages, of the first few
}

func newMutual(t *testing.T) *mutual {
	t.Helper()
	domain := ca.New(t, "example.org")
	own := domain.Snapshot(t, "/sidecar", identity.Attributes{})
	listener := listen(t, "tcp", "127.0.0.1:0")
	logged := make(chan string, 16)
	core, _ := observer.New(zap.InfoLevel)
	log := zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		logged <- e.Message
		return nil
	}))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- ServeMutual(ctx, listener, Operator(everything()), tlsctx.ServerConfig{
			Source: identity.Static{Current: own}, Policy: tlsctx.Policy{Authorize: tlsctx.AuthorizePath(domain.TrustDomain(), "/ops")},
		}, log)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &mutual{domain: domain, id: own.ID(), to: listener.Addr(), logged: logged}
}

// ask sends a request as the workload at the path.
func (m *mutual) ask(t *testing.T, from *ca.Domain, path, request string) (status int, err error) {
	t.Helper()
	dialer := tlsctx.Dialer{Config: tlsctx.ClientConfig{
		Source:   identity.Static{Current: from.Snapshot(t, path, identity.Attributes{})},
		Policy:   tlsctx.Policy{Authorize: tlsctx.AuthorizeID(m.id)},
		Sessions: []tlsctx.Session{tlsctx.Raw}, Detected: tlsctx.HTTP1,
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", m.to.String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Body.Close()
}

// TestMutual serves those who are allowed, by any name, and refuses the others in
// the handshake.
func TestMutual(t *testing.T) {
	m := newMutual(t)
	const get = "GET /healthz HTTP/1.1\r\nHost: admin.of.orders:9901\r\n"
	for request, want := range map[string]int{
		get + "\r\n": http.StatusOK,
		get + "Origin: https://admin.of.orders:9901\r\n\r\n":             http.StatusOK,
		get + "Origin: http://admin.of.orders:9901\r\n\r\n":              http.StatusForbidden,
		get + "Origin: https://evil.example\r\n\r\n":                     http.StatusForbidden,
		get + "Sec-Fetch-Site: cross-site\r\n\r\n":                       http.StatusForbidden,
		"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n": http.StatusMethodNotAllowed,
	} {
		if got, err := m.ask(t, m.domain, "/ops/alice", request); got != want {
			t.Errorf("%q: %d, %v; want %d", request, got, err, want)
		}
	}
	stranger := ca.New(t, "other.example")
	ca.Federate(m.domain, stranger)
	for path, from := range map[string]*ca.Domain{"/web": m.domain, "/opsx": m.domain, "/ops/mallory": stranger} {
		_, err := m.ask(t, from, path, get+"\r\n")
		if !errors.Is(err, tlsctx.RefusedByPeer) {
			t.Errorf("%s of %s: %v, want a refusal", path, from.TrustDomain(), err)
		}
	}
	for range 3 {
		if message := <-m.logged; message != "the admin port has refused somebody" {
			t.Errorf("the log says %q", message)
		}
	}
}

// TestMutualIsNotPlain speaks HTTP to it without a handshake.
func TestMutualIsNotPlain(t *testing.T) {
	m := newMutual(t)
	conn := dial(t, m.to)
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // an alert, or nothing
	if _, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil); err == nil {
		t.Errorf("it answers %q in plaintext", answer)
	}
}

// TestPlainIsNotMutual has somebody in plaintext claim another's origin.
func TestPlainIsNotMutual(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
	r.Host = "localhost:9901"
	r.Header.Set("Origin", "https://localhost:9901")
	if w := ask(Operator(everything()), loopback, r); w.Code != http.StatusForbidden {
		t.Errorf("%d", w.Code)
	}
}
