package files

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience only stops a hang.
const patience = time.Minute

// settle keeps tests quick.
const settle = 5 * time.Millisecond

// open follows the files until the test ends.
func open(t *testing.T, c Config) *Source {
	t.Helper()
	c.Settle = settle
	if c.Poll == 0 {
		c.Poll = 24 * time.Hour // never: events alone must do
	}
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// until waits until the source is as wanted, and returns its snapshot.
func until(t *testing.T, s *Source, what string, is func(snapshot *identity.Snapshot, trouble error) bool) *identity.Snapshot {
	t.Helper()
	return ca.Await(t, &s.Store, what, is)
}

// leaf returns the leaf of a snapshot, nil if there is none.
func leaf(s *identity.Snapshot) *x509.Certificate {
	if s == nil {
		return nil
	}
	return s.SVID.Certificates[0]
}

func configOf(f ca.Files) Config {
	return Config{Certificates: f.Chain, Key: f.Key, Bundle: f.Bundle}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKeyTypesAndForms(t *testing.T) {
	for _, kind := range ca.KeyTypes() {
		t.Run(kind.String(), func(t *testing.T) {
			d := ca.New(t, "example.org", ca.WithIntermediates(2))
			snapshot := d.Snapshot(t, "/a", identity.Attributes{}, ca.WithKeyType(kind))
			f := ca.WritePEM(t, t.TempDir(), snapshot)
			for form, block := range keyForms(t, snapshot) {
				write(t, f.Key, pem.EncodeToMemory(block))
				s := open(t, configOf(f))
				got, err := s.Snapshot()
				if err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				if got.ID() != snapshot.ID() || len(got.SVID.Certificates) != 3 || got.Validate() != nil {
					t.Errorf("%s: read %s with %d certificates: %v", form, got.ID(), len(got.SVID.Certificates), got.Validate())
				}
			}
		})
	}
}

// keyForms returns the key in every form that it has.
func keyForms(t *testing.T, s *identity.Snapshot) map[string]*pem.Block {
	t.Helper()
	_, pkcs8, err := s.SVID.MarshalRaw()
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]*pem.Block{"PKCS #8": {Type: "PRIVATE KEY", Bytes: pkcs8}}
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	switch key := parsed.(type) {
	case interface{ Precompute() }:
		forms["PKCS #1"] = &pem.Block{Type: "RSA PRIVATE KEY", Bytes: pkcs1(t, key)}
	default:
		if der, err := sec1(parsed); err == nil {
			forms["SEC 1"] = &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
		}
	}
	return forms
}

func TestOneFileForBoth(t *testing.T) {
	d := ca.New(t, "example.org")
	f := ca.WritePEM(t, t.TempDir(), d.Snapshot(t, "/a", identity.Attributes{}))
	// What openssl ecparam -genkey writes in front is no obstacle.
	params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}})
	write(t, f.Chain, slices.Concat(params, read(t, f.Key), []byte("subject=x\n"), read(t, f.Chain)))
	c := configOf(f)
	c.Key = ""
	if got, err := open(t, c).Snapshot(); err != nil || got.ID().String() != "spiffe://example.org/a" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestRotation(t *testing.T) {
	d := ca.New(t, "example.org", ca.WithIntermediates(1))
	dir := t.TempDir()
	f := ca.WritePEM(t, dir, d.Snapshot(t, "/a", identity.Attributes{}))
	s := open(t, configOf(f))
	first, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for generation := uint64(2); generation < 5; generation++ {
		next := d.Snapshot(t, "/a", identity.Attributes{})
		ca.WritePEM(t, dir, next) // file after file, in place
		got := until(t, s, "the next generation is in force", func(got *identity.Snapshot, trouble error) bool {
			return trouble == nil && leaf(got).Equal(leaf(next))
		})
		if got.Validate() != nil || got.Generation <= first.Generation {
			t.Errorf("generation %d: %v", got.Generation, got.Validate())
		}
	}
}

