package admin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"testing"
	"time"

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
	config := everything()
	config.Stat = func(context.Context, time.Duration) (any, error) { return []string{}, nil }
	config.Tap = func(url.Values) (Watch, error) { return nil, ErrBusy }
	go func() {
		ended <- ServeMutual(ctx, listener, Operator(config), tlsctx.ServerConfig{
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

// TestMutualPage: a browser with a certificate that is allowed gets the page, what
// it consists of and what it asks, all of it over connections that are kept; and
// nothing for a page from elsewhere.
func TestMutualPage(t *testing.T) {
	m := newMutual(t)
	transport := &http.Transport{
		ForceAttemptHTTP2: true, // as a browser does
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, // the browser's user trusts it
			MinVersion:         tls.VersionTLS13,
			Certificates:       []tls.Certificate{ca.TLSCertificate(m.domain.SVID(t, "/ops/alice"))},
		},
	}
	defer transport.CloseIdleConnections()
	ours := "https://" + m.to.String()
	paths := []string{"/", apiPrefix + "stat", apiPrefix + "stat?window=10s"}
	names, err := fs.Glob(web, "web/*")
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		if name != "web/index.html" { // which is /
			paths = append(paths, "/page/"+path.Base(name))
		}
	}
	for _, path := range paths {
		for _, from := range []struct {
			origin, site string
			want         int
		}{
			{"", "none", http.StatusOK}, // typed, or kept
			{"", "same-origin", http.StatusOK},
			{ours, "same-origin", http.StatusOK},
			{"http://" + m.to.String(), "same-site", http.StatusForbidden},
			{"https://evil.example", "cross-site", http.StatusForbidden},
			{"https://evil.example", "same-origin", http.StatusForbidden},
			{ours, "cross-site", http.StatusForbidden},
			{"null", "cross-site", http.StatusForbidden},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ours+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Sec-Fetch-Site", from.site)
			if from.origin != "" {
				r.Header.Set("Origin", from.origin)
			}
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode != from.want {
				t.Errorf("%s from %q (%s): %d, want %d", path, from.origin, from.site, answer.StatusCode, from.want)
			}
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
