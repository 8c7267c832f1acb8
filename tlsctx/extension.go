package tlsctx

import (
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/hallmark-mesh/hallmark/identity"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The object identifiers of the two extensions stand under one arc: the
// documentation arc of RFC 5612 until a private enterprise number is
// registered.
var (
	arc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 72}

	// oidContext marks the context in a context certificate.
	oidContext = append(slices.Clip(arc), 1)

	// oidAttested marks attested attributes in a leaf SVID.
	oidAttested = append(slices.Clip(arc), 2)

	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
)

const (
	extensionMagic   = "hallmark"
	extensionVersion = 1
	traceLen         = 16 + 8 + 1

	// averageAttribute is how long an attribute's encoding usually is, in
	// bytes.
	averageAttribute = 32
)

// leafDigest binds a context to one leaf SVID: SHA-256 of its DER.
type leafDigest = [sha256.Size]byte

// extension is the value of either of our extensions. A context has a digest;
// attested attributes have neither digest, target nor trace.
type extension struct {
	digest *leafDigest
	Context
}

// AttestedExtension returns the extension by which a CA attests attributes
// inside an SVID, non-critical, for issuers to put into a leaf.
func AttestedExtension(attributes identity.Attributes) (pkix.Extension, error) {
	value, err := extension{Context: Context{Attributes: attributes}}.encode()
	if err != nil {
		return pkix.Extension{}, err
	}
	return pkix.Extension{Id: oidAttested, Value: value}, nil
}

// encode returns the DER of the extension's value. It refuses a target or a
// traceparent that is not valid.
func (e extension) encode() ([]byte, error) {
	if err := e.validate(); err != nil {
		return nil, fmt.Errorf("tlsctx: encode context: %w", err)
	}
	d := make(der, 0, 512)
	whole := d.begin(tagSequence)
	d.text(tagUTF8String, extensionMagic)
	d.value(tagInteger, extensionVersion)
	if e.digest != nil {
		d.value(tagContext0, e.digest[:]...)
	}
	list := d.begin(tagSequence)
	for a := range e.Attributes.All() {
		pair := d.begin(tagSequence)
		d.text(tagIA5String, a.Name)
		d.text(tagUTF8String, a.Value)
		d.end(pair)
	}
	d.end(list)
	if e.Target != "" {
		d.text(tagContext1, e.Target)
	}
	if !e.Trace.IsZero() {
		trace := d.begin(tagContext2)
		d = append(append(append(d, e.Trace.TraceID[:]...), e.Trace.SpanID[:]...), e.Trace.Flags)
		d.end(trace)
	}
	d.end(whole)
	return d, nil
}

// decodeExtension reads the value of one of our extensions: one encoding for
// each meaning, and everything else refused.
func decodeExtension(der []byte) (extension, error) {
	var e extension
	var body cryptobyte.String
	in := cryptobyte.String(der)
	if !in.ReadASN1(&body, cbasn1.SEQUENCE) || !in.Empty() {
		return e, errors.New("value is not one DER sequence")
	}
	if err := readHeader(&body); err != nil {
		return e, err
	}
	if err := e.readDigest(&body); err != nil {
		return e, err
	}
	if err := e.readAttributes(&body); err != nil {
		return e, err
	}
	if err := e.readTarget(&body); err != nil {
		return e, err
	}
	if err := e.readTrace(&body); err != nil {
		return e, err
	}
	if !body.Empty() {
		return e, fmt.Errorf("%d bytes follow the last field", len(body))
	}
	return e, nil
}

func readHeader(body *cryptobyte.String) error {
	var magic cryptobyte.String
	if !body.ReadASN1(&magic, cbasn1.UTF8String) || string(magic) != extensionMagic {
		return fmt.Errorf("magic is not %q", extensionMagic)
	}
	var version int64
	if !body.ReadASN1Integer(&version) {
		return errors.New("version is not an integer")
	}
	if version != extensionVersion {
		return fmt.Errorf("version is %d, want %d", version, extensionVersion)
	}
	return nil
}

func (e *extension) readDigest(body *cryptobyte.String) error {
	value, present, err := readOptional(body, cbasn1.Tag(tagContext0), "leaf digest")
	if err != nil || !present {
		return err
	}
	if len(value) != sha256.Size {
		return fmt.Errorf("leaf digest has %d bytes, want %d", len(value), sha256.Size)
	}
	e.digest = (*leafDigest)(value)
	return nil
}

func (e *extension) readAttributes(body *cryptobyte.String) error {
	var list cryptobyte.String
	if !body.ReadASN1(&list, cbasn1.SEQUENCE) {
		return errors.New("attributes are not a sequence")
	}
	text := string(list) // one copy, of which names and values are parts
	attributes := make([]identity.Attribute, 0, min(len(list)/averageAttribute+1, identity.MaxAttributes))
	for !list.Empty() {
		var pair, name, value cryptobyte.String
		if !list.ReadASN1(&pair, cbasn1.SEQUENCE) || !pair.ReadASN1(&name, cbasn1.IA5String) {
			return fmt.Errorf("attribute %d is not a name and a value", len(attributes)+1)
		}
		valueEnd := len(text) - len(list)
		nameEnd := valueEnd - len(pair)
		if !pair.ReadASN1(&value, cbasn1.UTF8String) || !pair.Empty() {
			return fmt.Errorf("attribute %d is not a name and a value", len(attributes)+1)
		}
		if len(attributes) == identity.MaxAttributes {
			return fmt.Errorf("more than %d attributes", identity.MaxAttributes)
		}
		a := identity.Attribute{Name: text[nameEnd-len(name) : nameEnd], Value: text[valueEnd-len(value) : valueEnd]}
		if n := len(attributes); n > 0 && attributes[n-1].Name >= a.Name {
			return fmt.Errorf("attribute %.80q does not sort after %q", a.Name, attributes[n-1].Name)
		}
		attributes = append(attributes, a)
	}
	set, err := identity.NewAttributes(attributes...)
	e.Attributes = set
	return err
}

func (e *extension) readTarget(body *cryptobyte.String) error {
	value, present, err := readOptional(body, cbasn1.Tag(tagContext1), "target")
	if err != nil || !present {
		return err
	}
	if len(value) == 0 {
		return errors.New("target is empty")
	}
	e.Target = string(value)
	return validateTarget(e.Target)
}

func (e *extension) readTrace(body *cryptobyte.String) error {
	value, present, err := readOptional(body, cbasn1.Tag(tagContext2), "traceparent")
	if err != nil || !present {
		return err
	}
	if len(value) != traceLen {
		return fmt.Errorf("traceparent has %d bytes, want %d", len(value), traceLen)
	}
	copy(e.Trace.TraceID[:], value)
	copy(e.Trace.SpanID[:], value[16:])
	e.Trace.Flags = value[24]
	if e.Trace.IsZero() {
		return errors.New("traceparent is zero")
	}
	return e.Trace.validate()
}

// readOptional reads a field of the given tag if it comes next.
func readOptional(body *cryptobyte.String, tag cbasn1.Tag, what string) (cryptobyte.String, bool, error) {
	if !body.PeekASN1Tag(tag) {
		return nil, false, nil
	}
	var value cryptobyte.String
	if !body.ReadASN1(&value, tag) {
		return nil, false, fmt.Errorf("%s is not DER", what)
	}
	return value, true, nil
}
