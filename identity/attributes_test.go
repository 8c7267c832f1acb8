package identity_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/hallmark-mesh/hallmark/identity"
	"golang.org/x/text/unicode/norm"
)

func TestAttributeNames(t *testing.T) {
	for name, valid := range map[string]bool{
		"k8s.pod.name": true, "a": true, "a_b.c_1.2": true, strings.Repeat("a", 63): true,
		"": false, ".a": false, "a.": false, "a..b": false, "1a": false, "_a": false, "A": false, "a-b": false,
		"a b": false, "é": false, "a\x00": false, strings.Repeat("a", 64): false,
	} {
		if err := identity.ValidateAttributeName(name); (err == nil) != valid {
			t.Errorf("name %q: %v, want valid=%t", name, err, valid)
		}
	}
}

func TestAttributeValues(t *testing.T) {
	for value, valid := range map[string]bool{
		"shop": true, "a b~": true, "café": true, "日本": true, strings.Repeat("x", 255): true,
		"": false, "a\nb": false, "a\x00": false, "a\x7f": false, "cafe\u0301": false, // not NFC
		"a\u202eb": false, "a\u200bb": false, "a\u2028b": false, "\ue000": false, "\xff": false, "\xc0\xaf": false,
		strings.Repeat("x", 256): false,
	} {
		if err := identity.ValidateAttributeValue(value); (err == nil) != valid {
			t.Errorf("value %q: %v, want valid=%t", value, err, valid)
		}
	}
}

func TestAttributesAreASortedSet(t *testing.T) {
	set, err := identity.NewAttributes(identity.Attribute{Name: "b", Value: "2"}, identity.Attribute{Name: "a", Value: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := set.String(), `a="1",b="2"`; got != want {
		t.Errorf("set %s, want %s", got, want)
	}
	if v, ok := set.Get("b"); v != "2" || !ok {
		t.Errorf("b is %q, %t", v, ok)
	}
	if _, ok := set.Get("c"); ok {
		t.Error("c is there")
	}
	if _, err := identity.NewAttributes(identity.Attribute{Name: "a", Value: "1"}, identity.Attribute{Name: "a", Value: "1"}); err == nil {
		t.Error("a name given twice was accepted")
	}
	if _, err := identity.NewAttributes(make([]identity.Attribute, identity.MaxAttributes+1)...); err == nil {
		t.Error("too many attributes were accepted")
	}
	only := set.Select(func(name string) bool { return name == "a" })
	if only.Len() != 1 || set.Len() != 2 {
		t.Errorf("selected %s of %s", only, set)
	}
}

// FuzzAttribute holds the validators to what they promise.
func FuzzAttribute(f *testing.F) {
	f.Add("k8s.pod.name", "web-0")
	f.Add("a..b", "cafe\u0301")
	f.Add("", "\u202e")
	f.Fuzz(func(t *testing.T, name, value string) {
		if identity.ValidateAttributeName(name) == nil {
			if strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsUpper(r) || unicode.IsSpace(r) }) || len(name) > 63 {
				t.Errorf("name %q is taken", name)
			}
		}
		if identity.ValidateAttributeValue(value) == nil {
			if !utf8.ValidString(value) || norm.NFC.String(value) != value || strings.ContainsFunc(value, unicode.IsControl) || len(value) > 255 {
				t.Errorf("value %q is taken", value)
			}
		}
	})
}