// TestKubernetesSecretSwapsNeverMix swaps a mounted Secret's link as fast as it
// can. Every generation has an authority of its own, so that parts of two would
// not verify.
func TestKubernetesSecretSwapsNeverMix(t *testing.T) {
	volume := t.TempDir()
	publish := func(n int) *identity.Snapshot {
		version := filepath.Join(volume, fmt.Sprintf("..%d", n))
		if err := os.Mkdir(version, 0o755); err != nil {
			t.Fatal(err)
		}
		snapshot := ca.New(t, "example.org").Snapshot(t, "/a", identity.Attributes{})
		ca.WritePEM(t, version, snapshot)
		tmp := filepath.Join(volume, "..data_tmp")
		if err := os.Symlink(filepath.Base(version), tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
		return snapshot
	}
	publish(0)
	for _, name := range []string{"svid.pem", "key.pem", "bundle.pem"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(volume, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Config{
		Certificates: filepath.Join(volume, "svid.pem"), Key: filepath.Join(volume, "key.pem"), Bundle: filepath.Join(volume, "bundle.pem"),
	})
	var last *identity.Snapshot
	for n := range 200 {
		last = publish(n + 1)
		got, err := s.Snapshot()
		if err == nil {
			_, _, err = x509svid.Verify(got.SVID.Certificates, got.Bundles)
		}
		if err != nil {
			t.Fatalf("swap %d: %v", n, err)
		}
	}
	until(t, s, "the last swap is in force", func(got *identity.Snapshot, _ error) bool { return leaf(got).Equal(leaf(last)) })
}

// TestHalfARotation replaces the certificate and leaves the old key: the last
// good pair stays, the store says so, and the rest of the rotation mends it.
func TestHalfARotation(t *testing.T) {
	d := ca.New(t, "example.org")
	dir := t.TempDir()
	before := d.Snapshot(t, "/a", identity.Attributes{})
	f := ca.WritePEM(t, dir, before)
	core, logs := observer.New(zap.WarnLevel)
	c := configOf(f)
	c.Logger = zap.New(core)
	s := open(t, c)

	after := d.Snapshot(t, "/a", identity.Attributes{})
	elsewhere := ca.WritePEM(t, t.TempDir(), after)
	write(t, f.Chain, read(t, elsewhere.Chain))
	got := until(t, s, "the mismatch is noticed", func(_ *identity.Snapshot, trouble error) bool { return errors.Is(trouble, ErrMismatch) })
	if !leaf(got).Equal(leaf(before)) {
		t.Error("the last good SVID is not in force")
	}
	if logs.FilterMessageSnippet("last good one").Len() != 1 {
		t.Errorf("logged %v, want one warning", logs.All())
	}
	write(t, f.Key, read(t, elsewhere.Key))
	until(t, s, "the pair is in force", func(got *identity.Snapshot, trouble error) bool {
		return trouble == nil && leaf(got).Equal(leaf(after))
	})
}

// TestLastGoodSurvives breaks each file in each way, and mends it.
func TestLastGoodSurvives(t *testing.T) {
	d := ca.New(t, "example.org")
	good := d.Snapshot(t, "/a", identity.Attributes{})
	for name, do := range map[string]func(f ca.Files) error{
		"certificate removed": func(f ca.Files) error { return os.Remove(f.Chain) },
		"key removed":         func(f ca.Files) error { return os.Remove(f.Key) },
		"bundle removed":      func(f ca.Files) error { return os.Remove(f.Bundle) },
		"key emptied":         func(f ca.Files) error { return os.Truncate(f.Key, 0) },
		"certificate cut off": func(f ca.Files) error { return os.Truncate(f.Chain, 300) },
		"bundle garbage":      func(f ca.Files) error { return os.WriteFile(f.Bundle, []byte("no"), 0o600) },
		"bundle a leaf":       func(f ca.Files) error { return os.WriteFile(f.Bundle, read(t, f.Chain), 0o600) },
		"bundle huge":         func(f ca.Files) error { return os.Truncate(f.Bundle, maxFile+1) },
		"key a folder": func(f ca.Files) error {
			return errors.Join(os.Remove(f.Key), os.Mkdir(f.Key, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := ca.WritePEM(t, t.TempDir(), good)
			s := open(t, configOf(f))
			if err := do(f); err != nil {
				t.Fatal(err)
			}
			got := until(t, s, "the trouble is noticed", func(_ *identity.Snapshot, trouble error) bool { return trouble != nil })
			if !leaf(got).Equal(leaf(good)) {
				t.Error("the last good SVID is not in force")
			}
			_ = os.RemoveAll(f.Key)
			ca.WritePEM(t, filepath.Dir(f.Key), good)
			until(t, s, "it is mended", func(_ *identity.Snapshot, trouble error) bool { return trouble == nil })
		})
	}
}

// TestFilesComeLater opens the source before anybody has written a file.
func TestFilesComeLater(t *testing.T) {
	d := ca.New(t, "example.org")
	dir := t.TempDir()
	s := open(t, configOf(ca.Files{Chain: filepath.Join(dir, "svid.pem"), Key: filepath.Join(dir, "key.pem"), Bundle: filepath.Join(dir, "bundle.pem")}))
	if _, err := s.Snapshot(); !errors.Is(err, identity.ErrNotReady) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Snapshot: %v", err)
	}
	ca.WritePEM(t, dir, d.Snapshot(t, "/a", identity.Attributes{}))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.Wait(ctx); err != nil {
		t.Error(err)
	}
}

func TestFederation(t *testing.T) {
	own, other := ca.New(t, "example.org"), ca.New(t, "example.com")
	dir := t.TempDir()
	f := ca.WritePEM(t, dir, own.Snapshot(t, "/a", identity.Attributes{}))
	theirs := ca.WritePEM(t, t.TempDir(), other.Snapshot(t, "/b", identity.Attributes{}))
	path := filepath.Join(dir, "other")
	c := configOf(f)
	c.Federated = map[spiffeid.TrustDomain]string{other.TrustDomain(): path}
	s := open(t, c)
	trusts := func(got *identity.Snapshot) bool { return got != nil && got.Bundles.Has(other.TrustDomain()) }
	if got, err := s.Snapshot(); err != nil || trusts(got) {
		t.Fatalf("before there is a file: %v, %v", got, err)
	}
	write(t, path, read(t, theirs.Bundle))
	until(t, s, "the bundle is there", func(got *identity.Snapshot, _ error) bool { return trusts(got) })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	until(t, s, "the federation has ended", func(got *identity.Snapshot, trouble error) bool { return trouble == nil && !trusts(got) })

	bundle := spiffebundle.FromX509Bundle(other.Bundle())
	bundle.SetSequenceNumber(1)
	document, err := bundle.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, document)
	until(t, s, "the SPIFFE bundle is there", func(got *identity.Snapshot, _ error) bool { return trusts(got) })
	write(t, path, []byte("{"))
	got := until(t, s, "the broken bundle is noticed", func(_ *identity.Snapshot, trouble error) bool { return trouble != nil })
	if !trusts(got) {
		t.Error("a broken bundle ended the federation: the last good one must stay")
	}
}

func TestOwnTrustDomainIsNotForeign(t *testing.T) {
	d := ca.New(t, "example.org")
	f := ca.WritePEM(t, t.TempDir(), d.Snapshot(t, "/a", identity.Attributes{}))
	c := configOf(f)
	c.Federated = map[spiffeid.TrustDomain]string{d.TrustDomain(): f.Bundle}
	if s := open(t, c); s.Err() == nil {
		t.Error("a federated bundle of the own trust domain was accepted")
	}
}

func TestExpiredIsSaid(t *testing.T) {
	d := ca.New(t, "example.org")
	f := ca.WritePEM(t, t.TempDir(), d.Snapshot(t, "/a", identity.Attributes{}, ca.Expired()))
	s := open(t, configOf(f))
	if got, err := s.Snapshot(); err != nil || got == nil || !errors.Is(s.Err(), ErrExpired) {
		t.Errorf("snapshot %v, %v, trouble %v; want it in force and ErrExpired", got, err, s.Err())
	}
}

func TestOpenKeyIsWarnedOfOnce(t *testing.T) {
	d := ca.New(t, "example.org")
	for mode, want := range map[fs.FileMode]int{0o600: 0, 0o400: 0, 0o640: 1, 0o604: 1, 0o644: 1} {
		f := ca.WritePEM(t, t.TempDir(), d.Snapshot(t, "/a", identity.Attributes{}))
		if err := os.Chmod(f.Key, mode); err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zap.WarnLevel)
		c := configOf(f)
		c.Logger, c.Poll = zap.New(core), time.Millisecond
		s := open(t, c)
		s.refresh(t.Context())
		_ = s.Close()
		if got := logs.FilterMessageSnippet("open to others").Len(); got != want {
			t.Errorf("mode %#o: warned %d times, want %d", mode, got, want)
		}
	}
}

