package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// issued returns the SVID of the issuer's first registration, in process.
func issued(t *testing.T, i *Issuer) *x509svid.SVID {
	t.Helper()
	v := i.current.Load()
	m, err := v.entries[0].svid(&i.config, v, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return m.svid
}

func TestSVIDProfile(t *testing.T) {
	for _, kind := range []KeyType{"", P256, P384, RSA2048, Ed25519} {
		for _, intermediate := range []bool{false, true} {
			t.Run(string(kind)+map[bool]string{true: " intermediate"}[intermediate], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					attrs := attributes(t, "k8s.pod.name", "a-0")
					i := open(t, Config{KeyType: kind, CAKeyType: kind, Intermediate: intermediate, Workloads: []Workload{{ID: idA, Hint: "h", Selectors: Selectors{UID: new(uint32(7))}, Attributes: attrs}}})
					svid := issued(t, i)
					checkLeaf(t, svid.Certificates[0])
					if _, _, err := x509svid.Verify(svid.Certificates, i.Bundle()); err != nil {
						t.Error(err)
					}
					if n := len(svid.Certificates); n != map[bool]int{false: 1, true: 2}[intermediate] {
						t.Errorf("the chain has %d certificates", n)
					}
					if svid.Hint != "h" {
						t.Errorf("hint %q", svid.Hint)
					}
				})
			})
		}
	}
}

// checkLeaf checks a leaf against the X509-SVID specification and the defaults.
func checkLeaf(t *testing.T, leaf *x509.Certificate) {
	t.Helper()
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != idA.String() || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) != 0 {
		t.Errorf("names: %v", leaf.URIs)
	}
	if leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("cA %v, key usage %v", leaf.IsCA, leaf.KeyUsage)
	}
	if !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("extended key usage %v", leaf.ExtKeyUsage)
	}
	if got := time.Until(leaf.NotAfter); got != DefaultSVIDTTL {
		t.Errorf("expires in %v", got)
	}
	attested, err := tlsctx.AttestedExtension(identity.Attributes{})
	if err != nil {
		t.Fatal(err)
	}
	critical := map[string]bool{"2.5.29.15": true, "2.5.29.19": true, attested.Id.String(): false}
	for _, e := range leaf.Extensions {
		if want, known := critical[e.Id.String()]; known && e.Critical != want {
			t.Errorf("extension %v: critical %v", e.Id, e.Critical)
		}
		delete(critical, e.Id.String())
	}
	if len(critical) != 0 {
		t.Errorf("extensions are missing: %v", critical)
	}
}

func TestSVIDCarriesAttestedAttributes(t *testing.T) {
	attrs := attributes(t, "k8s.pod.name", "a-0", "service.version", "1.2")
	want, err := tlsctx.AttestedExtension(attrs)
	if err != nil {
		t.Fatal(err)
	}
	i := open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}, Attributes: attrs}}})
	for _, e := range issued(t, i).Certificates[0].Extensions {
		if e.Id.Equal(want.Id) && bytes.Equal(e.Value, want.Value) && !e.Critical {
			return
		}
	}
	t.Error("the leaf does not attest the attributes")
}

// OpenSSL is the second opinion on chains and keys of every type.
func TestSVIDVerifiesWithOpenSSL(t *testing.T) {
	openssl := components.Command(t, "openssl")
	for kind, text := range map[KeyType]string{P256: "ASN1 OID: prime256v1", P384: "ASN1 OID: secp384r1", RSA2048: "Public-Key: (2048 bit)", Ed25519: "ED25519"} {
		t.Run(string(kind), func(t *testing.T) {
			dir := t.TempDir()
			i := open(t, Config{KeyType: kind, CAKeyType: kind, Intermediate: true, ExportBundle: []string{dir + "/roots.pem"}, Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}, Attributes: attributes(t, "k8s.pod.name", "a")}}})
			svid := issued(t, i)
			certificates, key, err := svid.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: svid.Certificates[0].Raw})
			for name, content := range map[string][]byte{"chain.pem": certificates, "leaf.pem": leaf, "key.pem": key} {
				if err := os.WriteFile(dir+"/"+name, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run := func(args ...string) string {
				cmd := exec.CommandContext(limited(t), openssl, args...)
				cmd.Dir = dir
				output, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("openssl %v: %v\n%s", args, err, output)
				}
				return string(output)
			}
			for _, purpose := range []string{"sslserver", "sslclient"} {
				run("verify", "-x509_strict", "-purpose", purpose, "-CAfile", "roots.pem", "-untrusted", "chain.pem", "leaf.pem")
			}
			shown := run("x509", "-in", "leaf.pem", "-noout", "-text")
			for _, want := range []string{text, "CA:FALSE", "Digital Signature", "URI:" + idA.String()} {
				if !strings.Contains(shown, want) {
					t.Errorf("openssl does not show %q:\n%s", want, shown)
				}
			}
			if run("x509", "-in", "leaf.pem", "-noout", "-pubkey") != run("pkey", "-in", "key.pem", "-pubout") {
				t.Error("key and certificate do not belong together")
			}
		})
	}
}

