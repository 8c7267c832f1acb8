package tlsctx

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hallmark-mesh/hallmark/identity"
)

// MaxTarget bounds a target, in bytes.
const MaxTarget = 255

// Context is what one side states about itself and the connection in its
// context certificate.
type Context struct {
	// Attributes are the sender's own.
	Attributes identity.Attributes

	// Target is what a client asks for: printable ASCII without spaces, at
	// most [MaxTarget] bytes, or "".
	Target string

	// Trace is the trace context of the connection, or zero.
	Trace Traceparent
}

// validate reports whether c may be sent; attributes are valid by construction.
func (c Context) validate() error {
	if err := validateTarget(c.Target); err != nil {
		return err
	}
	return c.Trace.validate()
}

// validateTarget reports whether target may be sent or believed to be one.
func validateTarget(target string) error {
	if len(target) > MaxTarget {
		return fmt.Errorf("target of %d bytes is longer than %d", len(target), MaxTarget)
	}
	for i := range len(target) {
		if target[i] <= ' ' || target[i] > '~' {
			return fmt.Errorf("target %q holds a byte outside printable ASCII", target)
		}
	}
	return nil
}

// Traceparent is the trace context of W3C Trace Context, level 1, section 3.2,
// version 00. The zero value is none.
type Traceparent struct {
	TraceID [16]byte
	SpanID  [8]byte
	Flags   byte
}

// IsZero reports whether t is none.
func (t Traceparent) IsZero() bool { return t == Traceparent{} }

// validate reports whether t is none or complete: both ids other than zero.
func (t Traceparent) validate() error {
	if !t.IsZero() && (t.TraceID == [16]byte{} || t.SpanID == [8]byte{}) {
		return errors.New("traceparent has a zero id")
	}
	return nil
}

// Sampled reports the sampled flag.
func (t Traceparent) Sampled() bool { return t.Flags&1 != 0 }

// String returns the traceparent header's form, or "" for none.
func (t Traceparent) String() string {
	if t.IsZero() {
		return ""
	}
	var text [55]byte
	b := append(text[:0], "00-"...)
	b = append(hex.AppendEncode(b, t.TraceID[:]), '-')
	b = append(hex.AppendEncode(b, t.SpanID[:]), '-')
	return string(hex.AppendEncode(b, []byte{t.Flags}))
}

// ParseTraceparent parses the header's form of version 00, strictly.
func ParseTraceparent(text string) (Traceparent, error) {
	var t Traceparent
	var flags [1]byte
	if len(text) != 55 || text[:3] != "00-" || text[35] != '-' || text[52] != '-' ||
		!lowerHex(t.TraceID[:], text[3:35]) || !lowerHex(t.SpanID[:], text[36:52]) || !lowerHex(flags[:], text[53:]) {
		return Traceparent{}, malformedTraceparent(text)
	}
	t.Flags = flags[0]
	if t.IsZero() || t.validate() != nil {
		return Traceparent{}, malformedTraceparent(text)
	}
	return t, nil
}

func malformedTraceparent(text string) error {
	return fmt.Errorf("tlsctx: %.80q is no traceparent: want 00-<32 hex>-<16 hex>-<2 hex>, no id zero", text)
}

// lowerHex fills to from twice as many digits, and reports whether they are such.
func lowerHex(to []byte, from string) bool {
	for i := range from {
		c := from[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return false
		}
		to[i/2] = to[i/2]<<4 | c
	}
	return true
}
