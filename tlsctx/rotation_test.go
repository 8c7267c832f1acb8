package tlsctx

import (
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
)

// TestContextFollowsRotationAndAttributesAtOnce: the next handshake has them.
func TestContextFollowsRotationAndAttributesAtOnce(t *testing.T) {
	m := newMesh(t)
	store := new(identity.Store)
	publish := func(s *identity.Snapshot) {
		t.Helper()
		if err := store.Publish(s); err != nil {
			t.Fatal(err)
		}
	}
	m.client.Source = store
	m.client.Policy.Templates = nil
	client, _ := m.shake(t)
	wantReason(t, client, NoIdentity)

	first := m.domain.Snapshot(t, clientPath, ca.Attributes(t, "service.version", "1"))
	publish(first)
	check := func(leaf *x509.Certificate, version string, generation uint64) {
		t.Helper()
		server, client := m.peers(t)
		if !client.Certificates[0].Equal(leaf) || client.Attributes.Value("service.version", Asserted) != version || server.Generation != generation {
			t.Errorf("the server sees version %q, the client generation %d", client.Attributes.Value("service.version", Asserted), server.Generation)
		}
	}
	check(first.SVID.Certificates[0], "1", 1)
	store.SetAttributes(ca.Attributes(t, "service.version", "2"))
	check(first.SVID.Certificates[0], "2", 2)
	rotated := m.domain.Snapshot(t, clientPath, identity.Attributes{})
	publish(rotated)
	check(rotated.SVID.Certificates[0], "2", 3) // attributes set are the source's last word

	// An authority rotated and retired takes effect on the next handshake too.
	m.domain.Rotate(t)
	m.domain.Retire()
	publish(m.domain.Snapshot(t, clientPath, identity.Attributes{}))
	client, server := m.shake(t)
	wantReason(t, client, Untrusted)
	wantReason(t, server, RefusedByPeer)
}

// TestOneHandshakeUsesOneGeneration rotates both sides without pause under a
// crowd of handshakes. The generation is in the attributes: a leaf, a key and a
// context of two generations would not agree.
func TestOneHandshakeUsesOneGeneration(t *testing.T) {
	const rounds, crowd = 40, 4
	m := newMesh(t)
	generations := sync.Map{} // leaf -> generation
	sources := [2]*identity.Store{new(identity.Store), new(identity.Store)}
	var n atomic.Int64
	rotate := func(store *identity.Store, path string) {
		name := fmt.Sprint(n.Add(1))
		s := m.domain.Snapshot(t, path, ca.Attributes(t, "generation", name))
		generations.Store(string(s.SVID.Certificates[0].Raw), name)
		if err := store.Publish(s); err != nil {
			t.Error(err)
		}
	}
	m.client.Source, m.server.Source = sources[0], sources[1]
	m.server.Disclosure.Public = []string{AllAttributes}
	rotate(sources[0], clientPath)
	rotate(sources[1], serverPath)

	stop := make(chan struct{})
	var rotating, shaking sync.WaitGroup
	for i, path := range []string{clientPath, serverPath} {
		rotating.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					rotate(sources[i], path)
				}
			}
		})
	}
	for range crowd {
		shaking.Go(func() {
			for range rounds {
				client, server := m.shake(t)
				if client.err != nil || server.err != nil {
					t.Errorf("client: %v\nserver: %v", client.err, server.err)
					return
				}
				for _, p := range []*Peer{client.conn.Peer(), server.conn.Peer()} {
					want, _ := generations.Load(string(p.Certificates[0].Raw))
					if got := p.Attributes.Value("generation", Asserted); got != want {
						t.Errorf("leaf of generation %v with the context of %s", want, got)
					}
				}
			}
		})
	}
	shaking.Wait()
	close(stop)
	rotating.Wait()
}

// cutConn loses the end of its second write, a client's last flight, and closes.
type cutConn struct {
	net.Conn
	writes int
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.writes++; c.writes == 2 {
		_, _ = c.Conn.Write(b[:len(b)-10])
		_ = c.Close()
	}
	if c.writes >= 2 {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// TestNothingIsPublishedBeforeTheHandshakeIsComplete: the server has verified
// and authorised the client, whose Finished then does not come.
func TestNothingIsPublishedBeforeTheHandshakeIsComplete(t *testing.T) {
	m := newMesh(t)
	near, far := tcpPair(t)
	var authorised *Peer
	m.server.Policy.Authorize = func(p *Peer) error {
		authorised = p
		return nil
	}
	_, server := together(t,
		func() (*Conn, error) { return Client(t.Context(), &cutConn{Conn: near}, &m.client) },
		func() (*Conn, error) { return Server(t.Context(), far, &m.server) },
	)
	if authorised == nil || authorised.ID.Path() != clientPath {
		t.Fatalf("the client was not judged: %v", server.err)
	}
	if e := wantReason(t, server, ClosedByPeer); e.Claimed != authorised.ID {
		t.Errorf("claimed %s", e.Claimed)
	}
}
