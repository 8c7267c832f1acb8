package message

import (
	"strings"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
)

// Field is one field line (RFC 9110, section 5): a lower-case name, and a value
// without whitespace at its ends.
type Field = h2.Field

// Get returns the value of the first field of that name, and whether there is
// one.
func Get(fields []Field, name string) (string, bool) {
	for i := range fields {
		if fields[i].Name == name {
			return fields[i].Value, true
		}
	}
	return "", false
}

// Has reports whether the comma-separated list that the fields of that name
// make up (RFC 9110, section 5.6.1) holds the token, in any case.
func Has(fields []Field, name, token string) bool {
	for i := range fields {
		if fields[i].Name == name && HasToken(fields[i].Value, token) {
			return true
		}
	}
	return false
}

// HasToken reports whether one field value, a comma-separated list, holds the
// token, in any case.
func HasToken(list, token string) bool {
	for list != "" {
		var element string
		element, list = NextToken(list)
		if strings.EqualFold(element, token) {
			return true
		}
	}
	return false
}

// NextToken returns the first element of a comma-separated list, without the
// whitespace around it, and the rest of the list.
func NextToken(list string) (element, rest string) {
	element, rest, _ = strings.Cut(list, ",")
	return strings.Trim(element, " \t"), rest
}

// Character classes, a bit each.
const (
	tchar  = 1 << iota // token, RFC 9110, section 5.6.2
	upper              // A to Z
	vchar              // field-vchar, SP and HTAB, RFC 9110, section 5.5
	target             // what a request target may hold
	host               // what a host and port may hold
	lower              // what a field name of a neutral message holds: tchar, not upper
)

// classes says what each byte may be part of.
var classes = makeClasses()

func makeClasses() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		alphanumeric := b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
		if alphanumeric || b != 0 && strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0 {
			t[c] |= tchar
		}
		if b >= 'A' && b <= 'Z' {
			t[c] |= upper
		} else if t[c]&tchar != 0 {
			t[c] |= lower
		}
		if b == '\t' || b >= ' ' && b != 0x7f {
			t[c] |= vchar
		}
		if b > ' ' && b != 0x7f {
			t[c] |= target
		}
		if alphanumeric || b != 0 && strings.IndexByte("-._~%!$&'()*+;=[]:", b) >= 0 {
			t[c] |= host
		}
	}
	return t
}

// IsTokenByte reports whether b may stand in a token, such as a method.
func IsTokenByte(b byte) bool { return classes[b]&tchar != 0 }

// IsUpper reports whether b is an upper-case letter.
func IsUpper(b byte) bool { return classes[b]&upper != 0 }

// IsValueByte reports whether b may stand in a field value: visible, space, tab,
// or beyond ASCII.
func IsValueByte(b byte) bool { return classes[b]&vchar != 0 }

// IsTargetByte reports whether b may stand in a request target: visible, or
// beyond ASCII, which some clients send unescaped.
func IsTargetByte(b byte) bool { return classes[b]&target != 0 }

func all(s string, class uint8) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// IsToken reports whether s is a token (RFC 9110, section 5.6.2).
func IsToken(s string) bool { return s != "" && all(s, tchar) }

// IsFieldName reports whether s may be the name of a field here: a token without
// upper-case letters.
func IsFieldName(s string) bool { return s != "" && all(s, lower) }

// CheckValue returns nil if v may be the value of a field, else the reason that
// fits it best: NUL, CR and LF are what smuggling is made of.
func CheckValue(v string) *Error {
	if all(v, vchar) && (v == "" || !blank(v[0]) && !blank(v[len(v)-1])) {
		return nil
	}
	return ValueError(v)
}

func blank(b byte) bool { return b == ' ' || b == '\t' }

// ValueError says what is wrong with a field value that is not one.
func ValueError[T string | []byte](v T) *Error {
	for i := range len(v) {
		switch v[i] {
		case 0:
			return Refuse(NUL, "in the field value %.40q", v)
		case '\r':
			return Refuse(BareCR, "in the field value %.40q", v)
		case '\n':
			return Refuse(BareLF, "in the field value %.40q", v)
		}
	}
	return Refuse(BadFieldValue, "%.40q", v)
}

// CheckField returns nil if f may be a field of a neutral message.
func CheckField(f Field) *Error {
	if !IsFieldName(f.Name) {
		return Refuse(BadFieldName, "%.40q", f.Name)
	}
	return CheckValue(f.Value)
}
