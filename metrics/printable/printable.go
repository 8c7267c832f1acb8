// Package printable makes what a peer, a client or an error says fit to be shown:
// on one line, bounded, and without anything that a terminal, a log or a page
// would take for more than text.
//
// It never decides what is shown, only how.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Max bounds a text, in bytes.
const Max = 2 << 10

// Text makes a text fit for one line on any terminal: bounded by [Max], valid
// UTF-8, without control or format characters.
func Text(text string) string {
	if isPlain(text) {
		return text
	}
	if len(text) > Max {
		text = strings.ToValidUTF8(text[:Max], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' ' // errors.Join puts each error on a line
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return unicode.ReplacementChar
		default:
			return r
		}
	}, text)
}

// isPlain is the quick answer for what is almost always the case.
func isPlain(text string) bool {
	if len(text) > Max {
		return false
	}
	for i := range len(text) {
		if text[i] < 0x20 || text[i] > 0x7e {
			return false
		}
	}
	return true
}

// Path makes the path of a request fit to be shown, as [Escape] does. The query is
// left out: it is where tokens and names of people are.
func Path(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return Escape(path)
}

// Escape makes a part of a URL fit to be shown without making it another: what is
// not printable ASCII is percent-encoded. It is bounded by [Max].
func Escape(text string) string {
	printable := func(b byte) bool { return b > 0x20 && b < 0x7f }
	plain := len(text) <= Max
	for i := 0; plain && i < len(text); i++ {
		plain = printable(text[i])
	}
	if plain {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text) && b.Len() < Max-2; i++ {
		if printable(text[i]) {
			b.WriteByte(text[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", text[i])
		}
	}
	return b.String()
}
