package identity

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds of attribute names and values, in bytes, and of their number.
const (
	MaxAttributeName  = 63
	MaxAttributeValue = 255
	MaxAttributes     = 64
)

// Attribute is one fact about a workload: an OpenTelemetry resource attribute
// name, such as k8s.namespace.name, and its value.
type Attribute struct {
	Name  string
	Value string
}

// Attributes is an immutable set of attributes, sorted by name, each name once.
// The zero value is the empty set.
type Attributes struct{ sorted []Attribute }

// NewAttributes returns the set of the given attributes. It refuses invalid
// names and values ([ValidateAttributeName], [ValidateAttributeValue]), a name
// given twice, and more than [MaxAttributes].
func NewAttributes(attributes ...Attribute) (Attributes, error) {
	if len(attributes) > MaxAttributes {
		return Attributes{}, fmt.Errorf("identity: %d attributes are more than the %d allowed", len(attributes), MaxAttributes)
	}
	sorted := slices.Clone(attributes)
	slices.SortFunc(sorted, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
	for i, a := range sorted {
		if err := ValidateAttributeName(a.Name); err != nil {
			return Attributes{}, err
		}
		if err := ValidateAttributeValue(a.Value); err != nil {
			return Attributes{}, fmt.Errorf("identity: attribute %s: %w", a.Name, err)
		}
		if i > 0 && sorted[i-1].Name == a.Name {
			return Attributes{}, fmt.Errorf("identity: attribute %s is given twice", a.Name)
		}
	}
	return Attributes{sorted: sorted}, nil
}

// Get returns the value of the named attribute and whether there is one.
func (a Attributes) Get(name string) (string, bool) {
	i, found := slices.BinarySearchFunc(a.sorted, name, func(at Attribute, name string) int {
		return strings.Compare(at.Name, name)
	})
	if !found {
		return "", false
	}
	return a.sorted[i].Value, true
}

// Len returns the number of attributes.
func (a Attributes) Len() int { return len(a.sorted) }

// All yields the attributes in the order of their names.
func (a Attributes) All() iter.Seq[Attribute] { return slices.Values(a.sorted) }

// Select returns the attributes whose name keep accepts.
func (a Attributes) Select(keep func(name string) bool) Attributes {
	var kept []Attribute
	for _, at := range a.sorted {
		if keep(at.Name) {
			kept = append(kept, at)
		}
	}
	return Attributes{sorted: kept}
}

// Equal reports whether both sets hold the same names and values.
func (a Attributes) Equal(b Attributes) bool { return slices.Equal(a.sorted, b.sorted) }

// String returns name=value pairs, comma-separated, values quoted.
func (a Attributes) String() string {
	var b strings.Builder
	for i, at := range a.sorted {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s=%q", at.Name, at.Value)
	}
	return b.String()
}

// ValidateAttributeName reports whether name is [a-z][a-z0-9_]* segments joined
// by dots, each further segment [a-z0-9_]+, of at most [MaxAttributeName] bytes.
func ValidateAttributeName(name string) error {
	if name == "" || len(name) > MaxAttributeName || name[0] < 'a' || name[0] > 'z' {
		return fmt.Errorf("identity: %.80q is no attribute name: want %s", name, attributeNameForm)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
		case c == '.' && name[i-1] != '.' && i+1 < len(name):
		default:
			return fmt.Errorf("identity: %.80q is no attribute name: want %s", name, attributeNameForm)
		}
	}
	return nil
}

const attributeNameForm = "[a-z][a-z0-9_]*(.[a-z0-9_]+)* of at most 63 bytes"

// ValidateAttributeValue reports whether value is UTF-8 in Unicode
// normalization form C, of 1 to [MaxAttributeValue] bytes, without control,
// format, line-separator, paragraph-separator, private-use or surrogate
// characters, so that equal values look alike and a value cannot break the line
// or the direction of what it is printed in.
func ValidateAttributeValue(value string) error {
	switch {
	case value == "" || len(value) > MaxAttributeValue:
		return fmt.Errorf("a value of %d bytes is outside 1 to %d", len(value), MaxAttributeValue)
	case isPrintableASCII(value):
		return nil
	case !utf8.ValidString(value):
		return fmt.Errorf("%q is not UTF-8", value)
	case !norm.NFC.IsNormalString(value):
		return fmt.Errorf("%q is not in Unicode normalization form C", value)
	}
	for _, r := range value {
		if unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
			return fmt.Errorf("%q holds the character %U, which is not allowed", value, r)
		}
	}
	return nil
}

// isPrintableASCII is the fast path: such a string is valid by construction.
func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
