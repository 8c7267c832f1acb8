package tlsctx

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxContextCertificate bounds a context certificate, in bytes.
const maxContextCertificate = 4 << 10

// The parts that every context certificate has in common, as DER.
var (
	// contextName is subject and issuer: CN=hallmark handshake context. It is
	// never a CA's name: Java refuses a chain in which a later certificate's
	// subject equals the leaf's issuer without having issued it.
	contextName = encodeName("hallmark handshake context")

	// unsigned is the AlgorithmIdentifier of id-alg-unsigned, 1.3.6.1.5.5.7.6.36,
	// without parameters (RFC 9925, section 3.1).
	unsigned = []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x06, 0x24}

	// fixedExtensions are basicConstraints cA=FALSE and keyUsage
	// digitalSignature, both critical.
	fixedExtensions = []byte{
		0x30, 0x0c, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x02, 0x30, 0x00,
		0x30, 0x0e, 0x06, 0x03, 0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 0x04, 0x03, 0x02, 0x07, 0x80,
	}

	// encodedOIDContext is oidContext.
	encodedOIDContext = []byte{0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xfd, 0x59, 0x48, 0x01}
)

// encodeName returns the DER of a Name with one common name.
func encodeName(commonName string) []byte {
	var d der
	name := d.begin(tagSequence)
	rdn := d.begin(tagSet)
	attribute := d.begin(tagSequence)
	d = append(d, 0x06, 0x03, 0x55, 0x04, 0x03) // id-at-commonName
	d.text(tagUTF8String, commonName)
	d.end(attribute)
	d.end(rdn)
	d.end(name)
	return d
}

// Mint returns the DER of the context certificate that carries c beside the
// given leaf, to be sent last in the TLS Certificate message. Its signature is
// empty: CertificateVerify (RFC 8446, section 4.4.3) signs it with the leaf's
// key. Mint costs no asymmetric cryptography; call it for every connection. A
// context that makes a certificate of more than 4 KiB is refused with the reason
// [TooLarge].
func Mint(leaf *x509.Certificate, c Context) ([]byte, error) {
	if n := len(leaf.RawSubjectPublicKeyInfo); n > maxContextCertificate {
		return nil, failure(TooLarge, "own public key of %d bytes fits into no context certificate of %d", n, maxContextCertificate)
	}
	digest := sha256.Sum256(leaf.Raw)
	value, err := extension{digest: &digest, Context: c}.encode()
	if err != nil {
		return nil, err
	}
	validity, err := rawValidity(leaf)
	if err != nil {
		return nil, fmt.Errorf("tlsctx: mint context: %w", err)
	}
	raw := encodeCertificate(contextSerial(digest, value), validity, leaf.RawSubjectPublicKeyInfo, value)
	if len(raw) > maxContextCertificate {
		return nil, failure(TooLarge, "own context certificate of %d bytes is larger than %d: disclose fewer attributes", len(raw), maxContextCertificate)
	}
	return raw, nil
}

// contextSerial returns the serial number's bytes, big-endian: 159 bits of
// SHA-256(leaf digest || extension value). It differs with every context, since
// one issuer and serial for two certificates confuses NSS.
func contextSerial(digest leafDigest, value []byte) []byte {
	h := sha256.New()
	h.Write(digest[:])
	h.Write(value)
	serial := h.Sum(nil)[:20]
	serial[0] &= 0x7f
	for len(serial) > 1 && serial[0] == 0 && serial[1] < 0x80 { // minimal DER
		serial = serial[1:]
	}
	return serial
}

func encodeCertificate(serial, validity, publicKey, value []byte) []byte {
	d := make(der, 0, 512+len(publicKey)+len(value))
	whole := d.begin(tagSequence)
	tbs := d.begin(tagSequence)
	version := d.begin(tagConstructed0)
	d.value(tagInteger, 2) // v3
	d.end(version)
	d.value(tagInteger, serial...)
	d = append(d, unsigned...)
	d = append(d, contextName...)
	d = append(d, validity...)
	d = append(d, contextName...)
	d = append(d, publicKey...)
	explicit := d.begin(tagConstructed3)
	extensions := d.begin(tagSequence)
	d = append(d, fixedExtensions...)
	ext := d.begin(tagSequence)
	d = append(d, encodedOIDContext...)
	d.value(tagOctetString, value...)
	d.end(ext)
	d.end(extensions)
	d.end(explicit)
	d.end(tbs)
	d = append(d, unsigned...)
	d.value(tagBitString, 0) // no signature: no bits, none unused
	d.end(whole)
	return d
}

// rawValidity returns the DER of the leaf's validity, so that the copy is
// exact, whichever of the two time types the CA used.
func rawValidity(leaf *x509.Certificate) ([]byte, error) {
	var tbs, validity cryptobyte.String
	in := cryptobyte.String(leaf.RawTBSCertificate)
	if !in.ReadASN1(&tbs, cbasn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(cbasn1.Tag(0).ContextSpecific().Constructed()) || // version
		!tbs.SkipASN1(cbasn1.INTEGER) || // serialNumber
		!tbs.SkipASN1(cbasn1.SEQUENCE) || // signature
		!tbs.SkipASN1(cbasn1.SEQUENCE) || // issuer
		!tbs.ReadASN1Element(&validity, cbasn1.SEQUENCE) {
		return nil, errors.New("leaf certificate has no readable validity")
	}
	return validity, nil
}
