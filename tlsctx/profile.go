package tlsctx

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
)

// readContext checks a certificate against the profile of a context certificate
// beside the given leaf (SPEC.md, section "Context certificate") and returns
// what it carries. Its signature carries no meaning and is not looked at.
func readContext(leaf, c *x509.Certificate) (Context, error) {
	value, err := contextValue(c)
	if err != nil {
		return Context{}, err
	}
	e, decodeErr := decodeExtension(value)
	digest := sha256.Sum256(leaf.Raw)
	switch {
	case decodeErr != nil:
		return Context{}, failure(MalformedContext, "context extension: %w", decodeErr)
	case e.digest == nil:
		return Context{}, failure(MalformedContext, "context extension holds no leaf digest")
	case *e.digest != digest:
		return Context{}, failure(ContradictingContext, "context belongs to another leaf: its digest is %x, the leaf's %x", e.digest[:4], digest[:4])
	case !bytes.Equal(c.RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo):
		return Context{}, failure(ContradictingContext, "context certificate has another public key than the leaf")
	case !c.NotBefore.Equal(leaf.NotBefore) || !c.NotAfter.Equal(leaf.NotAfter):
		return Context{}, failure(ContradictingContext, "context certificate has another validity than the leaf")
	case c.SerialNumber.Cmp(new(big.Int).SetBytes(contextSerial(digest, value))) != 0:
		return Context{}, failure(MalformedContext, "context certificate's serial number does not follow from its content")
	}
	return e.Context, nil
}

// contextValue checks the certificate's fixed parts and returns the value of
// its context extension. Its version is 3: only such a certificate has any.
func contextValue(c *x509.Certificate) ([]byte, error) {
	switch {
	case !bytes.Equal(c.RawSubject, contextName) || !bytes.Equal(c.RawIssuer, contextName):
		return nil, failure(MalformedContext, "context certificate has the wrong subject or issuer")
	case len(c.Extensions) != 3:
		return nil, failure(MalformedContext, "context certificate has %d extensions, want 3", len(c.Extensions))
	}
	var value []byte
	for _, want := range []struct {
		oid      asn1.ObjectIdentifier
		critical bool
		value    string // its DER, "" for any
	}{
		{oidBasicConstraints, true, "\x30\x00"}, // cA=FALSE
		{oidKeyUsage, true, "\x03\x02\x07\x80"}, // digitalSignature
		{oidContext, false, ""},
	} {
		ext, ok := findExtension(c, want.oid)
		switch {
		case !ok:
			return nil, failure(MalformedContext, "context certificate lacks extension %s", want.oid)
		case ext.Critical != want.critical:
			return nil, failure(MalformedContext, "context certificate's extension %s has critical=%t", want.oid, ext.Critical)
		case want.value != "" && string(ext.Value) != want.value:
			return nil, failure(MalformedContext, "context certificate's extension %s is not %x", want.oid, want.value)
		}
		value = ext.Value
	}
	return value, nil
}

// readAttested returns the attributes that the CA attests in the leaf; none is
// no error. Whether to honour them is the caller's to decide.
func readAttested(leaf *x509.Certificate) (Context, error) {
	ext, ok := findExtension(leaf, oidAttested)
	if !ok {
		return Context{}, nil
	}
	if len(ext.Value) > maxContextCertificate {
		return Context{}, failure(TooLarge, "attested attributes have %d bytes, more than %d", len(ext.Value), maxContextCertificate)
	}
	e, err := decodeExtension(ext.Value)
	switch {
	case err != nil:
		return Context{}, failure(MalformedContext, "attested attributes: %w", err)
	case ext.Critical:
		return Context{}, failure(MalformedContext, "attested attributes are critical")
	case e.digest != nil || e.Target != "" || !e.Trace.IsZero():
		return Context{}, failure(MalformedContext, "attested attributes hold a digest, target or traceparent")
	}
	return e.Context, nil
}

func findExtension(c *x509.Certificate, oid asn1.ObjectIdentifier) (pkix.Extension, bool) {
	for _, ext := range c.Extensions {
		if ext.Id.Equal(oid) {
			return ext, true
		}
	}
	return pkix.Extension{}, false
}
