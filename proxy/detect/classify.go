package detect

import (
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// MaxPeek is how many bytes are looked at before a protocol counts as opaque.
// The longest prefix that any recognised protocol needs is far shorter; only an
// HTTP/1 request line can be this long.
const MaxPeek = 8 << 10

// Verdict says how far the bytes seen so far decide.
type Verdict int

const (
	// More: what has come is the beginning of something, and not enough.
	More Verdict = iota

	// Decided: more bytes would not change the answer.
	Decided
)

// test is one protocol's look at the first bytes. It reports whether they match,
// and whether more could still make them match.
type test struct {
	protocol tlsctx.Protocol
	match    func(b []byte) (matches, possible bool)
}

// Client says which protocol a client that has sent b speaks: [tlsctx.Opaque]
// when none is recognised, and [tlsctx.Unknown] while there are too few bytes.
// The answer does not depend on how the bytes were cut into pieces.
func Client(b []byte) (tlsctx.Protocol, Verdict) { return classify(clientTests, b) }

// Server says which protocol a server that has sent b, before its client said
// anything, speaks.
func Server(b []byte) (tlsctx.Protocol, Verdict) { return classify(serverTests, b) }

func classify(tests []test, b []byte) (tlsctx.Protocol, Verdict) {
	if len(b) == 0 {
		return tlsctx.Unknown, More
	}
	undecided := false
	for _, t := range tests {
		matches, possible := t.match(b)
		if matches && !undecided {
			return t.protocol, Decided
		}
		undecided = undecided || matches || possible
	}
	if undecided && len(b) < MaxPeek {
		return tlsctx.Unknown, More
	}
	return tlsctx.Opaque, Decided
}

// prefix matches bytes that begin with the text.
func prefix(text string) func([]byte) (bool, bool) { return words(text) }

// words matches bytes that begin with any of the texts.
func words(texts ...string) func([]byte) (bool, bool) {
	return func(b []byte) (matches, possible bool) {
		for _, text := range texts {
			n := min(len(b), len(text))
			if string(b[:n]) == text[:n] {
				matches = matches || n == len(text)
				possible = true
			}
		}
		return matches, possible
	}
}

func is(c byte) func(byte) bool { return func(got byte) bool { return got == c } }

func any8(byte) bool { return true }

// each matches one byte after the other.
func each(b []byte, want []func(byte) bool) (matches, possible bool) {
	for i, ok := range want {
		if i == len(b) {
			return false, true
		}
		if !ok(b[i]) {
			return false, false
		}
	}
	return true, true
}

// prefixAt matches the text from an offset on.
func prefixAt(b []byte, at int, text string) (matches, possible bool) {
	if at >= len(b) {
		return false, true
	}
	return prefix(text)(b[at:])
}
