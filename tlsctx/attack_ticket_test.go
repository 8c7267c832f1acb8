package tlsctx

import (
	"crypto/tls"
	"sync/atomic"
	"testing"
)

// countingCache is a client's session cache that counts what it is given.
type countingCache struct {
	tls.ClientSessionCache
	put atomic.Int32
}

func (c *countingCache) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		c.put.Add(1)
	}
	c.ClientSessionCache.Put(key, s)
}

func newCountingCache() *countingCache {
	return &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(4)}
}

// TestAttackTicket: our server sends none and honours none, and our client
// keeps none.
func TestAttackTicket(t *testing.T) {
	m := newMesh(t)
	_, chain, key := m.member(t)
	eager := func(cache tls.ClientSessionCache) *tls.Config {
		c := peerOf(chain, key)
		c.ServerName, c.ClientSessionCache = "db", cache
		return c
	}
	t.Run("our server sends none", func(t *testing.T) {
		cache := newCountingCache()
		for range 2 {
			ours, theirs := m.againstServer(t, eager(cache))
			if ours.err != nil || theirs.err != nil {
				t.Fatal(ours.err, theirs.err)
			}
			if theirs.conn.ConnectionState().DidResume || cache.put.Load() != 0 {
				t.Errorf("resumed %t, with %d tickets", theirs.conn.ConnectionState().DidResume, cache.put.Load())
			}
		}
	})
	t.Run("nor by ServerConfig.TLS, whose keys are shared", func(t *testing.T) {
		cache, config := newCountingCache(), m.server.TLS()
		for range 2 {
			near, far := tcpPair(t)
			a, b := together(t,
				func() (*Conn, error) { return bare(t, near, tls.Client(near, eager(cache))) },
				func() (*Conn, error) { return bare(t, far, tls.Server(far, config)) },
			)
			if a.err != nil || b.err != nil || cache.put.Load() != 0 || a.conn.ConnectionState().DidResume {
				t.Errorf("%v, %v, %d tickets", a.err, b.err, cache.put.Load())
			}
		}
	})
	t.Run("our server honours none", func(t *testing.T) {
		cache := newCountingCache()
		near, far := tcpPair(t)
		a, b := together(t, // a ticket from a server that gives them
			func() (*Conn, error) { return bare(t, near, tls.Client(near, eager(cache))) },
			func() (*Conn, error) { return bare(t, far, tls.Server(far, peerOf(chain, key))) },
		)
		if a.err != nil || b.err != nil || cache.put.Load() == 0 {
			t.Fatalf("no ticket to offer: %v, %v", a.err, b.err)
		}
		ours, theirs := m.againstServer(t, eager(cache))
		if ours.err != nil || theirs.err != nil {
			t.Fatal(ours.err, theirs.err)
		}
		if ours.conn.ConnectionState().DidResume || ours.conn.Peer().ID.Path() != "/ns/shop/sa/mallory" {
			t.Error("the ticket was honoured")
		}
	})
	t.Run("our client keeps none", func(t *testing.T) {
		generous := peerOf(chain, key)
		for range 2 {
			ours, theirs := m.againstClient(t, generous)
			if ours.err != nil || theirs.err != nil || theirs.conn.ConnectionState().DidResume {
				t.Errorf("%v, %v, resumed", ours.err, theirs.err)
			}
		}
		config, err := m.client.TLS()
		if err != nil || config.ClientSessionCache != nil || !config.SessionTicketsDisabled {
			t.Errorf("ClientConfig.TLS: %v, or a session cache", err)
		}
	})
	t.Run("a resumed state is not believed", func(t *testing.T) {
		cs := stateOf(t, "", chain...)
		cs.DidResume = true
		v := Verifier{Snapshot: snapshotIn(t, m.server.Source)}
		_, err := v.Verify(cs)
		wantReason(t, outcome{err: err}, ProtocolFailure)
	})
}
