package tlsctx

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// tlv is one DER value of the given tag, of one-byte tags and any length.
func tlv(tag byte, parts ...[]byte) []byte {
	var d der
	start := d.begin(tag)
	d = append(d, slices.Concat(parts...)...)
	d.end(start)
	return d
}

func seq(parts ...[]byte) []byte { return tlv(tagSequence, parts...) }

// valueFields are the parts of an extension's value, each a DER value that a
// test can spoil. It is how another implementation would write one, by hand.
type valueFields struct {
	magic, version, digest, attributes, target, trace, more []byte
}

func (f valueFields) encode() []byte {
	return seq(f.magic, f.version, f.digest, f.attributes, f.target, f.trace, f.more)
}

// contextFieldsOf are those of a full context beside the leaf.
func contextFieldsOf(leaf *x509.Certificate) valueFields {
	digest := sha256.Sum256(leaf.Raw)
	return valueFields{
		magic:      tlv(tagUTF8String, []byte(extensionMagic)),
		version:    tlv(tagInteger, []byte{extensionVersion}),
		digest:     tlv(tagContext0, digest[:]),
		attributes: seq(pair("k8s.pod.name", "web-0"), pair("service.version", "1.2.3")),
		target:     tlv(tagContext1, []byte("orders-db")),
		trace:      tlv(tagContext2, exampleTrace[:]),
	}
}

// exampleTrace is that of W3C Trace Context, section 3.2.
var exampleTrace = [traceLen]byte{
	0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
	0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7, 0x01,
}

// pair is one attribute as the extension writes it.
func pair(name, value string) []byte {
	return seq(tlv(tagIA5String, []byte(name)), tlv(tagUTF8String, []byte(value)))
}

// profileFields are the parts of a context certificate, each to be spoiled.
type profileFields struct {
	digest          leafDigest
	version         []byte // the whole [0]
	serial          []byte
	algorithm       []byte // both of them
	issuer, subject []byte
	validity, spki  []byte
	extensions      []pkix.Extension
	rawExtensions   []byte // instead of them, if not nil
	signature       []byte
}

// profileOf are those of a right context certificate that carries the value.
func profileOf(leaf *x509.Certificate, value []byte) profileFields {
	validity, err := rawValidity(leaf)
	if err != nil {
		panic(err)
	}
	return profileFields{
		version:   tlv(tagConstructed0, tlv(tagInteger, []byte{2})),
		digest:    sha256.Sum256(leaf.Raw),
		algorithm: unsigned,
		issuer:    contextName, subject: contextName,
		validity: validity,
		spki:     leaf.RawSubjectPublicKeyInfo,
		extensions: []pkix.Extension{
			{Id: oidBasicConstraints, Critical: true, Value: []byte{0x30, 0x00}},
			{Id: oidKeyUsage, Critical: true, Value: []byte{0x03, 0x02, 0x07, 0x80}},
			{Id: oidContext, Value: value},
		},
		signature: []byte{0},
	}
}

// value is that of the context extension, if it is still there.
func (f profileFields) value() []byte {
	i := slices.IndexFunc(f.extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidContext) })
	if i < 0 {
		return nil
	}
	return f.extensions[i].Value
}

func (f profileFields) encodedExtensions() []byte {
	if f.rawExtensions != nil {
		return f.rawExtensions
	}
	var extensions [][]byte
	for _, e := range f.extensions {
		oid, err := asn1.Marshal(e.Id)
		if err != nil {
			panic(err)
		}
		critical := []byte(nil)
		if e.Critical {
			critical = []byte{0x01, 0x01, 0xff}
		}
		extensions = append(extensions, seq(oid, critical, tlv(tagOctetString, e.Value)))
	}
	return seq(extensions...)
}

func (f profileFields) encode() []byte {
	if f.serial == nil {
		f.serial = contextSerial(f.digest, f.value())
	}
	tbs := seq(
		f.version, tlv(tagInteger, f.serial), f.algorithm, f.issuer, f.validity, f.subject, f.spki,
		tlv(tagConstructed3, f.encodedExtensions()),
	)
	return seq(tbs, f.algorithm, tlv(tagBitString, f.signature))
}

// forgery is a context certificate that somebody spoilt, and what becomes of it.
type forgery struct {
	name   string
	spoil  spoiler
	reason Reason
}

// spoiler changes the extension's value, or the certificate around it.
type spoiler struct {
	value   func(*valueFields)
	profile func(*profileFields)
}

func onValue(spoil func(*valueFields)) spoiler     { return spoiler{value: spoil} }
func onProfile(spoil func(*profileFields)) spoiler { return spoiler{profile: spoil} }

func (f forgery) forge(leaf *x509.Certificate) []byte {
	v := contextFieldsOf(leaf)
	if f.spoil.value != nil {
		f.spoil.value(&v)
	}
	p := profileOf(leaf, v.encode())
	if f.spoil.profile != nil {
		f.spoil.profile(&p)
	}
	return p.encode()
}

// attributeOf sets the context's only attribute to a value of the given tag.
func attributeOf(tag byte, value string) spoiler {
	return onValue(func(v *valueFields) {
		v.attributes = seq(seq(tlv(tagIA5String, []byte("host.name")), tlv(tag, []byte(value))))
	})
}

// nameOf sets the name of the context's only attribute.
func nameOf(tag byte, name string) spoiler {
	return onValue(func(v *valueFields) {
		v.attributes = seq(seq(tlv(tag, []byte(name)), tlv(tagUTF8String, []byte("x"))))
	})
}

// longLength writes a value's length in more bytes than needed, as BER allows.
func longLength(value []byte) []byte {
	return slices.Concat(value[:1], []byte{0x81}, value[1:])
}

// attestedIn makes an attested extension's value.
func attestedIn(tb testing.TB, attributes identity.Attributes) []byte {
	tb.Helper()
	ext, err := AttestedExtension(attributes)
	if err != nil {
		tb.Fatal(err)
	}
	return ext.Value
}

// signedBy makes a leaf with the given SPIFFE ID that another workload's leaf
// has signed, which is not its to do.
func signedBy(tb testing.TB, parent *x509svid.SVID, id string) *x509svid.SVID {
	tb.Helper()
	key := ca.NewKey(tb, ca.P256)
	now := time.Now()
	template := &x509.Certificate{
		URIs: parseURI(tb, id), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificates[0], key.Public(), parent.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	return &x509svid.SVID{ID: mustID(tb, id), Certificates: []*x509.Certificate{mustParse(tb, der)}, PrivateKey: key}
}

func parseURI(tb testing.TB, uri string) []*url.URL {
	tb.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		tb.Fatal(err)
	}
	return []*url.URL{u}
}
