package files

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestRotationUnderHandshakes shakes hands without a pause while a mounted
// Secret is swapped, authorities included, and expects not one failure.
func TestRotationUnderHandshakes(t *testing.T) {
	const rotations = 10
	d := ca.New(t, "example.org", ca.WithIntermediates(1))
	volume := t.TempDir()
	versions := 0
	publish := func(next *identity.Snapshot) *identity.Snapshot {
		version := filepath.Join(volume, fmt.Sprintf("..%d", versions))
		versions++
		if err := os.Mkdir(version, 0o755); err != nil {
			t.Fatal(err)
		}
		ca.WritePEM(t, version, next)
		tmp := filepath.Join(volume, "..data_tmp")
		if err := os.Symlink(filepath.Base(version), tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
		return next
	}
	fresh := func() *identity.Snapshot { return d.Snapshot(t, "/a", identity.Attributes{}) }
	current := publish(fresh())
	in := func(name string) string { return filepath.Join(volume, "..data", name) }
	s := open(t, Config{Certificates: in("svid.pem"), Key: in("key.pem"), Bundle: in("bundle.pem")})
	address := serve(t, s)
	dialer := tlsctx.Dialer{Config: tlsctx.ClientConfig{Source: s, Policy: tlsctx.Policy{Authorize: tlsctx.AuthorizeAny()}}}
	handshakes := 0
	for n := range rotations {
		if n%3 == 2 { // an authority is announced before it signs, and the old one stays for what it signed
			d.Rotate(t)
			changed := s.Changed()
			publish(&identity.Snapshot{SVID: current.SVID, Bundles: d.Bundles()})
			<-changed
		}
		current = publish(fresh())
		for seen := false; !seen; handshakes++ {
			peer := shake(t, &dialer, address)
			seen = peer.Certificates[0].Equal(leaf(current))
		}
	}
	t.Logf("%d handshakes over %d rotations", handshakes, rotations)
}

// serve answers every handshake with a byte until the test ends.
func serve(t *testing.T, source identity.Source) (address string) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := tlsctx.NewListener(inner, &tlsctx.ServerConfig{Source: source, Policy: tlsctx.Policy{Authorize: tlsctx.AuthorizeAny()}}, tlsctx.ListenerOptions{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte{1})
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return inner.Addr().String()
}

// shake makes one handshake that has to succeed on both sides.
func shake(t *testing.T, dialer *tlsctx.Dialer, address string) *tlsctx.Peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn.Peer()
}
