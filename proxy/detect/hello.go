package detect

import (
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Hello is what a ClientHello says in clear (RFC 8446, section 4.1.2). It comes
// from somebody who has not proved anything.
type Hello struct {
	// ServerName is the host name asked for (RFC 6066, section 3), in lower
	// case; "" if there is none or it is no DNS name.
	ServerName string

	// Protocols are the ALPN identifiers offered (RFC 7301, section 3.1), in
	// the client's order: arbitrary bytes, at most [MaxALPN] of them.
	Protocols []string
}

// MaxALPN bounds the ALPN identifiers that are looked at.
const MaxALPN = 64

// tokenPrefix starts the tokens of every version.
const tokenPrefix = "hallmark/"

// Aware reports whether a hallmark token is among the protocols: the client
// wants a proxy like this one.
func (h Hello) Aware() bool {
	for _, p := range h.Protocols {
		if strings.HasPrefix(p, tokenPrefix) {
			return true
		}
	}
	return false
}

// Ours is the rule by which a listener that also takes plaintext tells its own
// handshakes from TLS that is for the application: a ClientHello is ours if it
// offers a hallmark token, or if the application's port is not declared as TLS.
// See [Race.Ours].
func Ours(h Hello, declaredTLS bool) bool { return !declaredTLS || h.Aware() }

const (
	recordHandshake     = 22
	typeClientHello     = 1
	extensionServerName = 0
	extensionALPN       = 16
	nameTypeHost        = 0
	maxServerName       = 253
	recordHeader        = 5
	maxRecord           = 1 << 14
	handshakeHeader     = 4
)

// ParseHello reads the ClientHello that b begins with, in however many records
// it comes; it consumes nothing. It returns More while b is the beginning of
// one, and (Hello{}, Decided, false) for what is none, or is malformed.
func ParseHello(b []byte) (hello Hello, verdict Verdict, ok bool) {
	message, verdict, ok := helloMessage(b)
	if verdict == More || !ok {
		return Hello{}, verdict, false
	}
	hello, ok = parseHello(message)
	return hello, Decided, ok
}

// helloMessage returns the body of the first handshake message.
func helloMessage(b []byte) (body []byte, verdict Verdict, ok bool) {
	var message []byte
	copied := false
	for {
		if _, possible := isTLSRecord(b); !possible {
			return nil, Decided, false
		}
		if len(b) < recordHeader {
			return nil, More, false
		}
		n := int(b[3])<<8 | int(b[4])
		if n == 0 || n > maxRecord {
			return nil, Decided, false
		}
		fragment := b[recordHeader:min(len(b), recordHeader+n)]
		switch {
		case message == nil:
			message = fragment // the usual case: one record, no copy
		case !copied:
			message, copied = append(make([]byte, 0, len(message)+len(b)), message...), true
			fallthrough
		default:
			message = append(message, fragment...)
		}
		if len(message) > 0 && message[0] != typeClientHello {
			return nil, Decided, false
		}
		if len(message) >= handshakeHeader {
			size := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
			if size > MaxPeek {
				return nil, Decided, false
			}
			if len(message) >= handshakeHeader+size {
				return message[handshakeHeader : handshakeHeader+size], Decided, true
			}
		}
		if len(b) < recordHeader+n {
			return nil, More, false
		}
		b = b[recordHeader+n:]
	}
}

// isTLSRecord looks for the start of a handshake record of version 3.x.
func isTLSRecord(b []byte) (matches, possible bool) {
	return each(b, []func(byte) bool{is(recordHandshake), is(3), func(c byte) bool { return c <= 4 }})
}

// parseHello reads the body of a ClientHello.
func parseHello(body []byte) (hello Hello, ok bool) {
	s := cryptobyte.String(body)
	var session, suites, compressions, extensions cryptobyte.String
	if !s.Skip(2+32) || !s.ReadUint8LengthPrefixed(&session) || !s.ReadUint16LengthPrefixed(&suites) ||
		!s.ReadUint8LengthPrefixed(&compressions) {
		return Hello{}, false
	}
	if s.Empty() { // before TLS 1.3 a ClientHello may end here
		return Hello{}, true
	}
	if !s.ReadUint16LengthPrefixed(&extensions) || !s.Empty() {
		return Hello{}, false
	}
	for !extensions.Empty() {
		var kind uint16
		var value cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&value) {
			return Hello{}, false
		}
		ok := true
		switch kind {
		case extensionServerName:
			hello.ServerName, ok = parseServerName(value)
		case extensionALPN:
			hello.Protocols, ok = parseALPN(value)
		}
		if !ok {
			return Hello{}, false
		}
	}
	return hello, true
}

// parseServerName reads the first host name of the list.
func parseServerName(value cryptobyte.String) (name string, ok bool) {
	var list cryptobyte.String
	if !value.ReadUint16LengthPrefixed(&list) || !value.Empty() {
		return "", false
	}
	for !list.Empty() {
		var kind uint8
		var host cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&host) {
			return "", false
		}
		if kind == nameTypeHost && name == "" {
			name = dnsName(string(host))
		}
	}
	return name, true
}

// dnsName returns the name in lower case, or "" if it is not made as names are.
func dnsName(name string) string {
	if len(name) > maxServerName {
		return ""
	}
	for i := range len(name) {
		c := name[i]
		if !isTokenChar(c) || strings.IndexByte("!#$%&'*+^`|~", c) >= 0 {
			return ""
		}
	}
	return strings.ToLower(name)
}

func parseALPN(value cryptobyte.String) (protocols []string, ok bool) {
	var list cryptobyte.String
	if !value.ReadUint16LengthPrefixed(&list) || !value.Empty() {
		return nil, false
	}
	for !list.Empty() {
		var p cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&p) || len(p) == 0 {
			return nil, false
		}
		if len(protocols) < MaxALPN {
			protocols = append(protocols, string(p))
		}
	}
	return protocols, true
}
