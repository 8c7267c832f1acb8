package message

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckAuthority(t *testing.T) {
	for _, good := range []string{"h", "H.example", "h:80", "h:", "127.0.0.1:1", "[::1]", "[::1]:443", "a-b_c~d", "h%41"} {
		if err := CheckAuthority(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ":80", "u@h", "h/x", "h?x", "h#x", "a b", "a,b", "h:x", "h:123456", "h:1:2", "[::1", "::1", "[::1]x", "[x]", "[]", "h]", "h\\x", "h\r\n", "h\x00", "\xe9",
	} {
		if CheckAuthority(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for _, c := range []struct {
		method, path string
		ok           bool
	}{
		{"GET", "/", true},
		{"GET", "/a?b=c", true},
		{"GET", "//a", true},
		{"GET", "/\xe9", true},
		{"OPTIONS", "*", true},
		{"GET", "*", false},
		{"GET", "", false},
		{"GET", "a", false},
		{"GET", "/a b", false},
		{"GET", "/#a", false},
		{"GET", "/\x00", false},
		{"GET", "/\r\n", false},
	} {
		if got := CheckPath(c.method, c.path) == nil; got != c.ok {
			t.Errorf("%s %q: taken %t", c.method, c.path, got)
		}
	}
}

func TestParseLength(t *testing.T) {
	for v, want := range map[string]int64{"0": 0, "1": 1, "9223372036854775807": 1<<63 - 1} {
		if got, err := ParseLength(v); err != nil || got != want {
			t.Errorf("%q: %d, %v", v, got, err)
		}
	}
	for _, v := range []string{"", "00", "01", "+1", "-1", "1 ", " 1", "1,1", "0x1", "1e1", "9223372036854775808", "99999999999999999999"} {
		if _, err := ParseLength(v); err == nil || err.Reason != BadContentLength {
			t.Errorf("%q: %v", v, err)
		}
	}
}

func TestCheckField(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        Reason
	}{
		{"a", "b c", ""},
		{"a", "", ""},
		{"a", "\xe9", ""},
		{"a", "b\tc", ""},
		{"", "b", BadFieldName},
		{"A", "b", BadFieldName},
		{"a b", "c", BadFieldName},
		{"a:", "b", BadFieldName},
		{"a", "b\r", BareCR},
		{"a", "b\nc", BareLF},
		{"a", "\x00", NUL},
		{"a", "\x7f", BadFieldValue},
		{"a", " b", BadFieldValue},
		{"a", "b\t", BadFieldValue},
	} {
		var got Reason
		if err := CheckField(Field{Name: c.name, Value: c.value}); err != nil {
			got = err.Reason
		}
		if got != c.want {
			t.Errorf("%q: %q: got %q, want %q", c.name, c.value, got, c.want)
		}
	}
}

// parse makes fields of name: value lines.
func parse(lines ...string) (fields []Field) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		fields = append(fields, Field{Name: name, Value: value})
	}
	return fields
}

func format(fields []Field) (lines []string) {
	for _, f := range fields {
		lines = append(lines, f.Name+": "+f.Value)
	}
	return lines
}

// TestConnectionSpecific: RFC 9110, section 7.6.1.
func TestConnectionSpecific(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"a: b"}, []string{"a: b"}},
		{[]string{"connection: close", "a: b"}, []string{"a: b"}},
		{[]string{"a: b", "connection: A, c", "c: d", "e: f"}, []string{"e: f"}},
		{[]string{"connection: a", "connection: c", "a: b", "c: d"}, nil},
		{[]string{"te: trailers", "connection: te"}, []string{"te: trailers"}},
		{[]string{"te: gzip", "connection: te"}, nil},
		{[]string{"te: gzip, Trailers"}, []string{"te: trailers"}},
		{[]string{"keep-alive: 1", "proxy-connection: x", "transfer-encoding: chunked", "upgrade: x", "http2-settings: x", "trailer: y"}, []string{"trailer: y"}},
	} {
		got := format(DropConnectionSpecific(parse(c.in...)))
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
	for _, bad := range []string{"host", "Content-Length", "transfer-encoding", "x, authorization", "cookie", "a b", "\xe9"} {
		if err := CheckConnection(parse("connection: " + bad)); err == nil || err.Reason != BadConnection {
			t.Errorf("connection: %q: %v", bad, err)
		}
	}
	if err := CheckConnection(parse("connection: close, , x")); err != nil {
		t.Error(err)
	}
}

func TestMethods(t *testing.T) {
	for method, want := range map[string][2]bool{"GET": {true, true}, "HEAD": {true, true}, "PUT": {false, true}, "DELETE": {false, true}, "POST": {}, "get": {}} {
		r := Request{Method: method}
		if r.Safe() != want[0] || r.Idempotent() != want[1] {
			t.Errorf("%s: safe %t, idempotent %t", method, r.Safe(), r.Idempotent())
		}
	}
}

func TestGRPC(t *testing.T) {
	for kind, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc;a=b": true, "application/grpc-web": false, "text/plain": false, "": false,
	} {
		r := Request{Fields: parse("content-type: " + kind)}
		if r.GRPC() != want {
			t.Errorf("%q: %t", kind, !want)
		}
	}
}

func TestError(t *testing.T) {
	var err error = Refuse(BadHost, "%.5q", "a host")
	if refused := (*Error)(nil); !errors.As(err, &refused) || err.Error() != `malformed message: bad_host: "a hos"` {
		t.Errorf("got %v", err)
	}
}
