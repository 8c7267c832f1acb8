package e2e_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity/workload"
	"github.com/hallmark-mesh/hallmark/test/bench/load"
	"github.com/hallmark-mesh/hallmark/test/bench/proc"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/e2e"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// The workloads of most tests.
const (
	client = "/ns/shop/sa/cart"
	server = "/ns/db/sa/store"
)

var twoWorkloads = e2e.IssuerOptions{Workloads: map[string]map[string]string{client: nil, server: nil}}

// shake completes a handshake as the workload, with an empty context, and says
// nothing.
func shake(t *testing.T, w e2e.Workload, address, token string) *tls.Conn {
	t.Helper()
	conn, err := shakeSaying(t, w, address, token, tlsctx.Context{})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// shakeSaying is shake with any context.
func shakeSaying(t *testing.T, w e2e.Workload, address, token string, says tlsctx.Context) (*tls.Conn, error) {
	t.Helper()
	source, err := workload.Open(workload.Config{Address: w.Endpoint})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	own, err := source.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	minted, err := tlsctx.Mint(own.SVID.Certificates[0], says)
	if err != nil {
		t.Fatal(err)
	}
	certificate := ca.TLSCertificate(own.SVID)
	certificate.Certificate = append(certificate.Certificate, minted)
	return tls.Dial("tcp", address, &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, NextProtos: []string{token},
	})
}

// clientHello returns the first flight of a client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(ours, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"hallmark/1/raw/unknown"}}).HandshakeContext(context.Background())
	}()
	buffer := make([]byte, 16<<10)
	n, err := theirs.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	ours.Close()
	<-done
	return buffer[:n]
}

// memory is what a sidecar holds, in bytes.
func memory(t *testing.T, s *e2e.Sidecar) int64 {
	t.Helper()
	m, err := proc.MemoryOf(s.Pid())
	if err != nil {
		t.Fatal(err)
	}
	return m.Resident
}

// namespace is another network namespace with a link to ours.
type namespace struct {
	name, link string
	inside     string // its address
}

// newNamespace makes a network namespace for the duration of the test.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	// Names of links have 15 characters at the most.
	id := os.Getpid() % 100000
	n := &namespace{name: fmt.Sprintf("hallmark%d", id), link: fmt.Sprintf("hm%d", id)}
	// A link-local network of its own, out of the documentation's way.
	outside := fmt.Sprintf("198.18.%d.1", id%250)
	n.inside = fmt.Sprintf("198.18.%d.2", id%250)
	ip(t, "netns", "add", n.name)
	t.Cleanup(func() { ip(t, "netns", "delete", n.name) })
	ip(t, "link", "add", n.link, "type", "veth", "peer", "name", "inside", "netns", n.name)
	ip(t, "addr", "add", outside+"/30", "dev", n.link)
	ip(t, "-n", n.name, "addr", "add", n.inside+"/30", "dev", "inside")
	ip(t, "-n", n.name, "link", "set", "lo", "up")
	n.up(t)
	return n
}

// up mends the link.
func (n *namespace) up(t *testing.T) {
	t.Helper()
	ip(t, "link", "set", n.link, "up")
	ip(t, "-n", n.name, "link", "set", "inside", "up")
}

// down takes what is inside off the network; our end does not notice, as if it
// were far away.
func (n *namespace) down(t *testing.T) {
	t.Helper()
	ip(t, "-n", n.name, "link", "set", "inside", "down")
}

// echoRole makes the test binary an application that echoes: its environment
// says where it listens.
const echoRole = "HALLMARK_E2E_ECHO"

func beEcho(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	return new(load.Server).Serve(listener)
}

// echo runs an application inside and returns its address there.
func (n *namespace) echo(t *testing.T) string {
	t.Helper()
	address := "127.0.0.1:7000"
	components.Start(t, components.Process{
		Name: "application inside", Path: components.Command(t, "ip"), Args: []string{"netns", "exec", n.name, os.Args[0]}, Env: []string{echoRole + "=" + address},
		ReadyOutput: "listening",
	})
	return address
}

// sidecar runs a sidecar inside.
func (n *namespace) sidecar(t *testing.T, options e2e.Options) *e2e.Sidecar {
	t.Helper()
	options.Inside = n.name
	options.MetricsHost = n.inside
	return e2e.Run(t, options)
}
