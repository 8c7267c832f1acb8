package printable

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain": "plain", "naïve ✓": "naïve ✓", "a\nb": "a b", "\x1b[31mred": "\ufffd[31mred",
		"\u202eevil": "\ufffdevil", "\x9b31m": "\ufffd31m", "\u009b31m": "\ufffd31m", "\xff": "\ufffd",
	} {
		if got := Text(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestPath(t *testing.T) {
	for path, want := range map[string]string{
		"/a b\n": "/a%20b%0A", "/%20/": "/%20/", "/ü": "/%C3%BC", "": "", "/\x7f": "/%7F", "/x?token=secret": "/x", "?": "",
	} {
		if got := Path(path); got != want {
			t.Errorf("%q became %q, want %q", path, got, want)
		}
	}
}

// FuzzText wants a line that is fit for a terminal, whatever it was.
func FuzzText(f *testing.F) {
	for _, text := range []string{"a\nb", "\x1b]0;x\a", "\u202e", "\xff\xfe", "é", strings.Repeat("\x00", Max), strings.Repeat("é", Max)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Text(text)
		if !utf8.ValidString(got) || len(got) > 3*Max+len("…") { // a replacement takes three bytes
			t.Fatalf("%q became %q", text, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q became %q", text, got)
			}
		}
	})
}

// FuzzPath wants a path that is fit for a terminal, whatever it was.
func FuzzPath(f *testing.F) {
	for _, path := range []string{"/a b\n", "/%20/", "/ü", "", "/\x7f\xff", "/?a=b", "/" + strings.Repeat("\x00", Max)} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := Path(path)
		if len(got) > Max {
			t.Errorf("%d bytes", len(got))
		}
		for i := range len(got) {
			if got[i] <= ' ' || got[i] > '~' || got[i] == '?' {
				t.Fatalf("%q became %q", path, got)
			}
		}
		if !strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' || r == '?' }) && len(path) <= Max && got != path {
			t.Errorf("%q became %q", path, got)
		}
	})
}
