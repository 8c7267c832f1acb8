package h1

import (
	"bytes"
	"strings"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// Request is the head of a request as HTTP/1 carries it. It is reused.
type Request struct {
	message.Request

	// Minor is the version's: 1 for HTTP/1.1, 0 for HTTP/1.0.
	Minor int

	// KeepAlive says that the client means to go on with the connection after
	// this request (RFC 9112, section 9.3).
	KeepAlive bool

	// Continue says that the client waits for 100 (Continue) before it sends
	// the body (RFC 9110, section 10.1.1).
	Continue bool

	head head
}

// Parse parses the head of a request (RFC 9112, section 3) at the start of b and
// returns its length, or 0 if it is not complete yet; seen says how many bytes
// an earlier call has looked at. It lowers the names of fields in b, and keeps
// nothing of b. scheme is what the connection stands for: http or https.
//
// An Upgrade in a GET without a body becomes an extended CONNECT (RFC 8441, with
// the fields that a WebSocket handshake has kept as they are); in any other
// request, and for h2c, it is ignored, as a server may (RFC 9110, section 7.8).
func (r *Request) Parse(b []byte, seen int, scheme string, limits *Limits) (int, error) {
	blank, err := skipEmptyLine(b)
	if err != nil {
		return 0, err
	}
	n, err := endOfHead(b[blank:], max(seen-blank, 0), limits.HeadBytes)
	if err != nil {
		if err.Reason == message.HeadTooLarge && bytes.IndexByte(b[blank:], '\n') < 0 {
			err.Reason = message.TargetTooLong // RFC 9112, section 3: 414, not 431
		}
		return 0, err
	}
	if n == 0 {
		return 0, earlyLine(b[blank:])
	}
	if err := r.parse(b[blank:blank+n], scheme, limits); err != nil {
		return 0, err
	}
	return blank + n, nil
}

// skipEmptyLine returns the length of one empty line before a request, which a
// server ignores (RFC 9112, section 2.2).
func skipEmptyLine(b []byte) (int, *message.Error) {
	switch {
	case len(b) == 0 || b[0] != '\r' && b[0] != '\n':
		return 0, nil
	case b[0] == '\n':
		return 0, message.Refuse(message.BareLF, "before a request")
	case len(b) > 1 && b[1] != '\n':
		return 0, message.Refuse(message.BareCR, "before a request")
	case len(b) > 2 && (b[2] == '\r' || b[2] == '\n'):
		return 0, message.Refuse(message.BadRequestLine, "more than one empty line before it")
	}
	return min(len(b), 2), nil
}

// earlyLine refuses the beginning of what cannot become a request, so that
// something else than HTTP is not waited for until the limit.
func earlyLine(b []byte) error {
	for i := range min(len(b), 64) {
		switch {
		case b[i] == ' ' && i > 0:
			return nil
		case !message.IsTokenByte(b[i]):
			return message.Refuse(message.BadRequestLine, "%.40q", b)
		}
	}
	if len(b) > 64 {
		return message.Refuse(message.BadMethod, "%.40q", b)
	}
	return nil
}

func (r *Request) parse(b []byte, scheme string, limits *Limits) *message.Error {
	r.Request.Reset()
	r.Minor, r.KeepAlive, r.Continue = 0, false, false
	end, err := line(b, 0)
	if err != nil {
		return err
	}
	if err := r.head.fields(b, end+2, limits.Fields); err != nil {
		return err
	}
	text := string(b)
	r.Scheme = scheme
	target, err := r.requestLine(text[:end])
	if err != nil {
		return err
	}
	r.Fields = r.head.append(r.Fields, text)
	length, chunked, err := r.head.framing(text, r.Minor)
	if err != nil {
		return err
	}
	if r.Length = length; length == message.Unknown && !chunked {
		r.Length = 0
	}
	if err := r.target(target); err != nil {
		return err
	}
	return r.connection()
}

// requestLine parses method SP request-target SP HTTP-version and returns the
// target.
func (r *Request) requestLine(text string) (string, *message.Error) {
	method, rest, ok := strings.Cut(text, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	switch {
	case !ok || !ok2:
		return "", message.Refuse(message.BadRequestLine, "%.80q", text)
	case !message.IsToken(method) || len(method) > 64:
		return "", message.Refuse(message.BadMethod, "%.40q", method)
	case version == "HTTP/1.1":
		r.Minor = 1
	case version == "HTTP/1.0":
	case isVersion(version):
		return "", message.Refuse(message.BadVersion, "%q: this is for HTTP/1.1 and HTTP/1.0", version)
	default:
		return "", message.Refuse(message.BadRequestLine, "%.80q", text)
	}
	for i := range len(target) {
		if !message.IsTargetByte(target[i]) {
			return "", message.Refuse(message.BadTarget, "%.80q", target)
		}
	}
	r.Method = method
	return target, nil
}

// isVersion reports whether v has the form of a version (RFC 9112, section 2.3).
func isVersion(v string) bool {
	rest, ok := strings.CutPrefix(v, "HTTP/")
	return ok && len(rest) == 3 && rest[1] == '.' && rest[0] >= '0' && rest[0] <= '9' && rest[2] >= '0' && rest[2] <= '9'
}

// target fills in authority and path from the request target (RFC 9112, section
// 3.2) and the host field, which goes.
func (r *Request) target(target string) *message.Error {
	host, err := r.takeHost()
	if err != nil {
		return err
	}
	r.Authority = host
	switch {
	case target == "":
		return message.Refuse(message.BadTarget, "empty")
	case r.Method == "CONNECT":
		return r.authorityForm(target)
	case target[0] == '/' || target == "*":
		r.Path = target
	default:
		return r.absoluteForm(target)
	}
	return message.CheckPath(r.Method, r.Path)
}

// takeHost removes the host field and returns its value. HTTP/1.1 has exactly
// one, which may be empty (RFC 9112, section 3.2).
func (r *Request) takeHost() (string, *message.Error) {
	switch {
	case r.head.hosts > 1:
		return "", message.Refuse(message.BadHost, "%d host fields", r.head.hosts)
	case r.head.hosts == 0 && r.Minor == 1:
		return "", message.Refuse(message.BadHost, "no host field")
	case r.head.hosts == 0:
		return "", nil
	}
	for i := range r.Fields {
		if r.Fields[i].Name != "host" {
			continue
		}
		host := r.Fields[i].Value
		r.Fields = append(r.Fields[:i], r.Fields[i+1:]...)
		if host == "" {
			return "", nil
		}
		return host, message.CheckAuthority(host)
	}
	return "", nil
}

// authorityForm is the target of CONNECT: host and port (RFC 9112, section
// 3.2.3).
func (r *Request) authorityForm(target string) *message.Error {
	if err := message.CheckAuthority(target); err != nil {
		return err
	}
	if i := strings.LastIndexByte(target, ':'); i < 0 || i == len(target)-1 || target[i+1] == ']' {
		return message.Refuse(message.BadTarget, "%.80q: CONNECT needs a port", target)
	}
	r.Scheme, r.Authority = "", target
	return nil
}

// absoluteForm is what a client sends to a proxy; its authority counts, and the
// host field does not (RFC 9112, section 3.2.2).
func (r *Request) absoluteForm(target string) *message.Error {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return message.Refuse(message.BadTarget, "%.80q", target)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	r.Scheme = strings.ToLower(scheme)
	r.Authority, r.Path = rest[:end], rest[end:]
	if err := message.CheckAuthority(r.Authority); err != nil {
		return err
	}
	switch {
	case r.Path == "" && r.Method == "OPTIONS":
		r.Path = "*"
	case r.Path == "" || r.Path[0] != '/':
		r.Path = "/" + r.Path
	}
	return message.CheckPath(r.Method, r.Path)
}

// connection acts on the fields that belong to the connection, and drops them.
func (r *Request) connection() *message.Error {
	r.KeepAlive = r.Minor == 1
	if r.head.expects > 0 {
		if err := r.expect(); err != nil {
			return err
		}
	}
	switch {
	case r.Method == "CONNECT" && (r.head.lengths > 0 || r.head.codings > 0):
		return message.Refuse(message.BadContentLength, "CONNECT has no content")
	case r.Method == "TRACE" && r.Length != 0:
		return message.Refuse(message.BadContentLength, "TRACE has no content")
	}
	if !r.head.special {
		return nil
	}
	if err := message.CheckConnection(r.Fields); err != nil {
		return err
	}
	switch {
	case message.Nominated(r.Fields, "close"):
		r.KeepAlive = false
	case message.Nominated(r.Fields, "keep-alive"):
		r.KeepAlive = true
	}
	err := r.upgrade()
	r.Fields = message.DropConnectionSpecific(r.Fields)
	return err
}

// expect acts on Expect (RFC 9110, section 10.1.1). It means nothing in HTTP/1.0,
// and nothing where no content follows: whoever is behind us is not asked either.
func (r *Request) expect() *message.Error {
	if r.Minor == 1 {
		for i := range r.Fields {
			if r.Fields[i].Name != "expect" {
				continue
			}
			if err := message.CheckExpect(r.Fields[i].Value); err != nil {
				return err
			}
		}
		if r.Length != 0 {
			r.Continue = true
			return nil
		}
	}
	r.Fields = drop(r.Fields, "expect")
	return nil
}

// upgrade turns a request to upgrade into an extended CONNECT.
func (r *Request) upgrade() *message.Error {
	v, ok := message.Get(r.Fields, "upgrade")
	if !ok || r.Minor == 0 || r.Method != "GET" || r.Length != 0 || !message.Nominated(r.Fields, "upgrade") {
		return nil
	}
	protocol, rest := message.NextToken(v)
	if rest != "" || strings.EqualFold(protocol, "h2c") || !isProtocol(protocol) {
		return nil
	}
	if message.Nominated(r.Fields, "sec-websocket-key") {
		return message.Refuse(message.BadConnection, "names sec-websocket-key")
	}
	r.Method, r.Protocol = "CONNECT", strings.ToLower(protocol)
	return nil
}

// isProtocol reports whether p is protocol-name["/"protocol-version] (RFC 9110,
// section 7.8).
func isProtocol(p string) bool {
	name, version, ok := strings.Cut(p, "/")
	return message.IsToken(name) && (!ok || message.IsToken(version))
}
