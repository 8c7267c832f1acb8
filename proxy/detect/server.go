package detect

import (
	"bytes"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// serverTests recognise servers that speak first.
var serverTests = []test{
	{tlsctx.HTTP2, isHTTP2Settings},
	{tlsctx.SSH, prefix("SSH-2.0-")},
	{tlsctx.NATS, words("INFO {")},
	{tlsctx.SMTP, isSMTPGreeting},
	{tlsctx.MySQL, isMySQLGreeting},
}

// isHTTP2Settings looks for a SETTINGS frame on stream 0, which is the server's
// connection preface (RFC 9113, section 3.4): grpc-go and net/http send it
// before they have read the client's.
func isHTTP2Settings(b []byte) (matches, possible bool) {
	want := []func(byte) bool{
		is(0), is(0), func(c byte) bool { return c%6 == 0 }, is(4), is(0), is(0), is(0), is(0), is(0),
	}
	return each(b, want)
}

// maxGreeting bounds a line of a greeting, in bytes (RFC 5321, section
// 4.5.3.1.5); what comes later does not count, or the answer would depend on how
// the bytes were cut.
const maxGreeting = 512

// isSMTPGreeting looks for 220 (RFC 5321, section 4.2), of one line or several.
// FTP greets with the same code; so 220 alone says no more than that the server
// speaks first, in lines.
func isSMTPGreeting(b []byte) (matches, possible bool) {
	if m, p := words("220 ", "220-")(b); !m {
		return false, p
	}
	line, _, whole := bytes.Cut(b[:min(len(b), maxGreeting)], []byte("\n"))
	if !whole && len(b) < maxGreeting {
		return false, true
	}
	line = bytes.ToUpper(line)
	return bytes.Contains(line, []byte("SMTP")) || bytes.Contains(line, []byte("LMTP")), false
}

// isMySQLGreeting looks for the initial handshake packet of protocol 10, with
// sequence number 0 and a version text (MySQL, Protocol::HandshakeV10), or for
// the error packet that refuses a host.
func isMySQLGreeting(b []byte) (matches, possible bool) {
	want := []func(byte) bool{
		any8, is(0), is(0), is(0), func(c byte) bool { return c == 10 || c == 0xff },
	}
	m, p := each(b, want)
	if !m || b[4] == 0xff {
		return m, p
	}
	if len(b) < 6 {
		return false, true
	}
	return b[5] >= '0' && b[5] <= '9', false
}
