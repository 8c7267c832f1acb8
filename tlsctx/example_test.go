package tlsctx_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Two workloads of one trust domain. Programs get theirs from the SPIFFE
// Workload API (package identity/workload) or from files (identity/files).
func workloads() (web, db identity.Source) {
	t := ca.ForExample()
	domain := ca.New(t, "example.org")
	return identity.Static{Current: domain.Snapshot(t, "/ns/shop/sa/web", ca.Attributes(t, "k8s.pod.name", "web-0"))},
		identity.Static{Current: domain.Snapshot(t, "/ns/data/sa/db", ca.Attributes(t, "k8s.pod.name", "db-0"))}
}

// A client and a server over any net.Conn. When the handshake is complete, and
// before a byte of the application, each knows the other.
func Example() {
	web, db := workloads()
	clientConn, serverConn := net.Pipe()
	ctx := context.Background()

	served := make(chan error)
	go func() {
		conn, err := tlsctx.Server(ctx, serverConn, &tlsctx.ServerConfig{Source: db})
		if err == nil {
			caller := conn.Peer()
			_, err = fmt.Fprintf(conn, "hello %s in pod %s, you speak %s and want %q",
				caller.ID, caller.Attributes.Value("k8s.pod.name", tlsctx.Asserted), caller.Detected, caller.Target)
			_ = conn.Close()
		}
		served <- err
	}()

	conn, err := tlsctx.Client(ctx, clientConn, &tlsctx.ClientConfig{Source: web, Detected: tlsctx.PostgreSQL, Target: "orders-db"})
	if err != nil {
		log.Fatal(err)
	}
	greeting, err := io.ReadAll(conn)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("reached", conn.Peer().ID)
	fmt.Println(string(greeting))
	fmt.Println(<-served)
	// Output:
	// reached spiffe://example.org/ns/data/sa/db
	// hello spiffe://example.org/ns/shop/sa/web in pod web-0, you speak postgres and want "orders-db"
	// <nil>
}

// A Listener accepts connections whose handshake is complete, and a Dialer opens
// them. Who may connect is an Authorizer's to say.
func ExampleDialer() {
	web, db := workloads()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	shop := tlsctx.AuthorizePath(spiffeid.RequireTrustDomainFromString("example.org"), "/ns/shop")
	listener := tlsctx.NewListener(inner, &tlsctx.ServerConfig{Source: db, Policy: tlsctx.Policy{Authorize: shop}}, tlsctx.ListenerOptions{})
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "welcome")
			_ = conn.Close()
		}
	}()

	for _, source := range []identity.Source{web, db} {
		dialer := tlsctx.Dialer{Config: tlsctx.ClientConfig{Source: source}}
		conn, err := dialer.DialContext(context.Background(), "tcp", listener.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		// In TLS 1.3 a client learns on its first read whether it was taken.
		greeting, err := io.ReadAll(conn)
		fmt.Printf("%q, refused: %t\n", greeting, errors.Is(err, tlsctx.RefusedByPeer))
		_ = conn.Close()
	}
	// Output:
	// "welcome", refused: false
	// "", refused: true
}

// Programs that run crypto/tls themselves take a tls.Config, and ask a Verifier
// afterwards who the peer is. QUIC stacks, which have a tls.ConnectionState, do
// the same.
func ExampleVerifier() {
	web, db := workloads()
	client := tlsctx.ClientConfig{Source: web}
	server := tlsctx.ServerConfig{Source: db}
	clientConn, serverConn := net.Pipe()

	done := make(chan error)
	go func() {
		conn := tls.Server(serverConn, server.TLS())
		done <- conn.Handshake() // refuses whom the policy does not take
	}()

	config, err := client.TLS() // one for every connection
	if err != nil {
		log.Fatal(err)
	}
	conn := tls.Client(clientConn, config)
	if err := errors.Join(conn.Handshake(), <-done); err != nil {
		log.Fatal(err)
	}
	snapshot, err := web.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	verifier := tlsctx.Verifier{Snapshot: snapshot, Policy: client.Policy}
	peer, err := verifier.Verify(conn.ConnectionState())
	fmt.Println(peer.ID, peer.ALPN, err)
	// Output: spiffe://example.org/ns/data/sa/db hallmark/1/raw/unknown <nil>
}

// What the SPIFFE IDs of a trust domain say of a workload is configured as
// templates. Everything else is the workload's word, or its CA's.
func ExampleTemplates() {
	web, db := workloads()
	domain := spiffeid.RequireTrustDomainFromString("example.org")
	policy := tlsctx.Policy{Templates: tlsctx.Templates{domain: {tlsctx.KubernetesTemplate()}}}
	clientConn, serverConn := net.Pipe()
	go func() {
		_, _ = tlsctx.Client(context.Background(), clientConn, &tlsctx.ClientConfig{Source: web, Policy: policy})
	}()

	conn, err := tlsctx.Server(context.Background(), serverConn, &tlsctx.ServerConfig{Source: db, Policy: policy})
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range conn.Peer().Attributes {
		fmt.Printf("%s=%s (%s)\n", a.Name, a.Value, a.Provenance)
	}
	// Output:
	// k8s.namespace.name=shop (verified)
	// k8s.pod.name=web-0 (asserted)
	// k8s.service_account.name=web (verified)
}
