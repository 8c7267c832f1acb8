package tlsctx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
)

// anotherKey is the public key of nobody in particular, always the same.
var anotherKey = func() []byte {
	seed := sha256.Sum256([]byte("another key"))
	spki, err := x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(seed[:]).Public())
	if err != nil {
		panic(err)
	}
	return spki
}()

// forgeries are context certificates that a receiver refuses, one for each rule
// of the profile and of the extension. The test vectors hold them all.
var forgeries = slices.Concat(profileForgeries, extensionForgeries, lookalikeForgeries)

var profileForgeries = []forgery{
	{"profile-wrong-key", onProfile(func(p *profileFields) { p.spki = anotherKey }), ContradictingContext},
	{"profile-wrong-validity", onProfile(func(p *profileFields) {
		p.validity = seq(tlv(0x17, []byte("200101000000Z")), tlv(0x17, []byte("491231235959Z")))
	}), ContradictingContext},
	{"profile-wrong-serial", onProfile(func(p *profileFields) { p.serial = contextSerial(p.digest, []byte("another value")) }), MalformedContext},
	{"profile-small-serial", onProfile(func(p *profileFields) { p.serial = []byte{1} }), MalformedContext},
	{"profile-wrong-subject", onProfile(func(p *profileFields) { p.subject = encodeName("hallmark handshake context.") }), MalformedContext},
	{"profile-wrong-issuer", onProfile(func(p *profileFields) { p.issuer = encodeName("root") }), MalformedContext},
	{"profile-subject-printable-string", onProfile(func(p *profileFields) {
		p.subject = bytes.Replace(contextName, []byte{tagUTF8String}, []byte{0x13}, 1)
	}), MalformedContext},
	{"profile-ca", onProfile(func(p *profileFields) { p.extensions[0].Value = []byte{0x30, 0x03, 0x01, 0x01, 0xff} }), MalformedContext},
	{"profile-explicit-not-ca", onProfile(func(p *profileFields) { p.extensions[0].Value = []byte{0x30, 0x03, 0x01, 0x01, 0x00} }), MalformedContext},
	{"profile-key-usage-signs", onProfile(func(p *profileFields) { p.extensions[1].Value = []byte{0x03, 0x02, 0x02, 0x84} }), MalformedContext},
	{"profile-key-usage-none", onProfile(func(p *profileFields) { p.extensions[1].Value = []byte{0x03, 0x01, 0x00} }), MalformedContext},
	{"profile-constraints-not-critical", onProfile(func(p *profileFields) { p.extensions[0].Critical = false }), MalformedContext},
	{"profile-usage-not-critical", onProfile(func(p *profileFields) { p.extensions[1].Critical = false }), MalformedContext},
	{"profile-context-critical", onProfile(func(p *profileFields) { p.extensions[2].Critical = true }), MalformedContext},
	{"profile-no-constraints", onProfile(func(p *profileFields) { p.extensions = p.extensions[1:] }), MalformedContext},
	{"profile-no-usage", onProfile(func(p *profileFields) { p.extensions = slices.Delete(p.extensions, 1, 2) }), MalformedContext},
	{"profile-san", onProfile(func(p *profileFields) {
		p.extensions = append(p.extensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: seq(tlv(0x86, []byte("spiffe://example.org/x")))})
	}), MalformedContext},
	{"profile-subject-key-id", onProfile(func(p *profileFields) {
		p.extensions = append(p.extensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 14}, Value: tlv(tagOctetString, []byte{1, 2, 3})})
	}), MalformedContext},
	{"profile-extended-key-usage", onProfile(func(p *profileFields) {
		p.extensions[1] = pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: seq(tlv(0x06, []byte{0x2b, 6, 1, 5, 5, 7, 3, 1}))}
	}), MalformedContext},
	{"profile-too-large", onValue(func(v *valueFields) {
		var pairs [][]byte
		for i := range 17 {
			pairs = append(pairs, pair(fmt.Sprintf("a%02d", i), strings.Repeat("x", 240)))
		}
		v.attributes = seq(pairs...)
	}), TooLarge},
}

