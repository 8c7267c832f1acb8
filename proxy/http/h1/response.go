package h1

import (
	"strings"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// Response is the head of a response as HTTP/1 carries it. It is reused.
type Response struct {
	message.Response

	// Minor is the version's: 1 for HTTP/1.1, 0 for HTTP/1.0.
	Minor int

	// KeepAlive says that the server means to go on with the connection after
	// this response.
	KeepAlive bool

	// Body is how the content is framed.
	Body Framing

	// Upgrade is the protocol of a 101, in lower case.
	Upgrade string

	head head
}

// Framing says how the end of content is found (RFC 9112, section 6.3).
type Framing int

// The ways.
const (
	NoBody     Framing = iota
	Sized              // Length bytes
	Chunked            // a chunk of no bytes
	UntilClose         // the end of the connection
	Tunnel             // what follows are no messages any more
)

// Parse parses the head of a response to the method (RFC 9112, section 4) at the
// start of b and returns its length, or 0 if it is not complete yet; seen says
// how many bytes an earlier call has looked at. It lowers the names of fields in
// b, and keeps nothing of b.
func (r *Response) Parse(b []byte, seen int, method string, limits *Limits) (int, error) {
	n, err := endOfHead(b, seen, limits.HeadBytes)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		const start = "HTTP/1."
		if got := min(len(b), len(start)); string(b[:got]) != start[:got] {
			return 0, message.Refuse(message.BadStatusLine, "%.40q", b)
		}
		return 0, nil
	}
	if err := r.parse(b[:n], method, limits); err != nil {
		return 0, err
	}
	return n, nil
}

func (r *Response) parse(b []byte, method string, limits *Limits) *message.Error {
	r.Response.Reset()
	r.Minor, r.KeepAlive, r.Body, r.Upgrade = 0, false, NoBody, ""
	end, err := line(b, 0)
	if err != nil {
		return err
	}
	if err := r.head.fields(b, end+2, limits.Fields); err != nil {
		return err
	}
	text := string(b)
	if err := r.statusLine(text[:end]); err != nil {
		return err
	}
	r.Fields = r.head.append(r.Fields, text)
	if err := r.framing(text, method); err != nil {
		return err
	}
	return r.connection()
}

// statusLine parses HTTP-version SP status-code [SP reason-phrase]; some servers
// leave out the last space.
func (r *Response) statusLine(text string) *message.Error {
	refused := func() *message.Error { return message.Refuse(message.BadStatusLine, "%.80q", text) }
	const length = len("HTTP/1.1 200")
	if len(text) < length || text[:7] != "HTTP/1." || text[8] != ' ' || len(text) > length && text[length] != ' ' {
		return refused()
	}
	switch text[7] {
	case '1':
		r.Minor = 1
	case '0':
	default:
		return message.Refuse(message.BadVersion, "%.8q", text)
	}
	for _, c := range []byte(text[9:length]) {
		if c < '0' || c > '9' {
			return refused()
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 {
		return message.Refuse(message.BadStatus, "%d", r.Status)
	}
	for i := length; i < len(text); i++ {
		if !message.IsValueByte(text[i]) {
			return message.ValueError(text[length:])
		}
	}
	return nil
}

// framing decides how the content ends (RFC 9112, section 6.3).
func (r *Response) framing(text, method string) *message.Error {
	length, chunked, err := r.head.framing(text, r.Minor)
	if err != nil {
		return err
	}
	r.Length = length
	switch {
	case r.Status == 101:
		r.Body = Tunnel
	case r.Status < 200 || r.Status == 204:
		if r.Length > 0 || chunked {
			return message.Refuse(message.BadContentLength, "a response of status %d has no content", r.Status)
		}
		r.Length = message.Unknown
	case method == "CONNECT" && r.Status < 300:
		r.Body, r.Length = Tunnel, message.Unknown
	case method == "HEAD" || r.Status == 304:
	case chunked:
		r.Body = Chunked
	case length > 0:
		r.Body = Sized
	case length == message.Unknown:
		r.Body = UntilClose
	}
	if r.head.lengths > 0 && r.Length == message.Unknown {
		r.Fields = drop(r.Fields, "content-length")
	}
	return nil
}

func drop(fields []message.Field, name string) []message.Field {
	kept := fields[:0]
	for _, f := range fields {
		if f.Name != name {
			kept = append(kept, f)
		}
	}
	clear(fields[len(kept):])
	return kept
}

// connection acts on the fields that belong to the connection, and drops them.
func (r *Response) connection() *message.Error {
	r.KeepAlive = r.Minor == 1 && r.Body != UntilClose
	if !r.head.special {
		if r.Status == 101 {
			return message.Refuse(message.BadUpgrade, "a 101 without upgrade")
		}
		return nil
	}
	if err := message.CheckConnection(r.Fields); err != nil {
		return err
	}
	switch {
	case message.Nominated(r.Fields, "close"):
		r.KeepAlive = false
	case message.Nominated(r.Fields, "keep-alive"):
		r.KeepAlive = r.Body != UntilClose
	}
	if r.Status == 101 {
		v, _ := message.Get(r.Fields, "upgrade")
		if !isProtocol(v) {
			return message.Refuse(message.BadUpgrade, "a 101 to %.40q", v)
		}
		r.Upgrade = strings.ToLower(v)
	}
	r.Fields = message.DropConnectionSpecific(r.Fields)
	return nil
}