// Over five authorities' lives, at every moment: the bundle verifies every SVID
// that is in force, and no authority signs before the bundle has held it for a
// while.
func TestRotationOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := open(t, Config{SVIDTTL: time.Hour, CATTL: 6 * time.Hour, Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() {
			if err := i.Serve(ctx); err != nil {
				t.Error(err)
			}
		})
		defer serving.Wait()
		defer cancel()

		published := make(map[string]time.Time)
		signers := make(map[string]bool)
		var inForce []*x509svid.SVID
		for range 5 * 6 * 12 {
			synctest.Wait()
			now := time.Now()
			roots := i.Bundle().X509Authorities()
			if len(roots) > 3 {
				t.Fatalf("%d authorities at once", len(roots))
			}
			for _, c := range roots {
				if !c.NotAfter.After(now) {
					t.Error("an expired authority is in the bundle")
				}
				if _, seen := published[c.Subject.String()]; !seen {
					published[c.Subject.String()] = now
				}
			}
			svid := issued(t, i)
			signer := svid.Certificates[0].Issuer.String()
			if since, seen := published[signer]; !seen || len(published) > 1 && !signers[signer] && now.Sub(since) < time.Hour {
				t.Errorf("%s signs %v after it was published", signer, now.Sub(since))
			}
			signers[signer] = true
			if left := svid.Certificates[0].NotAfter.Sub(now); left < time.Hour/2-5*time.Minute {
				t.Errorf("an SVID is handed out with %v left", left)
			}
			inForce = append(inForce, svid)
			inForce = slices.DeleteFunc(inForce, func(s *x509svid.SVID) bool { return !s.Certificates[0].NotAfter.After(now) })
			for _, s := range inForce {
				if _, _, err := x509svid.Verify(s.Certificates, i.Bundle()); err != nil {
					t.Fatalf("an SVID in force is refused: %v", err)
				}
			}
			time.Sleep(5 * time.Minute)
		}
		if len(signers) < 5 {
			t.Errorf("only %d authorities have signed", len(signers))
		}
	})
}

func TestRotationCatchesUpAfterDowntime(t *testing.T) {
	for name, down := range map[string]time.Duration{
		"before half-life": 2 * time.Hour,
		"near the end":     5*time.Hour + 50*time.Minute,
		"expired":          7 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := Config{Directory: t.TempDir() + "/ca", SVIDTTL: time.Hour, CATTL: 6 * time.Hour, Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}}
				first := open(t, config)
				before := first.Bundle()
				if err := first.Close(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(down)
				second := open(t, config)
				svid := issued(t, second)
				if _, _, err := x509svid.Verify(svid.Certificates, second.Bundle()); err != nil {
					t.Error(err)
				}
				_, _, err := x509svid.Verify(svid.Certificates, before)
				if known := err == nil; known != (down < 6*time.Hour) {
					t.Errorf("signed by an authority that was published before: %v", known)
				}
			})
		})
	}
}

func TestRotationThatCannotBeStoredIsNotPublished(t *testing.T) {
	dir := t.TempDir() + "/ca"
	i := open(t, Config{Directory: dir, Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
	before := i.Bundle()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := i.RotateAuthority(); err == nil {
		t.Fatal("no error although the directory is gone")
	}
	if !i.Bundle().Equal(before) {
		t.Error("an authority was published that a restart would forget")
	}
	issued(t, i)
}
