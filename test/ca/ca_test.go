package ca_test

import (
	"crypto/x509"
	"testing"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
)

func TestSVIDVerifiesForEveryKeyType(t *testing.T) {
	for _, kind := range ca.KeyTypes() {
		t.Run(kind.String(), func(t *testing.T) {
			domain := ca.New(t, "example.org", ca.WithIntermediates(1))
			snapshot := domain.Snapshot(t, "/ns/x/sa/y", ca.Attributes(t, "k8s.pod.name", "y-0"), ca.WithKeyType(kind))
			if err := snapshot.Validate(); err != nil {
				t.Fatal(err)
			}
			id, _, err := x509svid.Verify(snapshot.SVID.Certificates, snapshot.Bundles)
			if err != nil || id != domain.ID(t, "/ns/x/sa/y") {
				t.Fatalf("Verify = %v, %v", id, err)
			}
			ca.WritePEM(t, t.TempDir(), snapshot)
		})
	}
}

func TestBadSVIDsAreRefused(t *testing.T) {
	domain := ca.New(t, "example.org")
	for name, option := range map[string]ca.SVIDOption{
		"expired":       ca.Expired(),
		"not yet valid": ca.NotYetValid(),
		"two URIs":      ca.WithURIs(t, "spiffe://example.org/a", "spiffe://example.org/b"),
		"no URI":        ca.WithURIs(t),
		"CA leaf":       ca.AsCA(),
		"foreign URI":   ca.WithURIs(t, "spiffe://other.org/a"),
	} {
		t.Run(name, func(t *testing.T) {
			svid := domain.SVID(t, "/a", option)
			if id, _, err := x509svid.Verify(svid.Certificates, domain.Bundles()); err == nil {
				t.Fatalf("verified as %v", id)
			}
		})
	}
}

func TestRotateOverlapsUntilRetire(t *testing.T) {
	domain := ca.New(t, "example.org")
	before := domain.SVID(t, "/a")
	domain.Rotate(t)
	after := domain.SVID(t, "/a")
	verify := func(certificates []*x509.Certificate) error {
		_, _, err := x509svid.Verify(certificates, domain.Bundles())
		return err
	}
	if verify(before.Certificates) != nil || verify(after.Certificates) != nil {
		t.Fatal("both generations must verify while the bundle overlaps")
	}
	domain.Retire()
	if verify(before.Certificates) == nil || verify(after.Certificates) != nil {
		t.Fatal("after Retire only the new generation must verify")
	}
}

func TestFederateExchangesBundles(t *testing.T) {
	one, two := ca.New(t, "one.org"), ca.New(t, "two.org")
	svid := two.SVID(t, "/a")
	if _, _, err := x509svid.Verify(svid.Certificates, one.Bundles()); err == nil {
		t.Fatal("verified before federation")
	}
	ca.Federate(one, two)
	snapshot := one.Snapshot(t, "/b", identity.Attributes{})
	if _, _, err := x509svid.Verify(svid.Certificates, snapshot.Bundles); err != nil {
		t.Fatal(err)
	}
}
