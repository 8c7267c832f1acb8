package detect

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

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

// clientTests are asked in order; the first that matches, with none before it
// still possible, names the protocol.
var clientTests = []test{
	{tlsctx.HTTP2, prefix("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
	{tlsctx.TLS, isTLS},
	{tlsctx.SSH, prefix("SSH-2.0-")},
	{tlsctx.AMQP, isAMQP},
	{tlsctx.HTTP1, isHTTP1},
	{tlsctx.Redis, isRedis},
	{tlsctx.NATS, words("CONNECT {", "PING\r\n")},
	{tlsctx.SMTP, words("EHLO ", "HELO ", "LHLO ")},
	{tlsctx.PostgreSQL, isPostgreSQL},
	{tlsctx.MongoDB, isMongoDB},
	{tlsctx.Kafka, isKafka},
	{tlsctx.MQTT, isMQTT},
}

// Client says which protocol a client that has sent b speaks: [tlsctx.Opaque]
// when none is recognised, and [tlsctx.Unknown] while there are too few bytes.
// The answer does not depend on how the bytes were cut into pieces.
func Client(b []byte) (tlsctx.Protocol, Verdict) { return classify(clientTests, b) }

// serverTests recognise servers that speak first.
var serverTests = []test{
	{tlsctx.HTTP2, isHTTP2Settings},
	{tlsctx.SSH, prefix("SSH-2.0-")},
	{tlsctx.NATS, words("INFO {")},
	{tlsctx.SMTP, isSMTPGreeting},
	{tlsctx.MySQL, isMySQLGreeting},
}

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

// isTLS looks for a handshake record of version 3.x that holds a ClientHello
// (RFC 8446, section 5.1).
func isTLS(b []byte) (matches, possible bool) {
	want := []func(byte) bool{
		is(22), is(3), func(c byte) bool { return c <= 4 },
		any8, any8, is(1),
	}
	return each(b, want)
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

// isAMQP looks for the protocol header of AMQP 0-9-1 and 1.0.
func isAMQP(b []byte) (matches, possible bool) {
	if m, p := prefix("AMQP")(b); !m {
		return false, p
	}
	if len(b) < 8 {
		return false, true
	}
	return slices.ContainsFunc([][]byte{{0, 0, 9, 1}, {0, 1, 0, 0}, {2, 1, 0, 0}, {3, 1, 0, 0}, {1, 1, 0, 10}, {1, 1, 8, 0}, {1, 1, 0, 9}, {1, 1, 9, 1}},
		func(v []byte) bool { return bytes.Equal(v, b[4:8]) }), false
}

// maxMethod bounds an HTTP method, in bytes; the longest registered one has 17.
const maxMethod = 24

// isHTTP1 looks for a request line (RFC 9112, section 3): a token, a space, a
// target, a space and a version of HTTP/1. One empty line may come before it
// (section 2.2).
func isHTTP1(b []byte) (matches, possible bool) {
	if m, p := prefix("\r\n")(b); m {
		b = b[2:]
	} else if p {
		return false, true
	}
	method := 0
	for ; method < len(b) && isTokenChar(b[method]); method++ {
		if method == maxMethod {
			return false, false
		}
	}
	switch {
	case method == len(b):
		return false, true
	case method == 0 || b[method] != ' ':
		return false, false
	}
	target := b[method+1:]
	n := 0
	for ; n < len(target) && target[n] > ' ' && target[n] != 0x7f; n++ {
	}
	switch {
	case n == len(target):
		return false, true
	case n == 0 || target[n] != ' ':
		return false, false
	}
	return prefixAt(target, n+1, "HTTP/1.")
}

// isTokenChar reports whether c may be in a token (RFC 9110, section 5.6.2).
func isTokenChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isRedis looks for a RESP array of bulk strings, which every client library
// sends.
func isRedis(b []byte) (matches, possible bool) {
	if b[0] != '*' {
		return false, false
	}
	i := 1
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if i > 7 {
			return false, false
		}
	}
	if i == 1 && i < len(b) {
		return false, false
	}
	return prefixAt(b, i, "\r\n$")
}

// prefixAt matches the text from an offset on.
func prefixAt(b []byte, at int, text string) (matches, possible bool) {
	if at >= len(b) {
		return false, true
	}
	return prefix(text)(b[at:])
}

// isPostgreSQL looks for a startup message of protocol 3, or a request for
// TLS, GSSAPI or cancellation (PostgreSQL, section 55.7).
func isPostgreSQL(b []byte) (matches, possible bool) {
	if len(b) >= 4 {
		if n := binary.BigEndian.Uint32(b); n < 8 || n > 10_000 {
			return false, false
		}
	} else if b[0] != 0 || len(b) > 1 && b[1] != 0 {
		return false, false
	}
	if len(b) < 8 {
		code := []byte{0, 3, 0}
		alternative := []byte{4, 210, 22} // 80877102 to 80877104
		rest := b[min(len(b), 4):]
		n := min(len(rest), 3)
		return false, bytes.Equal(rest[:n], code[:n]) || bytes.Equal(rest[:n], alternative[:n])
	}
	switch code := binary.BigEndian.Uint32(b[4:]); {
	case code >= 80877102 && code <= 80877104:
		return true, true
	case code>>16 != 3:
		return false, false
	case len(b) == 8:
		return false, true
	default: // the name of a parameter; in a Kafka request a correlation id
		return b[8] >= 'a' && b[8] <= 'z' || b[8] == '_', false
	}
}

// isMongoDB looks for a message header with one of the request opcodes.
func isMongoDB(b []byte) (matches, possible bool) {
	if len(b) >= 4 && !mongoLength(b) {
		return false, false
	}
	for _, c := range b[min(len(b), 8):min(len(b), 12)] {
		if c != 0 { // a request responds to nothing
			return false, false
		}
	}
	if len(b) < 16 {
		return false, true
	}
	switch binary.LittleEndian.Uint32(b[12:]) {
	case 2004, 2012, 2013: // OP_QUERY, OP_COMPRESSED, OP_MSG
		return true, false
	default:
		return false, false
	}
}

// mongoLength reports whether a message may be that long: up to 48 MB.
func mongoLength(b []byte) bool {
	n := binary.LittleEndian.Uint32(b)
	return n >= 16 && n <= 48_000_000
}

// isKafka looks for the header of a first request: ApiVersions, Metadata or
// SaslHandshake, with a client id of printable characters (Kafka protocol guide).
func isKafka(b []byte) (matches, possible bool) {
	if b[0] != 0 {
		return false, false
	}
	if len(b) < 14 {
		return false, len(b) < 8 || kafkaKey(b)
	}
	id := int16(binary.BigEndian.Uint16(b[12:]))
	size := binary.BigEndian.Uint32(b)
	if !kafkaKey(b) || id < -1 || id > 255 || size < 10 || size > 1<<20 {
		return false, false
	}
	name := b[14:min(len(b), 14+max(int(id), 0))]
	for _, c := range name {
		if c < ' ' || c > '~' {
			return false, false
		}
	}
	return len(name) == max(int(id), 0), true
}

// kafkaKey reports whether key and version are those of a request that clients
// start with.
func kafkaKey(b []byte) bool {
	key, version := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	return (key == 18 || key == 3 || key == 17) && version <= 20
}

// isMQTT looks for a CONNECT packet (MQTT 3.1.1 and 5.0, section 3.1).
func isMQTT(b []byte) (matches, possible bool) {
	if b[0] != 0x10 {
		return false, false
	}
	i := 1
	for ; i < len(b) && b[i]&0x80 != 0; i++ {
		if i == 4 {
			return false, false
		}
	}
	if m, p := prefixAt(b, i+1, "\x00\x04MQTT"); m || p {
		return m, p
	}
	return prefixAt(b, i+1, "\x00\x06MQIsdp")
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

// isSMTPGreeting looks for 220 (RFC 5321, section 4.2), of one line or several.
// FTP greets with the same code; so 220 alone says no more than that the server
// speaks first, in lines.
func isSMTPGreeting(b []byte) (matches, possible bool) {
	if m, p := words("220 ", "220-")(b); !m {
		return false, p
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	if !whole && len(b) < 512 {
		return false, true
	}
	return bytes.Contains(bytes.ToUpper(line), []byte("SMTP")), false
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
