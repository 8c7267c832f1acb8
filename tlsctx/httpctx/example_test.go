package httpctx_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/hallmark-mesh/hallmark/tlsctx/httpctx"
)

// A handler that knows who calls, and a client that knows who answered. Programs
// get their identity from packages identity/workload or identity/files.
func Example() {
	t := ca.ForExample()
	domain := ca.New(t, "example.org")
	web := identity.Static{Current: domain.Snapshot(t, "/ns/shop/sa/web", ca.Attributes(t, "service.version", "1.2.3"))}
	api := identity.Static{Current: domain.Snapshot(t, "/ns/shop/sa/api", identity.Attributes{})}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := httpctx.PeerFromContext(r.Context())
		fmt.Fprintf(w, "hello %s, version %s", caller.ID, caller.Attributes.Value("service.version", tlsctx.Asserted))
	})}
	served := make(chan error)
	go func() {
		served <- httpctx.Serve(server, listener, tlsctx.ServerConfig{Source: api}, tlsctx.ListenerOptions{})
	}()

	transport := httpctx.NewTransport(tlsctx.ClientConfig{Source: web})
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	response, err := client.Get("https://" + listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	callee, _ := httpctx.PeerFromContext(response.Request.Context())
	fmt.Println(string(body))
	fmt.Println("answered by", callee.ID)
	_ = server.Close()
	fmt.Println(<-served)
	// Output:
	// hello spiffe://example.org/ns/shop/sa/web, version 1.2.3
	// answered by spiffe://example.org/ns/shop/sa/api
	// http: Server closed
}
