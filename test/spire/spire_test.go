package spire_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/spire"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// pair runs two registered workloads of one domain.
func pair(t *testing.T, d *spire.Domain) (web, db *child) {
	t.Helper()
	webPath, dbPath := link(t, "web"), link(t, "db")
	d.Register(t, "/ns/shop/sa/web", webPath)
	d.Register(t, "/ns/shop/sa/db", dbPath)
	return run(t, d, webPath), run(t, d, dbPath)
}

// both shakes hands in both directions.
func both(t *testing.T, a, b *child) (fromA, fromB outcome) {
	t.Helper()
	return a.must(t, b), b.must(t, a)
}

func TestTwoWorkloadsOfSPIRE(t *testing.T) {
	t.Parallel()
	d := spire.Run(t, "example.org", spire.Options{Upstream: true})
	web, db := pair(t, d)
	fromWeb, fromDB := both(t, web, db)
	if fromWeb.Peer != d.ID("/ns/shop/sa/db") || fromDB.Peer != d.ID("/ns/shop/sa/web") {
		t.Errorf("web met %s and db met %s", fromWeb.Peer, fromDB.Peer)
	}
	if !fromWeb.Aware || !fromDB.Aware {
		t.Error("no context was exchanged")
	}
	if fromWeb.Chain < 2 || fromDB.Chain < 2 {
		t.Errorf("chains of %d and %d certificates: no intermediate authority in them", fromWeb.Chain, fromDB.Chain)
	}
}

// TestRotationUnderHandshakes shakes hands without a pause while both ends'
// SVIDs rotate at least twice, and expects not one failure.
func TestRotationUnderHandshakes(t *testing.T) {
	t.Parallel()
	d := spire.Run(t, "example.org", spire.Options{SVIDTTL: 20 * time.Second})
	web, db := pair(t, d)
	first, firstBack := both(t, web, db)
	count := 0
	for {
		count++
		o, back := both(t, web, db)
		if o.Generation >= first.Generation+2 && back.Generation >= firstBack.Generation+2 {
			break
		}
	}
	t.Logf("%d handshakes each way over two rotations of each end", count)
}

// TestAuthorityRotation replaces the signing authority and revokes the old one,
// and expects not one failure on the way.
func TestAuthorityRotation(t *testing.T) {
	t.Parallel()
	d := spire.Run(t, "example.org", spire.Options{})
	web, db := pair(t, d)
	before, _ := both(t, web, db)
	old := d.RotateAuthority(t)
	d.TaintAuthority(t, old) // agents replace every SVID that it signed
	spire.Eventually(t, "both ends present SVIDs of the new authority", func() error {
		o, back := both(t, web, db)
		if o.Issuer == before.Issuer || back.Issuer == before.Issuer {
			return fmt.Errorf("issuers %s and %s, of which %s is the old one", o.Issuer, back.Issuer, before.Issuer)
		}
		return nil
	})
	d.RevokeAuthority(t, old)
	spire.Eventually(t, "both ends trust the new authority alone", func() error {
		o, back := both(t, web, db)
		if slices.Contains(o.Roots, before.Issuer) || slices.Contains(back.Roots, before.Issuer) {
			return fmt.Errorf("roots %v and %v still hold %s", o.Roots, back.Roots, before.Issuer)
		}
		return nil
	})
}

func TestFederation(t *testing.T) {
	t.Parallel()
	org, com := spire.Run(t, "example.org", spire.Options{}), spire.Run(t, "example.com", spire.Options{})
	spire.Federate(t, org, com)
	webPath, dbPath := link(t, "web"), link(t, "db")
	org.Register(t, "/ns/shop/sa/web", webPath, "-federatesWith", "spiffe://example.com")
	com.Register(t, "/ns/shop/sa/db", dbPath, "-federatesWith", "spiffe://example.org")
	web, db := run(t, org, webPath), run(t, com, dbPath)
	fromWeb, fromDB := both(t, web, db)
	if fromWeb.Peer != com.ID("/ns/shop/sa/db") || fromDB.Peer != org.ID("/ns/shop/sa/web") {
		t.Errorf("web met %s and db met %s", fromWeb.Peer, fromDB.Peer)
	}

	// A bundle removed on one side takes effect on the next handshake there.
	org.RemoveBundle(t, com)
	spire.Eventually(t, "web trusts example.com no more", func() error {
		if o := web.shake(t, db); o.Reason != string(tlsctx.Untrusted) {
			return fmt.Errorf("handshake: %s %s", o.Reason, o.Error)
		}
		return nil
	})
}

// TestSeveralIdentities registers one program twice: the hint chooses.
func TestSeveralIdentities(t *testing.T) {
	t.Parallel()
	d := spire.Run(t, "example.org", spire.Options{})
	web, both := link(t, "web"), link(t, "both")
	d.Register(t, "/web", web)
	d.Register(t, "/inner", both, "-hint", "internal")
	d.Register(t, "/outer", both, "-hint", "external")
	visitor := run(t, d, web)
	for hint, want := range map[string]string{"internal": "/inner", "external": "/outer"} {
		server := runAt(t, d.Endpoint(), both, hintEnv+"="+hint)
		if o := visitor.must(t, server); o.Peer != d.ID(want) {
			t.Errorf("hint %s: met %s, want %s", hint, o.Peer, d.ID(want))
		}
	}
}

// TestEntryDeleted takes a registration away: the workload stops presenting the
// identity that it no longer has, though its last SVID is valid for an hour.
func TestEntryDeleted(t *testing.T) {
	t.Parallel()
	d := spire.Run(t, "example.org", spire.Options{})
	webPath, dbPath := link(t, "web"), link(t, "db")
	entry := d.Register(t, "/ns/shop/sa/web", webPath)
	d.Register(t, "/ns/shop/sa/db", dbPath)
	web, db := run(t, d, webPath), run(t, d, dbPath)
	both(t, web, db)
	d.Deregister(t, entry)
	spire.Eventually(t, "web has no identity any more", func() error {
		if o := web.shake(t, db); o.Reason != string(tlsctx.NoIdentity) {
			return fmt.Errorf("handshake: %s %s", o.Reason, o.Error)
		}
		return nil
	})
	d.Register(t, "/ns/shop/sa/web", webPath)
	spire.Eventually(t, "web has an identity again", func() error {
		if o := web.shake(t, db); o.Error != "" {
			return fmt.Errorf("handshake: %s", o.Error)
		}
		return nil
	})
}

// TestAgentAway stops the agent: handshakes go on with the last good SVID, and
// with fresh ones once an agent is back.
func TestAgentAway(t *testing.T) {
	t.Parallel()
	d := spire.Run(t, "example.org", spire.Options{})
	web, db := pair(t, d)
	before, _ := both(t, web, db)
	d.StopAgent()
	for range 20 {
		both(t, web, db)
	}
	d.StartAgent(t)
	d.Register(t, "/ns/shop/sa/web", web.executable) // the new agent is a new node
	d.Register(t, "/ns/shop/sa/db", db.executable)
	spire.Eventually(t, "web has a newer identity", func() error {
		o := web.shake(t, db)
		if o.Error != "" || o.Generation <= before.Generation {
			return fmt.Errorf("generation %d: %s", o.Generation, o.Error)
		}
		return nil
	})
}