var extensionForgeries = []forgery{
	{"value-wrong-digest", onValue(func(v *valueFields) { v.digest[2] ^= 1 }), ContradictingContext},
	{"value-no-digest", onValue(func(v *valueFields) { v.digest = nil }), MalformedContext},
	{"value-short-digest", onValue(func(v *valueFields) { v.digest = tlv(tagContext0, make([]byte, 31)) }), MalformedContext},
	{"value-wrong-magic", onValue(func(v *valueFields) { v.magic = tlv(tagUTF8String, []byte("Hallmark")) }), MalformedContext},
	{"value-no-magic", onValue(func(v *valueFields) { v.magic = nil }), MalformedContext},
	{"value-magic-printable-string", onValue(func(v *valueFields) { v.magic = tlv(0x13, []byte(extensionMagic)) }), MalformedContext},
	{"value-version-0", onValue(func(v *valueFields) { v.version = []byte{2, 1, 0} }), MalformedContext},
	{"value-version-2", onValue(func(v *valueFields) { v.version = []byte{2, 1, 2} }), MalformedContext},
	{"value-version-padded", onValue(func(v *valueFields) { v.version = []byte{2, 2, 0, 1} }), MalformedContext},
	{"value-version-huge", onValue(func(v *valueFields) { v.version = tlv(tagInteger, bytes.Repeat([]byte{0x7f}, 64)) }), MalformedContext},
	{"value-no-attributes", onValue(func(v *valueFields) { v.attributes = nil }), MalformedContext},
	{"value-attributes-set", onValue(func(v *valueFields) { v.attributes[0] = tagSet }), MalformedContext},
	{"value-attributes-unsorted", onValue(func(v *valueFields) { v.attributes = seq(pair("b", "1"), pair("a", "2")) }), MalformedContext},
	{"value-attributes-duplicate", onValue(func(v *valueFields) { v.attributes = seq(pair("a", "1"), pair("a", "2")) }), MalformedContext},
	{"value-attributes-repeated", onValue(func(v *valueFields) { v.attributes = seq(pair("a", "1"), pair("a", "1")) }), MalformedContext},
	{"value-attributes-65", onValue(func(v *valueFields) {
		var pairs [][]byte
		for i := range identity.MaxAttributes + 1 {
			pairs = append(pairs, pair(fmt.Sprintf("a%02d", i), "x"))
		}
		v.attributes = seq(pairs...)
	}), MalformedContext},
	{"value-attribute-of-three", onValue(func(v *valueFields) {
		v.attributes = seq(seq(tlv(tagIA5String, []byte("a")), tlv(tagUTF8String, []byte("1")), tlv(tagUTF8String, []byte("2"))))
	}), MalformedContext},
	{"value-attribute-without-value", onValue(func(v *valueFields) { v.attributes = seq(seq(tlv(tagIA5String, []byte("a")))) }), MalformedContext},
	{"value-target-empty", onValue(func(v *valueFields) { v.target = tlv(tagContext1) }), MalformedContext},
	{"value-target-space", onValue(func(v *valueFields) { v.target = tlv(tagContext1, []byte("two words")) }), MalformedContext},
	{"value-target-control", onValue(func(v *valueFields) { v.target = tlv(tagContext1, []byte("x\r\nhost: y")) }), MalformedContext},
	{"value-target-utf8", onValue(func(v *valueFields) { v.target = tlv(tagContext1, []byte("оrders-db")) }), MalformedContext},
	{"value-target-too-long", onValue(func(v *valueFields) { v.target = tlv(tagContext1, bytes.Repeat([]byte{'x'}, 256)) }), MalformedContext},
	{"value-trace-short", onValue(func(v *valueFields) { v.trace = tlv(tagContext2, exampleTrace[:24]) }), MalformedContext},
	{"value-trace-long", onValue(func(v *valueFields) { v.trace = tlv(tagContext2, exampleTrace[:], []byte{0}) }), MalformedContext},
	{"value-trace-zero", onValue(func(v *valueFields) { v.trace = tlv(tagContext2, make([]byte, traceLen)) }), MalformedContext},
	{"value-trace-zero-span", onValue(func(v *valueFields) {
		v.trace = tlv(tagContext2, exampleTrace[:16], make([]byte, 8), []byte{1})
	}), MalformedContext},
	{"value-fields-out-of-order", onValue(func(v *valueFields) { v.target, v.trace = v.trace, v.target }), MalformedContext},
	{"value-field-twice", onValue(func(v *valueFields) { v.target = append(v.target, v.target...) }), MalformedContext},
	{"value-unknown-field", onValue(func(v *valueFields) { v.more = tlv(0x83, []byte("x")) }), MalformedContext},
	{"value-trailing-inside", onValue(func(v *valueFields) { v.more = []byte{0} }), MalformedContext},
	{"value-trailing", onProfile(func(p *profileFields) { p.extensions[2].Value = append(p.extensions[2].Value, 0) }), MalformedContext},
	{"value-empty", onProfile(func(p *profileFields) { p.extensions[2].Value = nil }), MalformedContext},
	{"value-truncated", onProfile(func(p *profileFields) {
		p.extensions[2].Value = p.extensions[2].Value[:len(p.extensions[2].Value)-1]
	}), MalformedContext},
	{"value-ber-long-length", onValue(func(v *valueFields) { v.magic = longLength(v.magic) }), MalformedContext},
	{"value-ber-indefinite-length", onProfile(func(p *profileFields) {
		v := p.extensions[2].Value // a long form of two bytes, since it is longer than 127
		p.extensions[2].Value = slices.Concat([]byte{0x30, 0x80}, v[3:], []byte{0, 0})
	}), MalformedContext},
	{"value-high-tag", onValue(func(v *valueFields) { v.more = []byte{0x9f, 0x1f, 0x00} }), MalformedContext},
}

