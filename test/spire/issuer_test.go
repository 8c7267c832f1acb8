package spire_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/identity/issuer"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/spire"
)

// TestFederationWithOurIssuer exchanges bundles between SPIRE and an issuer of
// ours, in the files that either writes, and has their workloads meet.
func TestFederationWithOurIssuer(t *testing.T) {
	t.Parallel()
	org := spire.Run(t, "example.org", spire.Options{Upstream: true})
	webPath, dbPath := link(t, "web"), link(t, "db")
	com := spiffeid.RequireTrustDomainFromString("example.com")
	dir := components.TempDirFor(t, nil)
	socket, bundle := filepath.Join(dir, "s"), filepath.Join(dir, "bundle.json")
	attested, err := identity.NewAttributes(identity.Attribute{Name: "service.version", Value: "1.4"})
	if err != nil {
		t.Fatal(err)
	}
	serveIssuer(t, issuer.Config{
		TrustDomain: com, Socket: socket, ExportBundle: []string{bundle},
		Federation: issuer.Federation{Bundles: []issuer.ForeignBundle{{TrustDomain: spiffeid.RequireTrustDomainFromString("example.org"), File: org.BundleFile(t)}}},
		Workloads: []issuer.Workload{{
			ID: spiffeid.RequireFromString("spiffe://example.com/ns/shop/sa/db"), Selectors: issuer.Selectors{Path: dbPath},
			Attributes: attested, FederatesWith: []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("example.org")},
		}},
	})
	org.SetBundleFile(t, com.Name(), bundle)
	org.Register(t, "/ns/shop/sa/web", webPath, "-federatesWith", "spiffe://example.com")

	web, db := run(t, org, webPath), runAt(t, "unix://"+socket, dbPath)
	fromWeb, fromDB := both(t, web, db)
	if fromWeb.Peer != "spiffe://example.com/ns/shop/sa/db" || fromDB.Peer != org.ID("/ns/shop/sa/web") {
		t.Errorf("web met %s and db met %s", fromWeb.Peer, fromDB.Peer)
	}
	if !fromWeb.Aware || !fromDB.Aware {
		t.Error("no context was exchanged")
	}
	if fromWeb.Version != "1.4" || fromDB.Version != "" {
		t.Errorf("web sees version %q of db, which is attested, and db %q of web, which has none", fromWeb.Version, fromDB.Version)
	}
}

// serveIssuer runs an issuer of ours until the test ends.
func serveIssuer(t *testing.T, c issuer.Config) {
	t.Helper()
	i, err := issuer.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
}
