package ca

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/hallmark-mesh/hallmark/identity"
)

// SVIDOption changes what [Domain.SVID] makes, for the better or the worse.
type SVIDOption func(*request)

// request is an SVID about to be signed.
type request struct {
	template *x509.Certificate
	keyType  KeyType
	key      crypto.Signer // nil: a fresh one of keyType
}

// WithKeyType sets the type of the SVID's fresh key.
func WithKeyType(kind KeyType) SVIDOption { return func(r *request) { r.keyType = kind } }

// WithKey makes the SVID for an existing key.
func WithKey(key crypto.Signer) SVIDOption { return func(r *request) { r.key = key } }

// WithValidity sets the validity period.
func WithValidity(notBefore, notAfter time.Time) SVIDOption {
	return func(r *request) { r.template.NotBefore, r.template.NotAfter = notBefore, notAfter }
}

// WithTTL makes the SVID valid from a minute ago until ttl from now.
func WithTTL(ttl time.Duration) SVIDOption {
	return func(r *request) { r.template.NotAfter = time.Now().Add(ttl) }
}

// WithExtension adds an extension to the leaf.
func WithExtension(extensions ...pkix.Extension) SVIDOption {
	return func(r *request) { r.template.ExtraExtensions = append(r.template.ExtraExtensions, extensions...) }
}

// WithDNSNames adds DNS names to the leaf.
func WithDNSNames(names ...string) SVIDOption {
	return func(r *request) { r.template.DNSNames = append(r.template.DNSNames, names...) }
}

// WithTemplate lets a test change the leaf's template in any way.
func WithTemplate(change func(template *x509.Certificate)) SVIDOption {
	return func(r *request) { change(r.template) }
}

// Expired makes an SVID whose validity ended a minute ago.
func Expired() SVIDOption {
	return WithValidity(time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
}

// NotYetValid makes an SVID whose validity begins in half an hour.
func NotYetValid() SVIDOption {
	return WithValidity(time.Now().Add(30*time.Minute), time.Now().Add(time.Hour))
}

// WithURIs replaces the URI names of the leaf: two of them, none, or foreign
// ones make an SVID that nobody may accept. [x509svid.SVID.ID] stays the ID that
// was asked for.
func WithURIs(tb testing.TB, uris ...string) SVIDOption {
	tb.Helper()
	parsed := parseURIs(tb, uris...)
	return func(r *request) { r.template.URIs = parsed }
}

// AsCA makes a leaf that claims to be a certificate authority.
func AsCA() SVIDOption {
	return func(r *request) {
		r.template.IsCA = true
		r.template.KeyUsage |= x509.KeyUsageCertSign
	}
}

// ID returns the SPIFFE ID of the given path in the trust domain.
func (d *Domain) ID(tb testing.TB, path string) spiffeid.ID {
	tb.Helper()
	id, err := spiffeid.FromPath(d.td, path)
	if err != nil {
		tb.Fatalf("ca: SPIFFE ID of path %q: %v", path, err)
	}
	return id
}

// SVID returns a fresh X.509-SVID with the given path, such as /ns/x/sa/y,
// signed by the newest authority: P-256 and valid from a minute ago for an hour
// unless the options say otherwise.
func (d *Domain) SVID(tb testing.TB, path string, options ...SVIDOption) *x509svid.SVID {
	tb.Helper()
	id := d.ID(tb, path)
	r := newRequest(tb, id)
	for _, option := range options {
		option(r)
	}
	if r.key == nil {
		r.key = NewKey(tb, r.keyType)
	}
	d.mu.Lock()
	signer := d.signer
	d.mu.Unlock()
	leaf := sign(tb, r.template, r.key.Public(), signer)
	return &x509svid.SVID{
		ID:           id,
		Certificates: append([]*x509.Certificate{leaf}, signer.chain...),
		PrivateKey:   r.key,
	}
}

// newRequest returns a request that keeps the X509-SVID specification.
func newRequest(tb testing.TB, id spiffeid.ID) *request {
	tb.Helper()
	now := time.Now()
	return &request{template: &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Test Workload"}},
		URIs:                  parseURIs(tb, id.String()),
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}}
}

// Snapshot returns an identity with a fresh SVID, the bundles as they are now,
// and the given attributes.
func (d *Domain) Snapshot(tb testing.TB, path string, attributes identity.Attributes, options ...SVIDOption) *identity.Snapshot {
	tb.Helper()
	return &identity.Snapshot{
		SVID:       d.SVID(tb, path, options...),
		Bundles:    d.Bundles(),
		Attributes: attributes,
	}
}

// Attributes returns the set of the given names and values, which alternate.
func Attributes(tb testing.TB, namesAndValues ...string) identity.Attributes {
	tb.Helper()
	if len(namesAndValues)%2 != 0 {
		tb.Fatalf("ca: attributes: %d names and values do not pair", len(namesAndValues))
	}
	var list []identity.Attribute
	for pair := range slices.Chunk(namesAndValues, 2) {
		list = append(list, identity.Attribute{Name: pair[0], Value: pair[1]})
	}
	attributes, err := identity.NewAttributes(list...)
	if err != nil {
		tb.Fatalf("ca: attributes: %v", err)
	}
	return attributes
}

// TLSCertificate returns the SVID in the form that crypto/tls takes.
func TLSCertificate(svid *x509svid.SVID) tls.Certificate {
	certificate := tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, c := range svid.Certificates {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	return certificate
}

// Files are the paths of an identity written as PEM.
type Files struct {
	Chain  string // leaf first, then intermediates
	Key    string // PKCS #8, mode 0600
	Bundle string // the own trust domain's authorities
}

// WritePEM writes the snapshot's SVID, key and own bundle into dir, for programs
// that know files only.
func WritePEM(tb testing.TB, dir string, snapshot *identity.Snapshot) Files {
	tb.Helper()
	files := Files{
		Chain:  filepath.Join(dir, "svid.pem"),
		Key:    filepath.Join(dir, "key.pem"),
		Bundle: filepath.Join(dir, "bundle.pem"),
	}
	chain, key, err := snapshot.SVID.MarshalRaw()
	if err != nil {
		tb.Fatalf("ca: encode SVID: %v", err)
	}
	certificates, err := x509.ParseCertificates(chain)
	if err != nil {
		tb.Fatalf("ca: parse chain: %v", err)
	}
	bundle, err := snapshot.Bundles.GetX509BundleForTrustDomain(snapshot.ID().TrustDomain())
	if err != nil {
		tb.Fatalf("ca: own bundle: %v", err)
	}
	write(tb, files.Chain, encodeCertificates(certificates))
	write(tb, files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	write(tb, files.Bundle, encodeCertificates(bundle.X509Authorities()))
	return files
}

func encodeCertificates(certificates []*x509.Certificate) []byte {
	var encoded []byte
	for _, c := range certificates {
		encoded = append(encoded, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return encoded
}

func write(tb testing.TB, path string, content []byte) {
	tb.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatalf("ca: write PEM: %v", err)
	}
}

func parseURIs(tb testing.TB, uris ...string) []*url.URL {
	tb.Helper()
	parsed := make([]*url.URL, len(uris))
	for i, uri := range uris {
		u, err := url.Parse(uri)
		if err != nil {
			tb.Fatalf("ca: URI %q: %v", uri, err)
		}
		parsed[i] = u
	}
	return parsed
}
