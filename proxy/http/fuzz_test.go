package http

import (
	"bytes"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// FuzzTranslate: whatever comes through HTTP/2 and is taken, once it is written
// as HTTP/1, is one request with the same parts; and what the identity rules strip
// is not in it.
func FuzzTranslate(f *testing.F) {
	f.Add("GET", "http", "h", "/", "", "a", "b", "cookie", "c", false)
	f.Add("POST", "http", "h:80", "/?x", "", "content-length", "3", "host", "h:80", false)
	f.Add("POST", "https", "[::1]", "/", "", "te", "trailers", "x_forwarded_client_cert", "evil", true)
	f.Add("CONNECT", "", "h:1", "", "", "a", "b", "c", "d", false)
	f.Add("CONNECT", "http", "h", "/", "websocket", "sec-websocket-version", "13", "upgrade", "x", false)
	f.Add("GET", "http", "h", "/ HTTP/1.1\r\nx: y\r\n\r\n", "", "a\r\nb", "c\r\nd", "transfer-encoding", "chunked", false)
	f.Add("OPTIONS", "http", "", "*", "", "host", "x", "connection", "close", true)
	limits := h1.Limits{}.Defaults()
	identity := newIdentityFields(&Identity{})
	f.Fuzz(func(t *testing.T, method, scheme, authority, path, protocol, name1, value1, name2, value2 string, end bool) {
		h := h2.Headers{
			Kind: h2.Request, Method: method, Scheme: scheme, Authority: authority, Path: path, Protocol: protocol,
			Fields: []h2.Field{{Name: name1, Value: value1}, {Name: name2, Value: value2}},
		}
		var r message.Request
		if err := requestOf(&r, &h, end); err != nil {
			return
		}
		if h.Protocol == "" && h.Method == "CONNECT" && (h.Path != "" || h.Scheme != "") {
			return // which package h2 refuses
		}
		r.Fields = identity.strip(r.Fields)
		wire := h1.AppendRequest(nil, &r)
		var again h1.Request
		n, err := again.Parse(bytes.Clone(wire), 0, r.Scheme, &limits)
		if err != nil || n != len(wire) {
			t.Fatalf("%+v became %q: %d of %d, %v", h, wire, n, len(wire), err)
		}
		if again.Authority != r.Authority || again.Method != r.Method && again.Protocol == "" || again.Path != r.Path {
			t.Fatalf("%+v became %+v by %q", r, again.Request, wire)
		}
		if again.Length != max(r.Length, -1) && !r.Tunnel() {
			t.Fatalf("%+v became %+v by %q", r, again.Request, wire)
		}
		want, got := framed(r.Fields), framed(again.Fields)
		if len(want) != len(got) {
			t.Fatalf("%q became %q by %q", want, got, wire)
		}
		for i := range want {
			if want[i] != got[i] {
				t.Fatalf("%q became %q by %q", want, got, wire)
			}
		}
		for _, field := range again.Fields {
			if identity.speaksOfIdentity(field.Name) {
				t.Fatalf("%q came through in %q", field.Name, wire)
			}
		}
	})
}

// framed returns the fields without those that frame the message and what is
// the connection's, which are each side's own.
func framed(fields []message.Field) (list []string) {
	for _, f := range fields {
		if f.Name != "content-length" && f.Name != "te" {
			list = append(list, f.Name+": "+f.Value)
		}
	}
	return list
}

// FuzzResponseOf: a response that comes through HTTP/2 and is taken, written as
// HTTP/1, is one response of the same status.
func FuzzResponseOf(f *testing.F) {
	f.Add(200, "a", "b", "content-length", "3")
	f.Add(204, "content-length", "0", "a", "b")
	f.Add(103, "link", "x", "a", "b\r\n\r\nHTTP/1.1 200 OK")
	f.Add(304, "etag", "x", "content-length", "5")
	limits := h1.Limits{}.Defaults()
	f.Fuzz(func(t *testing.T, status int, name1, value1, name2, value2 string) {
		if status < 100 || status > 599 || status == 101 {
			return // which package h2 refuses
		}
		h := h2.Headers{Kind: h2.Response, Status: status, Fields: []h2.Field{{Name: name1, Value: value1}, {Name: name2, Value: value2}}}
		var r message.Response
		if err := responseOf(&r, &h); err != nil {
			return
		}
		o := h1.Outgoing{}
		switch {
		case !r.HasBody("GET"):
		case r.Length >= 0:
			o.Body = h1.Sized
		default:
			o.Body = h1.Chunked
		}
		wire := h1.AppendResponse(nil, &r, o)
		var again h1.Response
		n, err := again.Parse(bytes.Clone(wire), 0, "GET", &limits)
		if err != nil || n != len(wire) || again.Status != status {
			t.Fatalf("%+v became %q: %d of %d, %v", h, wire, n, len(wire), err)
		}
	})
}
