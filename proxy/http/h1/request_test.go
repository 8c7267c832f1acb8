package h1

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// parse parses a whole request, given byte by byte to a first parser and at once
// to a second: both must agree.
func parse(t *testing.T, raw string) (*Request, int, error) {
	t.Helper()
	limits := Limits{}.Defaults()
	var slow, fast Request
	var n int
	var err error
	seen := 0
	b := []byte(raw)
	for i := 1; i <= len(b) && n == 0 && err == nil; i++ {
		n, err = slow.Parse(b[:i], seen, "http", &limits)
		seen = i
	}
	n2, err2 := fast.Parse([]byte(raw), 0, "http", &limits)
	if (err == nil) != (err2 == nil) || err == nil && n != n2 {
		t.Fatalf("%.80q: byte by byte %d, %v; at once %d, %v", raw, n, err, n2, err2)
	}
	return &fast, n2, err2
}

func fields(fs []message.Field) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "%s=%s;", f.Name, f.Value)
	}
	return b.String()
}

func show(r *Request) string {
	s := fmt.Sprintf("%s|%s|%s|%s|%s|%s|%d", r.Method, r.Scheme, r.Authority, r.Path, r.Protocol, fields(r.Fields), r.Length)
	if !r.KeepAlive {
		s += "|close"
	}
	return s
}

