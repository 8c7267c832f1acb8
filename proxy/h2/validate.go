package h2

import (
	"errors"
	"strings"
)

// Why a header block is not one of a message (RFC 9113, section 8). The text
// names no byte of the peer's.
var (
	errName       = errors.New("a field name is no lower-case token")
	errValue      = errors.New("a field value has a byte that none may have")
	errConnection = errors.New("a field belongs to a connection")
	errPseudo     = errors.New("a pseudo-field is unknown, repeated, late or missing")
	errMethod     = errors.New("the method is no token")
	errTarget     = errors.New("scheme, authority and path make no target")
	errStatus     = errors.New("the status is none")
	errCount      = errors.New("content-length is no number, or several")
	errEnd        = errors.New("the message ends where it may not, or not where it must")
	errBody       = errors.New("content-length and data disagree")
)

// pseudo are the pseudo-fields that have been seen, a bit each.
type pseudo uint8

const (
	pseudoMethod pseudo = 1 << iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus
)

// readHeaders checks the fields of a block and makes them a header block of the
// kind, into h. Of a response, h says whether it is an informational one.
func readHeaders(h *Headers, kind Kind, fields []Field) error {
	*h = Headers{Kind: kind}
	var seen pseudo
	i := 0
	for ; i < len(fields) && strings.HasPrefix(fields[i].Name, ":"); i++ {
		bit, place := h.pseudo(fields[i].Name)
		if bit == 0 || seen&bit != 0 {
			return errPseudo
		}
		seen |= bit
		if !validValue(fields[i].Value) {
			return errValue
		}
		if bit == pseudoStatus {
			if h.Status = parseStatus(fields[i].Value); h.Status == 0 {
				return errStatus
			}
			continue
		}
		*place = fields[i].Value
	}
	h.Fields = fields[i:]
	for j := range h.Fields {
		if err := checkField(&h.Fields[j]); err != nil {
			return err
		}
	}
	return h.check(seen)
}

// pseudo returns the bit and the place of a pseudo-field that the kind may have,
// or 0.
func (h *Headers) pseudo(name string) (pseudo, *string) {
	if h.Kind == Response {
		if name == ":status" {
			return pseudoStatus, nil
		}
		return 0, nil
	}
	if h.Kind != Request {
		return 0, nil
	}
	switch name {
	case ":method":
		return pseudoMethod, &h.Method
	case ":scheme":
		return pseudoScheme, &h.Scheme
	case ":authority":
		return pseudoAuthority, &h.Authority
	case ":path":
		return pseudoPath, &h.Path
	case ":protocol":
		return pseudoProtocol, &h.Protocol
	}
	return 0, nil
}

// check looks at the pseudo-fields together (RFC 9113, sections 8.3 and 8.5; RFC
// 8441, section 4).
func (h *Headers) check(seen pseudo) error {
	switch h.Kind {
	case Trailers:
		return nil
	case Response:
		switch {
		case h.Status == 0:
			return errStatus
		case h.Status < 200:
			h.Kind = Informational
		}
		return nil
	case Request, Informational:
	}
	if seen&pseudoMethod == 0 {
		return errPseudo
	}
	if !token(h.Method) {
		return errMethod
	}
	if seen&pseudoAuthority != 0 && !validAuthority(h.Authority) {
		return errTarget
	}
	if h.Method == MethodConnect && seen&pseudoProtocol == 0 {
		if seen&(pseudoScheme|pseudoPath) != 0 || h.Authority == "" {
			return errTarget
		}
		return nil
	}
	if seen&pseudoProtocol != 0 && (h.Method != MethodConnect || !token(h.Protocol) || h.Authority == "") {
		return errPseudo
	}
	if seen&pseudoScheme == 0 || seen&pseudoPath == 0 {
		return errPseudo
	}
	if !validScheme(h.Scheme) || !validPath(h.Path, h.Method) {
		return errTarget
	}
	return nil
}

// checkField checks one field line (RFC 9113, sections 8.2.1 and 8.2.2).
func checkField(f *Field) error {
	if !lowerToken(f.Name) {
		if strings.HasPrefix(f.Name, ":") {
			return errPseudo
		}
		return errName
	}
	if !validValue(f.Value) {
		return errValue
	}
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return errConnection
	case "te":
		if f.Value != "trailers" {
			return errConnection
		}
	}
	return nil
}

// tokenBytes are the bytes of a token (RFC 9110, section 5.6.2).
var tokenBytes = func() (set [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		set[b] = true
	}
	return set
}()

func token(text string) bool {
	for i := range len(text) {
		if !tokenBytes[text[i]] {
			return false
		}
	}
	return text != ""
}

func lowerToken(text string) bool {
	for i := range len(text) {
		if b := text[i]; !tokenBytes[b] || b >= 'A' && b <= 'Z' {
			return false
		}
	}
	return text != ""
}

// validValue: visible, spaces and tabs within, and bytes above ASCII (RFC 9110,
// section 5.5).
func validValue(text string) bool {
	for i := range len(text) {
		if b := text[i]; b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return text == "" || !blank(text[0]) && !blank(text[len(text)-1])
}

func blank(b byte) bool { return b == ' ' || b == '\t' }

// validAuthority: a host and a port, and no user (RFC 9113, section 8.3.1).
func validAuthority(text string) bool {
	for i := range len(text) {
		switch b := text[i]; {
		case b <= ' ', b >= 0x7f:
			return false
		case strings.IndexByte(`"#/<>?@\^{|}`+"`", b) >= 0:
			return false
		}
	}
	return true
}

// validScheme follows RFC 3986, section 3.1.
func validScheme(text string) bool {
	for i := range len(text) {
		switch b := text[i]; {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z':
		case i > 0 && (b >= '0' && b <= '9' || b == '+' || b == '-' || b == '.'):
		default:
			return false
		}
	}
	return text != ""
}

// validPath: an absolute path with a query, or the asterisk of OPTIONS (RFC
// 9113, section 8.3.1).
func validPath(text, method string) bool {
	if text == "" || text[0] != '/' && (text != "*" || method != "OPTIONS") {
		return false
	}
	for i := range len(text) {
		if b := text[i]; b <= ' ' || b == 0x7f || b == '#' {
			return false
		}
	}
	return true
}

// parseStatus returns a status from 100 to 599, without 101, which HTTP/2 does
// not have (RFC 9113, section 8.6), or 0.
func parseStatus(text string) int {
	if len(text) != 3 {
		return 0
	}
	n := 0
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0
		}
		n = 10*n + int(text[i]-'0')
	}
	if n < 100 || n == 101 || n > 999 {
		return 0
	}
	return n
}

// contentLength returns what content-length says, -1 if there is none.
func contentLength(fields []Field) (int64, error) {
	length := int64(-1)
	for i := range fields {
		if fields[i].Name != "content-length" {
			continue
		}
		text := fields[i].Value
		if text == "" || len(text) > 18 || length >= 0 {
			return 0, errCount
		}
		length = 0
		for j := range len(text) {
			if text[j] < '0' || text[j] > '9' {
				return 0, errCount
			}
			length = 10*length + int64(text[j]-'0')
		}
	}
	return length, nil
}
