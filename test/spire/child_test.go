package spire_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/identity/workload"
	"github.com/hallmark-mesh/hallmark/test/spire"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"
)

// childEnv makes the test binary a workload: SPIRE tells workloads apart by
// their executable, and a hard link of this one is another.
const childEnv = "HALLMARK_SPIRE_TEST_WORKLOAD"

// hintEnv tells a workload which of its identities to take.
const hintEnv = "HALLMARK_SPIRE_TEST_HINT"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := beWorkload(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil { // they wait for SPIRE more than they compute
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// outcome is what one end of a handshake says of it.
type outcome struct {
	Listening  string   // once, at the start
	Peer       string   // the peer's SPIFFE ID
	Local      string   // our own
	Aware      bool     //
	Version    string   // the peer's service.version, as its CA attests it
	Chain      int      // certificates of the peer's chain
	Issuer     string   // authority key id of the last certificate of it
	Generation uint64   // of our snapshot
	Reason     string   // of a failure
	Error      string   // of a failure
	Roots      []string // subject key ids of our own bundle
}

// beWorkload serves handshakes and, for every address on standard input, makes
// one. Each outcome is a line of JSON.
func beWorkload() error {
	source, err := workload.Open(workload.Config{Hint: os.Getenv(hintEnv), MinBackoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond})
	if err != nil {
		return err
	}
	defer source.Close()
	if _, err := source.Wait(context.Background()); err != nil {
		return err
	}
	policy := tlsctx.Policy{
		Authorize: tlsctx.AuthorizeAny(),
		Attested:  []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("example.com")},
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	listener := tlsctx.NewListener(inner, &tlsctx.ServerConfig{Source: source, Policy: policy}, tlsctx.ListenerOptions{})
	defer listener.Close()
	go answer(listener)
	say(outcome{Listening: inner.Addr().String()})

	dialer := tlsctx.Dialer{Config: tlsctx.ClientConfig{Source: source, Policy: policy}}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		say(shake(&dialer, lines.Text(), &source.Store))
	}
	return lines.Err()
}

// answer sends one byte to everybody whose handshake succeeded.
func answer(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte{1})
		_ = conn.Close()
	}
}

// shake makes one handshake and waits until the server has taken us.
func shake(dialer *tlsctx.Dialer, address string, store *identity.Store) outcome {
	o := outcome{}
	if snapshot, err := store.Snapshot(); err == nil {
		o.Local, o.Generation = snapshot.ID().String(), snapshot.Generation
		if bundle, ok := snapshot.Bundles.Get(snapshot.ID().TrustDomain()); ok {
			for _, root := range bundle.X509Authorities() {
				o.Roots = append(o.Roots, fmt.Sprintf("%x", root.SubjectKeyId))
			}
		}
	}
	conn, err := dialer.DialContext(context.Background(), "tcp", address)
	if err == nil {
		defer conn.Close()
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	if err != nil {
		o.Reason, o.Error = string(tlsctx.ReasonOf(err)), err.Error()
		return o
	}
	p := conn.Peer()
	o.Version = p.Attributes.Value("service.version", tlsctx.Attested)
	last := p.Certificates[len(p.Certificates)-1]
	o.Peer, o.Aware, o.Chain, o.Issuer = p.ID.String(), p.Aware, len(p.Certificates), fmt.Sprintf("%x", last.AuthorityKeyId)
	return o
}

var saying sync.Mutex

func say(o outcome) {
	saying.Lock()
	defer saying.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(o)
}

// child is a workload under test.
type child struct {
	executable string
	address    string
	in         io.Writer
	out        *json.Decoder
}

// link makes another executable of this one.
func link(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(self), name+"-"+strings.ReplaceAll(t.Name(), "/", "-"))
	_ = os.Remove(path)
	if err := os.Link(self, path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	return path
}

// run starts the executable as a workload of the domain and waits until it has
// an identity and listens.
func run(t *testing.T, d *spire.Domain, executable string) *child {
	t.Helper()
	return runAt(t, d.Endpoint(), executable)
}

// runAt is run for any Workload API.
func runAt(t *testing.T, endpoint, executable string, environment ...string) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), executable)
	cmd.Env = append(os.Environ(), childEnv+"=1", "SPIFFE_ENDPOINT_SOCKET="+endpoint)
	cmd.Env = append(cmd.Env, environment...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil && !errors.Is(t.Context().Err(), context.Canceled) {
			t.Errorf("workload %s: %v", executable, err)
		}
	})
	c := &child{executable: executable, in: in, out: json.NewDecoder(out)}
	c.address = c.next(t).Listening
	return c
}

func (c *child) next(t *testing.T) outcome {
	t.Helper()
	var o outcome
	if err := c.out.Decode(&o); err != nil {
		t.Fatalf("workload %s: %v", c.executable, err)
	}
	return o
}

// shake has the workload shake hands with another.
func (c *child) shake(t *testing.T, with *child) outcome {
	t.Helper()
	fmt.Fprintln(c.in, with.address)
	return c.next(t)
}

// must is shake, and fails the test unless the handshake succeeds.
func (c *child) must(t *testing.T, with *child) outcome {
	t.Helper()
	o := c.shake(t, with)
	if o.Error != "" {
		t.Fatalf("%s with %s: %s", c.executable, with.executable, o.Error)
	}
	return o
}