// lookalikeForgeries hold names and values that look like, or hide in, others.
var lookalikeForgeries = []forgery{
	{"name-utf8-string", nameOf(tagUTF8String, "host.name"), MalformedContext},
	{"name-printable-string", nameOf(0x13, "host.name"), MalformedContext},
	{"name-empty", nameOf(tagIA5String, ""), MalformedContext},
	{"name-upper-case", nameOf(tagIA5String, "Host.name"), MalformedContext},
	{"name-cyrillic", nameOf(tagIA5String, "hоst.name"), MalformedContext},
	{"name-nul", nameOf(tagIA5String, "host.name\x00"), MalformedContext},
	{"name-two-dots", nameOf(tagIA5String, "host..name"), MalformedContext},
	{"name-last-dot", nameOf(tagIA5String, "host.name."), MalformedContext},
	{"name-dash", nameOf(tagIA5String, "host-name"), MalformedContext},
	{"name-digit-first", nameOf(tagIA5String, "0host"), MalformedContext},
	{"name-too-long", nameOf(tagIA5String, strings.Repeat("a", 64)), MalformedContext},
	{"text-printable-string", attributeOf(0x13, "x"), MalformedContext},
	{"text-ia5-string", attributeOf(tagIA5String, "x"), MalformedContext},
	{"text-bmp-string", attributeOf(0x1e, "\x00x"), MalformedContext},
	{"text-teletex-string", attributeOf(0x14, "x"), MalformedContext},
	{"text-constructed-string", attributeOf(0x2c, string(tlv(tagUTF8String, []byte("x")))), MalformedContext},
	{"text-empty", attributeOf(tagUTF8String, ""), MalformedContext},
	{"text-too-long", attributeOf(tagUTF8String, strings.Repeat("x", 256)), MalformedContext},
	{"text-nul", attributeOf(tagUTF8String, "x\x00"), MalformedContext},
	{"text-newline", attributeOf(tagUTF8String, "x\ny"), MalformedContext},
	{"text-escape", attributeOf(tagUTF8String, "\x1b[31mx"), MalformedContext},
	{"text-delete", attributeOf(tagUTF8String, "x\x7f"), MalformedContext},
	{"text-c1-control", attributeOf(tagUTF8String, "x\u009b31m"), MalformedContext},
	{"text-line-separator", attributeOf(tagUTF8String, "x\u2028y"), MalformedContext},
	{"text-paragraph-separator", attributeOf(tagUTF8String, "x\u2029y"), MalformedContext},
	{"text-bidi-override", attributeOf(tagUTF8String, "x\u202egnp.exe"), MalformedContext},
	{"text-bidi-isolate", attributeOf(tagUTF8String, "x\u2066y\u2069"), MalformedContext},
	{"text-zero-width-space", attributeOf(tagUTF8String, "ad\u200bmin"), MalformedContext},
	{"text-zero-width-joiner", attributeOf(tagUTF8String, "ad\u200dmin"), MalformedContext},
	{"text-soft-hyphen", attributeOf(tagUTF8String, "ad\u00admin"), MalformedContext},
	{"text-byte-order-mark", attributeOf(tagUTF8String, "\ufeffadmin"), MalformedContext},
	{"text-tag-character", attributeOf(tagUTF8String, "admin\U000e0041"), MalformedContext},
	{"text-noncharacter", attributeOf(tagUTF8String, "x\ufffe"), MalformedContext},
	{"text-private-use", attributeOf(tagUTF8String, "\ue000"), MalformedContext},
	{"text-not-nfc", attributeOf(tagUTF8String, "cafe\u0301"), MalformedContext},
	{"text-compatibility-singleton", attributeOf(tagUTF8String, "\u212b"), MalformedContext}, // ANGSTROM SIGN
	{"text-overlong-slash", attributeOf(tagUTF8String, "\xc0\xaf"), MalformedContext},
	{"text-overlong-nul", attributeOf(tagUTF8String, "\xc0\x80"), MalformedContext},
	{"text-surrogate", attributeOf(tagUTF8String, "\xed\xa0\x80"), MalformedContext},
	{"text-beyond-unicode", attributeOf(tagUTF8String, "\xf4\x90\x80\x80"), MalformedContext},
	{"text-latin-1", attributeOf(tagUTF8String, "caf\xe9"), MalformedContext},
	{"text-cut-short", attributeOf(tagUTF8String, "caf\xc3"), MalformedContext},
}

