// Package ca makes trust domains, X.509-SVIDs, good ones and bad ones, and
// identity snapshots in memory, for tests. A [Domain] signs whatever a test
// asks it to sign, against the X509-SVID specification too.
//
// It never touches a file except in [WritePEM], and production code never
// imports it: the authority that does keep the rules is package identity/issuer.
package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// KeyType names the kind of a private key.
type KeyType int

// The key types that X.509-SVIDs are met with. The zero value is P256, the
// fastest.
const (
	P256 KeyType = iota
	P384
	RSA2048
	Ed25519
)

// KeyTypes returns every key type, for table tests.
func KeyTypes() []KeyType { return []KeyType{P256, P384, RSA2048, Ed25519} }

// String returns the name of the key type, fit for a subtest.
func (k KeyType) String() string {
	switch k {
	case P256:
		return "P-256"
	case P384:
		return "P-384"
	case RSA2048:
		return "RSA-2048"
	case Ed25519:
		return "Ed25519"
	default:
		return fmt.Sprintf("KeyType(%d)", int(k))
	}
}

// NewKey returns a fresh private key of the given type.
func NewKey(tb testing.TB, kind KeyType) crypto.Signer {
	tb.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case P256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		tb.Fatalf("ca: no such key type: %d", kind)
	}
	if err != nil {
		tb.Fatalf("ca: generate a %s key: %v", kind, err)
	}
	return key
}

// Domain is a trust domain whose authority lives in memory. Its methods are
// safe for concurrent use.
type Domain struct {
	td      spiffeid.TrustDomain
	keyType KeyType
	depth   int // intermediates between the authority and an SVID

	mu          sync.Mutex
	authorities []*x509.Certificate // published, oldest first
	signer      issuer              // signs SVIDs
	foreign     []*Domain
}

// issuer is a certificate authority with the chain that leads up to, and does
// not hold, its root.
type issuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
	chain       []*x509.Certificate
}

// DomainOption changes how [New] makes a trust domain.
type DomainOption func(*Domain)

// WithIntermediates puts n intermediate CAs between the authority and its SVIDs.
func WithIntermediates(n int) DomainOption { return func(d *Domain) { d.depth = n } }

// WithCAKey sets the key type of the authorities and the intermediates.
func WithCAKey(kind KeyType) DomainOption { return func(d *Domain) { d.keyType = kind } }

// New returns the trust domain of the given name with one fresh authority,
// valid for a day.
func New(tb testing.TB, name string, options ...DomainOption) *Domain {
	tb.Helper()
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		tb.Fatalf("ca: trust domain %q: %v", name, err)
	}
	d := &Domain{td: td}
	for _, option := range options {
		option(d)
	}
	d.Rotate(tb)
	return d
}

// TrustDomain returns the trust domain's name.
func (d *Domain) TrustDomain() spiffeid.TrustDomain { return d.td }

// Rotate adds a new authority, which signs from now on. The old ones stay in
// the bundle until [Domain.Retire].
func (d *Domain) Rotate(tb testing.TB) {
	tb.Helper()
	signer := d.newAuthority(tb, issuer{}, "root")
	root := signer.certificate
	for i := range d.depth {
		signer = d.newAuthority(tb, signer, fmt.Sprintf("intermediate %d", i+1))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.authorities = append(d.authorities, root)
	d.signer = signer
}

// Retire takes every authority but the newest out of the bundle.
func (d *Domain) Retire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.authorities = slices.Clone(d.authorities[len(d.authorities)-1:])
}

// Bundle returns the trust domain's X.509 bundle as it is now.
func (d *Domain) Bundle() *x509bundle.Bundle {
	d.mu.Lock()
	defer d.mu.Unlock()
	return x509bundle.FromX509Authorities(d.td, d.authorities)
}

// Bundles returns the own bundle and those of the federated trust domains, as
// they are now.
func (d *Domain) Bundles() *x509bundle.Set {
	d.mu.Lock()
	foreign := slices.Clone(d.foreign)
	d.mu.Unlock()
	bundles := x509bundle.NewSet(d.Bundle())
	for _, other := range foreign {
		bundles.Add(other.Bundle())
	}
	return bundles
}

// Federate makes every one of the given trust domains trust all the others.
func Federate(domains ...*Domain) {
	for _, d := range domains {
		d.mu.Lock()
		for _, other := range domains {
			if other != d && !slices.Contains(d.foreign, other) {
				d.foreign = append(d.foreign, other)
			}
		}
		d.mu.Unlock()
	}
}

// newAuthority makes a CA below parent, or a self-signed one if parent is zero.
func (d *Domain) newAuthority(tb testing.TB, parent issuer, name string) issuer {
	tb.Helper()
	key := NewKey(tb, d.keyType)
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Test CA"}, CommonName: d.td.Name() + " " + name},
		URIs:                  parseURIs(tb, d.td.IDString()),
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if parent.certificate == nil {
		return issuer{certificate: sign(tb, template, key.Public(), issuer{certificate: template, key: key}), key: key}
	}
	certificate := sign(tb, template, key.Public(), parent)
	return issuer{
		certificate: certificate,
		key:         key,
		chain:       append([]*x509.Certificate{certificate}, parent.chain...),
	}
}

func sign(tb testing.TB, template *x509.Certificate, public crypto.PublicKey, by issuer) *x509.Certificate {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, public, by.key)
	if err != nil {
		tb.Fatalf("ca: sign a certificate: %v", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatalf("ca: parse the certificate just signed: %v", err)
	}
	return certificate
}