func TestUnchangedFilesAreNotPublishedAgain(t *testing.T) {
	d := ca.New(t, "example.org")
	f := ca.WritePEM(t, t.TempDir(), d.Snapshot(t, "/a", identity.Attributes{}))
	s := open(t, configOf(f))
	_ = s.Close() // nobody else refreshes
	s.refresh(t.Context())
	s.refresh(t.Context())
	if got, err := s.Snapshot(); err != nil || got.Generation != 1 {
		t.Errorf("generation %d, %v; want 1", got.Generation, err)
	}
}

func TestBadKeysAndChains(t *testing.T) {
	d := ca.New(t, "example.org", ca.WithIntermediates(1))
	good := ca.WritePEM(t, t.TempDir(), d.Snapshot(t, "/a", identity.Attributes{}))
	chain, key := read(t, good.Chain), read(t, good.Key)
	leafPEM, intermediate, _ := bytes.Cut(chain, []byte("-----END CERTIFICATE-----\n"))
	leafPEM = append(slices.Clone(leafPEM), "-----END CERTIFICATE-----\n"...)
	block := func(kind string, bytes []byte, headers map[string]string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes, Headers: headers})
	}
	for name, test := range map[string]struct {
		chain, key []byte
		want       string
	}{
		"no certificate":   {key, key, "no certificate"},
		"no key":           {chain, chain, "no private key"},
		"two keys":         {chain, slices.Concat(key, key), "several private keys"},
		"encrypted":        {chain, block("ENCRYPTED PRIVATE KEY", []byte{1}, nil), "encrypted"},
		"encrypted of old": {chain, block("RSA PRIVATE KEY", []byte{1}, map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}), "encrypted"},
		"key is garbage":   {chain, block("PRIVATE KEY", []byte{1}, nil), "asn1"},
		"wrong order":      {slices.Concat(intermediate, leafPEM), key, "leaf has to come first"},
		"malformed block":  {bytes.Replace(chain, []byte("MII"), []byte("M!I"), 1), key, "malformed or cut off"},
		"too many":         {bytes.Repeat(leafPEM, maxChain+1), key, "more than 16"},
		"short RSA":        {chain, shortRSA(t), "shorter than 2048"},
		"P-224":            {chain, p224(t), "P-224"},
		"X25519":           {chain, x25519(t), "does not sign with"},
		"a CA":             {intermediate, key, ErrMismatch.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			svid, err := parseSVID(test.chain, test.key)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("parsed %v, %v; want %q", svid, err, test.want)
			}
		})
	}
}

func TestConfigurationLacksFiles(t *testing.T) {
	for _, c := range []Config{{}, {Bundle: "b"}, {Certificates: "c"}} {
		if s, err := Open(c); err == nil {
			_ = s.Close()
			t.Errorf("%+v was accepted", c)
		}
	}
}

// FuzzPEM holds the parsers to what they promise: what is accepted is a usable
// identity or bundle, and nothing panics. The seeds have every type of key.
func FuzzPEM(f *testing.F) {
	td := spiffeid.RequireTrustDomainFromString("example.org")
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		if svid, err := parseSVID(chain, key); err == nil {
			bundles := x509bundle.NewSet(x509bundle.New(svid.ID.TrustDomain()))
			if err := (&identity.Snapshot{SVID: svid, Bundles: bundles}).Validate(); err != nil {
				t.Errorf("accepted what is no identity: %v", err)
			}
		}
		if bundle, err := parseBundle(td, chain); err == nil && (bundle.Empty() || bundle.TrustDomain() != td) {
			t.Errorf("accepted what is no bundle: %v", bundle)
		}
	})
}
