package message

import (
	"strconv"
	"strings"
)

// Lengths of a body that are no number of bytes.
const (
	// Unknown: the body ends when its sender says so.
	Unknown int64 = -1
)

// Request is the head of a request. Its strings stay valid when it is reused;
// its Fields slice does not.
type Request struct {
	// Method is a token (RFC 9110, section 9), case-sensitive.
	Method string

	// Scheme is http or https, or "" for CONNECT.
	Scheme string

	// Authority is host[:port], or "" from an HTTP/1.0 client that named none.
	Authority string

	// Path is the path and query, "*" for OPTIONS, or "" for CONNECT.
	Path string

	// Protocol is what an extended CONNECT (RFC 8441) asks for, such as
	// websocket, in lower case. An HTTP/1.1 Upgrade becomes one.
	Protocol string

	// Fields are the rest, in order, without those of one connection: no
	// connection, transfer-encoding, upgrade or host.
	Fields []Field

	// Length is the body's length in bytes, or [Unknown]. If it was stated
	// then Fields hold the content-length as well.
	Length int64
}

// Response is the head of a response, final or informational.
type Response struct {
	// Status is 100 to 999.
	Status int

	// Fields are as those of a request.
	Fields []Field

	// Length is the body's length in bytes, or [Unknown]: what was stated. A
	// response to HEAD and a 304 have no body whatever it says.
	Length int64
}

// Reset empties the request and keeps the space for its fields.
func (r *Request) Reset() {
	clear(r.Fields)
	*r = Request{Fields: r.Fields[:0]}
}

// Reset empties the response and keeps the space for its fields.
func (r *Response) Reset() {
	clear(r.Fields)
	*r = Response{Fields: r.Fields[:0]}
}

// Informational reports whether the response is an interim one: 1xx, but for
// 101, which is final for the message.
func (r *Response) Informational() bool { return r.Status < 200 && r.Status != 101 }

// HasBody reports whether a final response to the method has a body at all (RFC
// 9110, section 6.4.1), leaving aside tunnels.
func (r *Response) HasBody(method string) bool {
	return method != "HEAD" && r.Status >= 200 && r.Status != 204 && r.Status != 304
}

// Tunnel reports whether the request asks for a tunnel: CONNECT, extended or
// not.
func (r *Request) Tunnel() bool { return r.Method == "CONNECT" }

// Safe reports whether the method is safe (RFC 9110, section 9.2.1).
func (r *Request) Safe() bool {
	switch r.Method {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// Idempotent reports whether the method is (RFC 9110, section 9.2.2): such a
// request may be sent again when nobody knows what became of it.
func (r *Request) Idempotent() bool {
	return r.Safe() || r.Method == "PUT" || r.Method == "DELETE"
}

// GRPC reports whether the request is gRPC's: then a failure is told as a
// grpc-status.
func (r *Request) GRPC() bool { return GRPC(r.Fields) }

// GRPC reports whether the content-type among the fields is gRPC's.
func GRPC(fields []Field) bool {
	kind, ok := Get(fields, "content-type")
	rest, is := strings.CutPrefix(kind, "application/grpc")
	return ok && is && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// CheckExpect returns nil if v, the value of an Expect field, asks for nothing but
// 100 (Continue): what else would be expected of whoever reads it nobody here can
// promise (RFC 9110, section 10.1.1).
func CheckExpect(v string) *Error {
	if strings.EqualFold(v, "100-continue") {
		return nil
	}
	return Refuse(BadExpectation, "%.40q", v)
}

// ParseLength parses the value of a content-length field (RFC 9110, section
// 8.6), strictly: digits alone, no leading zero, below 2^63.
func ParseLength(v string) (int64, *Error) {
	refused := func() *Error { return Refuse(BadContentLength, "%.40q", v) }
	if v == "" || len(v) > 19 || v[0] == '0' && len(v) > 1 {
		return 0, refused()
	}
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return 0, refused()
		}
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, refused()
	}
	return n, nil
}

// CheckAuthority returns nil if a may be a host with an optional port (RFC 3986,
// sections 3.2.2 and 3.2.3): no user information, no list, nothing that another
// parser might cut elsewhere.
func CheckAuthority(a string) *Error {
	hostname, port := a, ""
	switch i := strings.LastIndexByte(a, ':'); {
	case strings.HasPrefix(a, "["):
		end := strings.IndexByte(a, ']')
		if end < 0 || !isIPv6(a[1:end]) || end+1 < len(a) && a[end+1] != ':' {
			return Refuse(BadHost, "%.80q", a)
		}
		hostname = "v6"
		if end+1 < len(a) {
			port = a[end+2:]
		}
	case i >= 0:
		hostname, port = a[:i], a[i+1:]
	}
	if hostname == "" || !all(hostname, host) || strings.ContainsAny(hostname, ":[]") || !isPort(port) {
		return Refuse(BadHost, "%.80q", a)
	}
	return nil
}

func isIPv6(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F', c == ':', c == '.':
		default:
			return false
		}
	}
	return strings.Contains(s, ":")
}

func isPort(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) <= 5
}

// CheckPath returns nil if p may be the path and query of a request by the
// method: from a slash on, or an asterisk for OPTIONS, no fragment.
func CheckPath(method, p string) *Error {
	if p == "*" && method == "OPTIONS" {
		return nil
	}
	if p == "" || p[0] != '/' || !all(p, target) || strings.IndexByte(p, '#') >= 0 {
		return Refuse(BadTarget, "%.80q", p)
	}
	return nil
}
