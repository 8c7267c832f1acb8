package conformance_test

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// The workloads of the tests.
const (
	client = "/ns/shop/sa/cart"
	server = "/ns/db/sa/store"
)

// mesh is a pair with what it belongs to.
type mesh struct {
	*e2e.Pair

	issuer *e2e.Issuer
	client e2e.Workload
}

// newMesh runs a pair in front of applications, in its default configuration but
// for what change says.
func newMesh(tb testing.TB, options e2e.IssuerOptions, change func(*e2e.Ways), backends ...string) *mesh {
	tb.Helper()
	options.Workloads = map[string]map[string]string{client: nil, server: nil}
	issuer := build.Issuer(tb, options)
	m := &mesh{issuer: issuer, client: issuer.Workload(tb, client)}
	ways := e2e.Ways{Client: m.client, Server: issuer.Workload(tb, server), Backends: backends}
	if change != nil {
		change(&ways)
	}
	m.Pair = e2e.RunPair(tb, ways)
	return m
}

// through runs a pair in front of applications, in its default configuration.
func through(tb testing.TB, backends ...string) *mesh {
	tb.Helper()
	return newMesh(tb, e2e.IssuerOptions{}, nil, backends...)
}

// web runs an application that serves each request by a function, in HTTP/1.1 and
// in HTTP/2 with prior knowledge, and returns its address.
func web(tb testing.TB, handle http.HandlerFunc) string {
	tb.Helper()
	server := &http.Server{Handler: handle, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return serve(tb, server)
}

// serve runs a server for as long as the test lasts.
func serve(tb testing.TB, server *http.Server) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l) // until it is closed
	}()
	tb.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return l.Addr().String()
}

// mirror answers with the body of the request.
func mirror(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body) // net/http does not read on while it answers in HTTP/1
	if err != nil {
		return
	}
	_, _ = w.Write(body)
}

// browser is an HTTP client of a version, 1 or 2, for as long as the test lasts.
func browser(tb testing.TB, version int) *http.Client {
	tb.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols), MaxIdleConnsPerHost: 100}
	transport.Protocols.SetHTTP1(version == 1)
	transport.Protocols.SetUnencryptedHTTP2(version == 2)
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
