package tlsctx

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
)

// How each vector is derived from its description alone.

// vectorKey is the Ed25519 key of the certificate of that name.
func vectorKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("hallmark test vector key: " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func vectorAttributes(tb testing.TB, values map[string]string) identity.Attributes {
	tb.Helper()
	var list []identity.Attribute
	for name, value := range values {
		list = append(list, identity.Attribute{Name: name, Value: value})
	}
	set, err := identity.NewAttributes(list...)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// derive makes the certificate from its description.
func (v certificateVector) derive(tb testing.TB) []byte {
	tb.Helper()
	key := vectorKey(v.Name)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: v.Subject}, SerialNumber: big.NewInt(v.Serial),
		NotBefore: v.NotBefore, NotAfter: v.NotAfter, IsCA: v.CA, BasicConstraintsValid: true,
	}
	for _, usage := range v.KeyUsage {
		bit, ok := map[string]x509.KeyUsage{
			"digitalSignature": x509.KeyUsageDigitalSignature, "keyCertSign": x509.KeyUsageCertSign,
			"cRLSign": x509.KeyUsageCRLSign, "keyEncipherment": x509.KeyUsageKeyEncipherment,
		}[usage]
		if !ok {
			tb.Fatalf("no key usage is called %q", usage)
		}
		template.KeyUsage |= bit
	}
	for _, text := range v.URIs {
		u, err := url.Parse(text)
		if err != nil {
			tb.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	for _, e := range v.Extensions {
		template.ExtraExtensions = append(template.ExtraExtensions, e.derive(tb))
	}
	signer := vectorKey(v.Issuer)
	if v.SignedBy != "" {
		signer = vectorKey(v.SignedBy)
	}
	template.SubjectKeyId, template.AuthorityKeyId = keyID(key), keyID(signer)
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: v.Issuer}, SubjectKeyId: template.AuthorityKeyId}
	der, err := x509.CreateCertificate(nil, template, parent, key.Public(), signer)
	if err != nil {
		tb.Fatalf("%s: %v", v.Name, err)
	}
	return der
}

// keyID is the first 20 bytes of SHA-256 of the public key.
func keyID(key ed25519.PrivateKey) []byte {
	public, _ := key.Public().(ed25519.PublicKey)
	sum := sha256.Sum256(public)
	return sum[:20]
}

func (e extensionVector) derive(tb testing.TB) pkix.Extension {
	tb.Helper()
	oids := map[string]asn1.ObjectIdentifier{oidContext.String(): oidContext, oidAttested.String(): oidAttested}
	ext := pkix.Extension{Id: oids[e.OID], Critical: e.Critical, Value: e.Value}
	if e.Attested != nil {
		ext.Value = attestedIn(tb, vectorAttributes(tb, e.Attested))
	}
	return ext
}

// fields returns the right fields of the context beside the leaf.
func (c contextFields) fields(tb testing.TB, leaf *x509.Certificate) valueFields {
	tb.Helper()
	v := contextFieldsOf(leaf)
	var pairs [][]byte
	for _, name := range slices.Sorted(maps.Keys(c.Attributes)) {
		pairs = append(pairs, pair(name, c.Attributes[name]))
	}
	v.attributes, v.target, v.trace = seq(pairs...), nil, nil
	if c.Target != "" {
		v.target = tlv(tagContext1, []byte(c.Target))
	}
	if c.Traceparent != "" {
		t, err := ParseTraceparent(c.Traceparent)
		if err != nil {
			tb.Fatal(err)
		}
		v.trace = tlv(tagContext2, t.TraceID[:], t.SpanID[:], []byte{t.Flags})
	}
	return v
}

// places names the fields that can be replaced, in the value and around it.
func places(v *valueFields, p *profileFields) (inValue, around map[string]*[]byte) {
	return map[string]*[]byte{
		"magic": &v.magic, "version": &v.version, "digest": &v.digest, "attributes": &v.attributes,
		"target": &v.target, "trace": &v.trace, "more": &v.more,
	}, map[string]*[]byte{
		"serial": &p.serial, "issuer": &p.issuer, "validity": &p.validity, "subject": &p.subject,
		"public_key": &p.spki, "extensions": &p.rawExtensions, "algorithm": &p.algorithm, "signature": &p.signature,
	}
}

// derive makes the context certificate from its description.
func (v contextVector) derive(tb testing.TB, leaf *x509.Certificate) []byte {
	tb.Helper()
	fields, p := v.Context.fields(tb, leaf), profileFields{}
	inValue, _ := places(&fields, &p)
	for name, place := range inValue {
		if replaced, ok := v.Instead[name]; ok {
			*place = replaced
		}
	}
	p = profileOf(leaf, fields.encode())
	_, around := places(&fields, &p)
	for name, place := range around {
		if replaced, ok := v.Instead[name]; ok {
			*place = replaced
		}
	}
	for name := range v.Instead {
		if inValue[name] == nil && around[name] == nil {
			tb.Fatalf("%s replaces %q, which is no field", v.Name, name)
		}
	}
	return p.encode()
}
