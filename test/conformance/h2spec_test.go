package conformance_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity/workload"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// How many tests h2spec has, without the strict one and with it.
const (
	h2specTests       = 145
	h2specStrictTests = 146
)

// TestH2spec: every test of h2spec, with --strict and without, against what an
// application's clients find (HTTP/2 with prior knowledge), and against what
// peers find, by mutual TLS.
func TestH2spec(t *testing.T) {
	app := h2specApp(t)
	m := newMesh(t, e2e.IssuerOptions{}, func(w *e2e.Ways) { w.Keys = ",protocol=h2" }, app)
	for name, address := range map[string]string{
		"outbound": m.Addr(0),
		"inbound":  terminate(t, m.client, m.Between),
	} {
		t.Run(name, func(t *testing.T) { h2spec(t, h2specTests, address) })
		t.Run(name+", strict", func(t *testing.T) { h2spec(t, h2specStrictTests, address, "--strict") })
	}
}

// TestH2specDetected: the same against a port that is not declared to speak
// HTTP/2, but for the one test that begins with something else (3.5/2), which is
// left to the application there.
func TestH2specDetected(t *testing.T) {
	h2spec(t, h2specStrictTests-1, through(t, h2specApp(t)).Addr(0), "--strict",
		"generic", "hpack", "http2/3.5/1", "http2/4", "http2/5", "http2/6", "http2/7", "http2/8")
}

// h2specApp is an application as h2spec wants it.
func h2specApp(t *testing.T) string {
	return web(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "h2spec wants content")
	})
}

var h2specCounts = regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`)

// h2spec runs it, and wants so many tests to pass and no other outcome.
func h2spec(t *testing.T, want int, address string, args ...string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	out := components.Output(t, components.Process{
		Path: components.Path(t, components.H2spec),
		Args: append([]string{"-h", host, "-p", port, "-o", "20"}, args...),
	})
	counts := h2specCounts.FindStringSubmatch(out)
	if counts == nil {
		t.Fatalf("h2spec said no counts:\n%s", out)
	}
	t.Log("h2spec: " + counts[0])
	if all := strconv.Itoa(want); counts[1] != all || counts[2] != all {
		t.Errorf("%s, want all of %d to pass:\n%s", counts[0], want, out)
	}
}

// terminate runs, for as long as the test lasts, what lets programs without
// certificates speak to a peer: it forwards connections over mutual TLS as the
// workload, and offers HTTP/2 as anybody does who has not heard of contexts.
func terminate(t *testing.T, w e2e.Workload, to string) string {
	t.Helper()
	config := credentials(t, w, "h2")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { secure(ctx, down, to, config) })
		}
	})
	t.Cleanup(func() {
		stop()
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// credentials are what a program that has not heard of contexts connects to a peer
// with, as the workload.
func credentials(tb testing.TB, w e2e.Workload, alpn string) *tls.Config {
	tb.Helper()
	source, err := workload.Open(workload.Config{Address: w.Endpoint})
	if err != nil {
		tb.Fatal(err)
	}
	defer source.Close()
	own, err := source.Wait(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.TLSCertificate(own.SVID)}, NextProtos: []string{alpn},
	}
}

// secure forwards one connection over TLS, until either end is done.
func secure(ctx context.Context, down net.Conn, to string, config *tls.Config) {
	defer down.Close()
	up, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer up.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = down.Close()
		_ = up.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(up, down)
		_, _ = io.Copy(io.Discard, down) // closed with bytes unread, it would be reset, and what it was told lost
		_ = up.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(down, up)
		if tcp, ok := down.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	})
	both.Wait()
}
