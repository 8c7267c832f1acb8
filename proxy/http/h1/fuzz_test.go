package h1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// FuzzRequest: a request that is taken has one reading. Written again it parses
// to the same, and net/http reads what was written as the same request.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /a?b HTTP/1.1\r\nHost: h:80\r\nContent-Length: 3\r\nX: y\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n",
		"GET http://h/ HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\nX: 1\r\n\r\n",
		"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
		"OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	limits := Limits{}.Defaults()
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r, again Request
		n, err := r.Parse(bytes.Clone(raw), 0, "http", &limits)
		if err != nil || n == 0 {
			return
		}
		for _, field := range r.Fields {
			if err := message.CheckField(field); err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
		}
		wire := AppendRequest(nil, &r.Request)
		m, err := again.Parse(bytes.Clone(wire), 0, "http", &limits)
		if err != nil || m != len(wire) {
			t.Fatalf("%q became %q: %d, %v", raw, wire, m, err)
		}
		again.KeepAlive, again.Minor = r.KeepAlive, r.Minor
		if got, want := showFramed(&again), showFramed(&r); got != want && !(r.Method == "CONNECT") {
			t.Fatalf("%q became\n%s\nnot\n%s", raw, got, want)
		}
		if r.Method == "CONNECT" {
			return
		}
		std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(wire)))
		if err != nil {
			return // net/http refuses more, such as odd escapes
		}
		if std.Method != r.Method || std.RequestURI != r.Path || std.ContentLength != r.Length || len(std.TransferEncoding) > 0 != (r.Length < 0) {
			t.Fatalf("%q: net/http reads %s %s %d %v", wire, std.Method, std.RequestURI, std.ContentLength, std.TransferEncoding)
		}
	})
}

// showFramed is show without what the writer adds or leaves out.
func showFramed(r *Request) string {
	r.Fields = drop(r.Fields, "content-length")
	return show(r)
}

// FuzzResponse: a response that is taken, written again, is read as the same by
// net/http.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.1 101 x\r\nUpgrade: a/b\r\nConnection: upgrade\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
	} {
		f.Add([]byte(seed), "GET")
		f.Add([]byte(seed), "HEAD")
	}
	limits := Limits{}.Defaults()
	f.Fuzz(func(t *testing.T, raw []byte, method string) {
		var r Response
		n, err := r.Parse(bytes.Clone(raw), 0, method, &limits)
		if err != nil || n == 0 || r.Body == Tunnel || r.Body == UntilClose {
			return
		}
		wire := AppendResponse(nil, &r.Response, Outgoing{Body: r.Body, Close: !r.KeepAlive})
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(wire)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q became %q: %v", raw, wire, err)
		}
		if std.StatusCode != r.Status || r.Body == Chunked != (len(std.TransferEncoding) == 1) || r.Body == Sized && std.ContentLength != r.Length {
			t.Fatalf("%q: net/http reads %d %v %d", wire, std.StatusCode, std.TransferEncoding, std.ContentLength)
		}
	})
}

// FuzzChunked: whatever the pieces in which a body comes, it decodes to the
// same, and net/http, which takes more, agrees.
func FuzzChunked(f *testing.F) {
	for _, seed := range []string{
		"3\r\nabc\r\n0\r\n\r\n", "3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\nrest", "a\r\n0123456789\r\n00\r\n\r\n", "3\nabc\n0\n\n", "5\r\nab",
	} {
		f.Add(seed, 1)
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, raw string, size int) {
		size = max(1, size%64)
		body, trailers, rest, done, err := decode(raw, 1<<30)
		body2, trailers2, rest2, done2, err2 := decode(raw, size)
		if (err == nil) != (err2 == nil) || body != body2 && err == nil || trailers != trailers2 || done != done2 || rest != rest2 {
			t.Fatalf("at once %q %q %q %v %v, by %d %q %q %q %v %v", body, trailers, rest, done, err, size, body2, trailers2, rest2, done2, err2)
		}
		if !done {
			return
		}
		head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		std, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head+raw)), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(std.Body)
		if err == nil && string(got) != body {
			t.Fatalf("%q: net/http reads %q, not %q", raw, got, body)
		}
	})
}