func TestRequest(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"RFC 9112 3 origin-form", "GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n", "GET|http|h|/a?b=c|||0"},
		{"RFC 9112 2.2 an empty line before is ignored", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET|http|h|/|||0"},
		{"RFC 9112 3.2.2 absolute-form wins over host", "GET http://a:80/x HTTP/1.1\r\nHost: b\r\n\r\n", "GET|http|a:80|/x|||0"},
		{"RFC 9112 3.2.2 absolute-form without path", "GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n", "GET|http|a|/?x|||0"},
		{"RFC 9112 3.2.3 authority-form", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT||a:443||||0"},
		{"RFC 9112 3.2.4 asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS|http|a|*|||0"},
		{"RFC 9112 3.2.4 absolute OPTIONS", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS|http|a|*|||0"},
		{"RFC 9112 3.2 an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET|http||/|||0"},
		{"RFC 9110 5.1 names in any case", "GET / HTTP/1.1\r\nHOST: h\r\nX-Ab: C\r\n\r\n", "GET|http|h|/||x-ab=C;|0"},
		{"RFC 9112 5 optional whitespace", "GET / HTTP/1.1\r\nHost: \t h \r\nA:b\r\nC: \t \r\n\r\n", "GET|http|h|/||a=b;c=;|0"},
		{"RFC 9110 5.5 bytes beyond ASCII", "GET / HTTP/1.1\r\nHost: h\r\nA: \xe9\r\n\r\n", "GET|http|h|/||a=\xe9;|0"},
		{"RFC 9112 6.2 content-length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", "POST|http|h|/||content-length=3;|3"},
		{"RFC 9112 6.1 chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n", "POST|http|h|/|||-1"},
		{"RFC 9112 9.6 close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", "GET|http|h|/|||0|close"},
		{"RFC 9112 9.3 HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "GET|http||/|||0|close"},
		{"RFC 9112 9.3 HTTP/1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET|http||/|||0"},
		{
			"RFC 9110 7.6.1 what connection names goes",
			"GET / HTTP/1.1\r\nHost: h\r\nX: 1\r\nConnection: x, Foo\r\nFoo: 2\r\nBar: 3\r\nKeep-Alive: 4\r\nProxy-Connection: x\r\n\r\n",
			"GET|http|h|/||bar=3;|0",
		},
		{"RFC 9110 10.1.4 te", "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers, gzip\r\nConnection: TE\r\n\r\n", "GET|http|h|/||te=trailers;|0"},
		{"RFC 9110 10.1.4 te without trailers", "GET / HTTP/1.1\r\nHost: h\r\nTE: gzip\r\nConnection: TE\r\n\r\n", "GET|http|h|/|||0"},
		{
			"RFC 6455 4.1 and RFC 8441 4",
			"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: k\r\n\r\n",
			"CONNECT|http|h|/ws|websocket|sec-websocket-key=k;|0",
		},
		{"RFC 9113 3.1 h2c is not taken", "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n", "GET|http|h|/|||0"},
		{"RFC 9110 7.8 upgrade with content is ignored", "POST / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\n", "POST|http|h|/||content-length=1;|1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, n, err := parse(t, c.raw)
			if err != nil || n != len(c.raw) {
				t.Fatalf("parsed %d of %d, %v", n, len(c.raw), err)
			}
			if got := show(r); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestRequestRefused(t *testing.T) {
	const h = "GET / HTTP/1.1\r\nHost: h\r\n"
	post := func(fields string) string { return "POST / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" }
	for _, c := range []struct {
		name, raw string
		want      message.Reason
	}{
		{"RFC 9112 2.2 bare LF", "GET / HTTP/1.1\nHost: h\n\n", message.BareLF},
		{"RFC 9112 2.2 bare LF ends the head", h + "\n", message.BareLF},
		{"RFC 9112 2.2 bare LF in a field", h + "A: b\nC: d\r\n\r\n", message.BareLF},
		{"RFC 9112 2.2 bare CR", h + "A: b\rC: d\r\n\r\n", message.BareCR},
		{"RFC 9112 2.2 CR CR LF", h + "A: b\r\r\n\r\n", message.BareCR},
		{"RFC 9110 5.5 NUL", h + "A: b\x00c\r\n\r\n", message.NUL},
		{"RFC 9110 5.5 a control", h + "A: b\x01c\r\n\r\n", message.BadFieldValue},
		{"RFC 9110 5.5 DEL", h + "A: b\x7f\r\n\r\n", message.BadFieldValue},
		{"RFC 9112 5.2 obs-fold", h + "A: b\r\n c\r\n\r\n", message.ObsoleteFold},
		{"RFC 9112 2.2 a blank before the first field", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", message.ObsoleteFold},
		{"RFC 9112 5.1 whitespace before the colon", h + "A : b\r\n\r\n", message.SpaceBeforeColon},
		{"RFC 9112 5.1 tab before the colon", h + "A\t: b\r\n\r\n", message.SpaceBeforeColon},
		{"RFC 9112 5 no name", h + ": b\r\n\r\n", message.BadFieldName},
		{"RFC 9112 5 no colon", h + "Ab\r\n\r\n", message.BadFieldName},
		{"RFC 9112 5 a name beyond ASCII", h + "\xe9: b\r\n\r\n", message.BadFieldName},
		{"RFC 9112 5 NUL in a name", h + "A\x00: b\r\n\r\n", message.NUL},
		{"RFC 9112 3 two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", message.BadRequestLine},
		{"RFC 9112 3 a space at the end", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", message.BadRequestLine},
		{"RFC 9112 3 a tab", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", message.BadRequestLine},
		{"RFC 9112 3 HTTP/0.9", "GET /\r\n\r\n", message.BadRequestLine},
		{"RFC 9112 3 a space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", message.BadRequestLine},
		{"RFC 9112 3.1 a method that is none", "G(T / HTTP/1.1\r\nHost: h\r\n\r\n", message.BadMethod},
		{"RFC 9112 2.3 HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", message.BadVersion},
		{"RFC 9112 2.3 HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", message.BadVersion},
		{"RFC 9112 2.3 lower case", "GET / http/1.1\r\nHost: h\r\n\r\n", message.BadRequestLine},
		{"RFC 9112 2.3 HTTP/01.1", "GET / HTTP/01.1\r\nHost: h\r\n\r\n", message.BadRequestLine},
		{"RFC 9112 3.2 no host", "GET / HTTP/1.1\r\n\r\n", message.BadHost},
		{"RFC 9112 3.2 two hosts", h + "Host: h\r\n\r\n", message.BadHost},
		{"RFC 9112 3.2 a malformed host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", message.BadHost},
		{"RFC 9112 3.2 a host with user information", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", message.BadHost},
		{"RFC 9112 3.2 a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", message.BadHost},
		{"RFC 9112 3.2 two hosts in one", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", message.BadHost},
		{"RFC 9112 3.2.1 no slash", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", message.BadTarget},
		{"RFC 9112 3.2.1 a fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", message.BadTarget},
		{"RFC 9112 3.2.2 another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", message.BadTarget},
		{"RFC 9112 3.2.2 no host in the target", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", message.BadHost},
		{"RFC 9112 3.2.3 CONNECT without port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", message.BadTarget},
		{"RFC 9112 3.2.4 GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", message.BadTarget},
		{"RFC 9112 6.3 length and coding", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), message.LengthAndCoding},
		{"RFC 9112 6.3 coding and length", post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), message.LengthAndCoding},
		{"RFC 9112 6.3 two lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n"), message.RepeatedLength},
		{"RFC 9112 6.3 the same length twice", post("Content-Length: 3\r\nContent-Length: 3\r\n"), message.RepeatedLength},
		{"RFC 9112 6.3 a list of lengths", post("Content-Length: 3, 3\r\n"), message.BadContentLength},
		{"RFC 9110 8.6 plus", post("Content-Length: +3\r\n"), message.BadContentLength},
		{"RFC 9110 8.6 minus", post("Content-Length: -3\r\n"), message.BadContentLength},
		{"RFC 9110 8.6 hexadecimal", post("Content-Length: 0x3\r\n"), message.BadContentLength},
		{"RFC 9110 8.6 empty", post("Content-Length:\r\n"), message.BadContentLength},
		{"RFC 9110 8.6 a leading zero", post("Content-Length: 03\r\n"), message.BadContentLength},
		{"RFC 9110 8.6 2^63", post("Content-Length: 9223372036854775808\r\n"), message.BadContentLength},
		{"RFC 9112 6.1 another coding", post("Transfer-Encoding: gzip\r\n"), message.BadTransferEncoding},
		{"RFC 9112 6.1 gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n"), message.BadTransferEncoding},
		{"RFC 9112 6.1 chunked twice", post("Transfer-Encoding: chunked, chunked\r\n"), message.BadTransferEncoding},
		{"RFC 9112 6.1 two fields", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), message.BadTransferEncoding},
		{"RFC 9112 6.1 identity", post("Transfer-Encoding: identity\r\n"), message.BadTransferEncoding},
		{"RFC 9112 6.1 quoted", post("Transfer-Encoding: \"chunked\"\r\n"), message.BadTransferEncoding},
		{"RFC 9112 6.1 a vertical tab", post("Transfer-Encoding: \vchunked\r\n"), message.BadFieldValue},
		{"RFC 9112 6.1 a coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", message.BadTransferEncoding},
		{"RFC 9110 7.6.1 connection names content-length", post("Content-Length: 3\r\nConnection: content-length\r\n"), message.BadConnection},
		{"RFC 9110 7.6.1 connection names host", post("Connection: Host\r\n"), message.BadConnection},
		{"RFC 9110 9.3.6 CONNECT with content", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\n", message.BadContentLength},
		{"two empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", message.BadRequestLine},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", message.BadRequestLine},
		{"too many fields", h + strings.Repeat("A: b\r\n", DefaultFields) + "\r\n", message.TooManyFields},
		{"too long", h + "A: " + strings.Repeat("a", DefaultHeadBytes) + "\r\n\r\n", message.HeadTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := parse(t, c.raw)
			var refused *message.Error
			if !errors.As(err, &refused) || refused.Reason != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
