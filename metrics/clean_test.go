package metrics

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzClean holds every label's value to what may be one.
func FuzzClean(f *testing.F) {
	for _, value := range []string{
		"", "web", "wéb", "a\nb", "\x1b[31m", "\u202e", "\xff\xfe", "\x00", strings.Repeat("x", 256), strings.Repeat("é", 200), strings.Repeat("\xff", 300),
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := clean(value)
		if got == "" || len(got) > maxLabelValue || !utf8.ValidString(got) {
			t.Fatalf("%q became %q", value, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) && r != unicode.ReplacementChar {
				t.Fatalf("%q became %q", value, got)
			}
		}
		if clean(got) != got {
			t.Fatalf("%q became %q, and that %q", value, got, clean(got))
		}
	})
}
