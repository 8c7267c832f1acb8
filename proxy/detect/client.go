package detect

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// clientTests are asked in order; the first that matches, with none before it
// still possible, names the protocol.
var clientTests = []test{
	{tlsctx.HTTP2, prefix("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
	{tlsctx.TLS, isTLS},
	{tlsctx.SSH, prefix("SSH-2.0-")},
	{tlsctx.AMQP, isAMQP},
	{tlsctx.HTTP1, isHTTP1},
	{tlsctx.Redis, isRedis},
	{tlsctx.NATS, words("CONNECT {")}, // its server has said INFO before, but may be slow
	{tlsctx.SMTP, words("EHLO ", "HELO ", "LHLO ")},
	{tlsctx.PostgreSQL, isPostgreSQL},
	{tlsctx.MongoDB, isMongoDB},
	{tlsctx.Kafka, isKafka},
	{tlsctx.MQTT, isMQTT},
	{tlsctx.Memcached, isMemcachedText},
	{tlsctx.Memcached, isMemcachedBinary},
	{tlsctx.Cassandra, isCassandra},
	{tlsctx.LDAP, isLDAP},
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
// sends, or for the one inline command that is no other protocol's: health
// checks send it.
func isRedis(b []byte) (matches, possible bool) {
	if b[0] != '*' {
		return prefix("PING\r\n")(b)
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

// maxLine bounds a line of memcached's text protocol that is looked at, in bytes.
const maxLine = 512

// isMemcachedText looks for a whole line that is one of the commands clients
// start with (memcached, protocol.txt).
func isMemcachedText(b []byte) (matches, possible bool) {
	if m, p := words("get ", "gets ", "set ", "add ", "replace ", "cas ", "mg ", "ms ", "mn\r\n", "stats\r\n", "version\r\n")(b); !m {
		return false, p
	}
	line, _, whole := bytes.Cut(b[:min(len(b), maxLine)], []byte("\r\n"))
	if !whole {
		return false, len(b) < maxLine
	}
	words := strings.Split(string(line), " ")
	switch words[0] {
	case "set", "add", "replace", "cas":
		return len(words) >= 5 && areNumbers(words[2:5]), false
	default:
		return !slices.Contains(words, ""), false
	}
}

func areNumbers(words []string) bool {
	for _, w := range words {
		if w == "" || strings.Trim(w, "0123456789") != "" && w != "-1" {
			return false
		}
	}
	return true
}

// isMemcachedBinary looks for the header of a request that clients start with:
// it has a key, or is one that has nothing at all.
func isMemcachedBinary(b []byte) (matches, possible bool) {
	want := []func(byte) bool{
		is(0x80), func(c byte) bool { return c <= 0x24 }, is(0), func(c byte) bool { return c <= 250 },
		func(c byte) bool { return c <= 20 }, is(0), is(0), is(0),
	}
	if m, p := each(b, want); !m || len(b) < 12 {
		return false, p
	}
	key, extras, body := uint32(b[3]), uint32(b[4]), binary.BigEndian.Uint32(b[8:])
	return body >= key+extras && body <= 1<<20 && (key > 0) == (body > 0), false
}

// isCassandra looks for the OPTIONS or STARTUP frame that opens a connection
// (CQL binary protocol, section 2).
func isCassandra(b []byte) (matches, possible bool) {
	want := []func(byte) bool{
		func(c byte) bool { return c >= 3 && c <= 6 }, func(c byte) bool { return c <= 0x1f },
		any8, any8, func(c byte) bool { return c == 1 || c == 5 }, is(0), is(0), any8, any8,
	}
	if m, p := each(b, want); !m {
		return false, p
	}
	empty := b[7] == 0 && b[8] == 0
	return empty == (b[4] == 5), false
}

// isLDAP looks for a message that holds a bind, a search or an extended request
// (RFC 4511, section 4), with a short message ID and a length in any form that
// clients use.
func isLDAP(b []byte) (matches, possible bool) {
	if b[0] != 0x30 {
		return false, false
	}
	at := 2
	if len(b) > 1 && b[1] > 0x80 {
		at += int(b[1] - 0x80)
	}
	if at > 2+4 {
		return false, false
	}
	want := []func(byte) bool{is(2), is(1), any8, func(c byte) bool { return c == 0x60 || c == 0x63 || c == 0x77 }}
	return each(b[min(len(b), at):], want)
}
