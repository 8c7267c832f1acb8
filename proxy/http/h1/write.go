package h1

import (
	"strconv"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// AppendRequest appends the head of a request. An extended CONNECT becomes an
// Upgrade in a GET; the content is chunked where its length is not known. How
// the content ends is told by r.Length alone, whatever r.Fields hold.
func AppendRequest(to []byte, r *message.Request) []byte {
	upgrade := r.Protocol != ""
	switch {
	case upgrade:
		to = append(to, "GET "...)
		to = append(to, r.Path...)
	case r.Method == "CONNECT":
		to = append(to, "CONNECT "...)
		to = append(to, r.Authority...)
	default:
		to = append(to, r.Method...)
		to = append(to, ' ')
		to = append(to, r.Path...)
	}
	to = append(to, " HTTP/1.1\r\nhost: "...)
	to = append(to, r.Authority...)
	to = append(to, "\r\n"...)
	to, te := appendFields(to, r.Fields)
	if te && !upgrade { // RFC 9110, section 10.1.4
		to = append(to, "te: trailers\r\nconnection: te\r\n"...)
	}
	switch {
	case upgrade:
		to = append(to, "connection: upgrade\r\nupgrade: "...)
		to = append(to, r.Protocol...)
		to = append(to, "\r\n"...)
	case r.Method == "CONNECT":
	case r.Length == message.Unknown:
		to = append(to, "transfer-encoding: chunked\r\n"...)
	case r.Length > 0 || expectsContent(r.Method):
		to = appendLength(to, r.Length)
	}
	return append(to, "\r\n"...)
}

// expectsContent reports whether a request by the method says so if it has none
// (RFC 9110, section 8.6).
func expectsContent(method string) bool {
	return method == "POST" || method == "PUT" || method == "PATCH"
}

// Outgoing is what the head of a response says beside the message.
type Outgoing struct {
	// Body is how the content is framed.
	Body Framing

	// Close says that the connection ends with this response, KeepAlive that
	// it lives on for a client of HTTP/1.0.
	Close, KeepAlive bool

	// Upgrade is the protocol of a 101, or "".
	Upgrade string
}

// AppendResponse appends the head of a response, final or informational. How the
// content ends is told by o.Body and r.Length alone, whatever r.Fields hold.
func AppendResponse(to []byte, r *message.Response, o Outgoing) []byte {
	status := r.Status
	if o.Upgrade != "" {
		status = 101
	}
	to = append(to, "HTTP/1.1 "...)
	to = strconv.AppendInt(to, int64(status), 10)
	to = append(to, ' ')
	to = append(to, phrase(status)...)
	to = append(to, "\r\n"...)
	to, _ = appendFields(to, r.Fields)
	switch {
	case o.Upgrade != "":
		to = append(to, "connection: upgrade\r\nupgrade: "...)
		to = append(to, o.Upgrade...)
		to = append(to, "\r\n"...)
	case o.Body == Chunked:
		to = append(to, "transfer-encoding: chunked\r\n"...)
	case o.Body != Tunnel && r.Length >= 0 && status >= 200 && status != 204:
		to = appendLength(to, r.Length)
	}
	switch {
	case o.Close:
		to = append(to, "connection: close\r\n"...)
	case o.KeepAlive:
		to = append(to, "connection: keep-alive\r\n"...)
	}
	return append(to, "\r\n"...)
}

func appendLength(to []byte, n int64) []byte {
	to = append(to, "content-length: "...)
	to = strconv.AppendInt(to, n, 10)
	return append(to, "\r\n"...)
}

// appendFields appends field lines, save for those that say how the message is
// framed or where it goes: their writer knows. It reports whether there is a TE
// among them, which belongs to a request and needs a Connection beside it.
func appendFields(to []byte, fields []message.Field) (all []byte, te bool) {
	for i := range fields {
		f := &fields[i]
		switch f.Name {
		case "content-length", "transfer-encoding", "connection", "host", "upgrade":
			continue
		case "te":
			te = true
			continue
		}
		to = append(to, f.Name...)
		to = append(to, ": "...)
		to = append(to, f.Value...)
		to = append(to, "\r\n"...)
	}
	return to, te
}