// TestAttackForgedContext presents every forgery, in both roles, beside a good
// leaf with its key: the attacker is a member of the mesh.
func TestAttackForgedContext(t *testing.T) {
	m := newMesh(t)
	leaf, chain, key := m.member(t)
	for _, f := range forgeries {
		t.Run(f.name, func(t *testing.T) {
			m.refused(t, f.reason, rawUnknown, append(slices.Clone(chain), f.forge(leaf)), key)
		})
	}
}

// TestAttackUnparsable sends what no stack takes for a certificate.
func TestAttackUnparsable(t *testing.T) {
	m := newMesh(t)
	leaf, chain, key := m.member(t)
	good := minted(t, leaf, Context{})
	for name, bad := range map[string][]byte{
		"trailing bytes":    append(slices.Clone(good), 0),
		"cut short":         good[:len(good)-1],
		"a long BER length": slices.Concat(good[:1], []byte{0x83, 0}, good[2:4], good[4:]),
		"noise":             bytes.Repeat([]byte{0xff}, 100),
		"extension given twice": func() []byte {
			p := profileOf(leaf, contextFieldsOf(leaf).encode())
			p.extensions = append(p.extensions, p.extensions[2])
			return p.encode()
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			m.refused(t, ProtocolFailure, rawUnknown, append(slices.Clone(chain), bad), key)
		})
	}
}

// TestForgeriesAreForgedFromWhatIsAccepted: unspoilt, the same fields make a
// context that a receiver takes, byte for byte as Mint makes it. Signed by
// whomever, or with its extensions in another order, it is taken as well.
func TestForgeriesAreForgedFromWhatIsAccepted(t *testing.T) {
	m := newMesh(t)
	leaf, _, _ := m.member(t)
	unspoilt := forgery{}.forge(leaf)
	c := mustParse(t, unspoilt)
	got, err := readContext(leaf, c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(minted(t, leaf, got), unspoilt) {
		t.Errorf("Mint differs:\n%x\n%x", minted(t, leaf, got), unspoilt)
	}
	for _, other := range []forgery{selfSigned, reordered} {
		if _, err := readContext(leaf, mustParse(t, other.forge(leaf))); err != nil {
			t.Errorf("%s: %v", other.name, err)
		}
	}
}

func mustParse(tb testing.TB, der []byte) *x509.Certificate {
	tb.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// randomKey is for certificates that only take up space.
func randomKey(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}
