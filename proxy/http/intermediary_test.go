package http

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestIntermediaryRequests: what goes on of a request of HTTP/1, line by line,
// where RFC 9110 and 9112 say that whoever stands between has to change it, or may
// not.
func TestIntermediaryRequests(t *testing.T) {
	const host = "Host: h\r\n"
	for _, c := range []struct{ name, request, want string }{
		{"RFC 9112 2.3 the version is our own", "GET / HTTP/1.0\r\n" + host + "\r\n", "GET / HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"RFC 9112 3.2.2 the host of an absolute-form", "GET http://a/x HTTP/1.1\r\n" + host + "\r\n", "GET /x HTTP/1.1\r\nhost: a\r\n\r\n"},
		{"RFC 9112 3.2.4 OPTIONS of a whole server", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"},
		{"RFC 9110 7.7 path and query are as they were", "GET /%7e/../a//b?%20&& HTTP/1.1\r\n" + host + "\r\n", "GET /%7e/../a//b?%20&& HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"RFC 9110 5.1 unknown fields go on", "GET / HTTP/1.1\r\n" + host + "Unheard-Of: x\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\nunheard-of: x\r\n\r\n"},
		{"RFC 9110 5.3 the order of fields of a name", "GET / HTTP/1.1\r\n" + host + "A: 1\r\nB: 2\r\nA: 3\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\na: 1\r\nb: 2\r\na: 3\r\n\r\n"},
		{"RFC 9110 7.6.1 what Connection names", "GET / HTTP/1.1\r\n" + host + "Connection: close, a\r\nA: 1\r\nB: 2\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\nb: 2\r\n\r\n"},
		{"RFC 9110 7.6.2 Max-Forwards is counted down", "TRACE / HTTP/1.1\r\n" + host + "Max-Forwards: 3\r\n\r\n", "TRACE / HTTP/1.1\r\nhost: h\r\nmax-forwards: 2\r\n\r\n"},
		{"RFC 9110 7.6.2 for OPTIONS too", "OPTIONS * HTTP/1.1\r\n" + host + "Max-Forwards: 1\r\n\r\n", "OPTIONS * HTTP/1.1\r\nhost: h\r\nmax-forwards: 0\r\n\r\n"},
		{"RFC 9110 7.6.2 and for nothing else", "GET / HTTP/1.1\r\n" + host + "Max-Forwards: 0\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\nmax-forwards: 0\r\n\r\n"},
		{"RFC 9110 7.8 Upgrade in HTTP/1.0", "GET / HTTP/1.0\r\n" + host + "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"RFC 9110 10.1.1 Expect in HTTP/1.0", "POST / HTTP/1.0\r\n" + host + "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"},
		{"RFC 9110 10.1.1 Expect without content", "GET / HTTP/1.1\r\n" + host + "Expect: 100-continue\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"RFC 9110 10.1.4 TE comes with Connection", "GET / HTTP/1.1\r\n" + host + "TE: trailers, deflate\r\nConnection: te\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\n\r\n"},
		{"RFC 9110 11.7.1 Proxy-Authorization goes on", "GET / HTTP/1.1\r\n" + host + "Proxy-Authorization: x\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\nproxy-authorization: x\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := record(t)
			p := start(t, tlsctx.HTTP1, to(plain(t, server.address, tlsctx.HTTP1)))
			client := p.dial()
			client.send(c.request)
			client.response("HEAD")
			if got := server.all(); len(got) != 1 || got[0] != c.want {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestIntermediaryAnswers: what is answered here and goes no further.
func TestIntermediaryAnswers(t *testing.T) {
	server := record(t)
	p := start(t, tlsctx.HTTP1, to(plain(t, server.address, tlsctx.HTTP1)))
	for _, c := range []struct {
		name, request string
		status        int
		reason        string
	}{
		{"RFC 9110 15.6.6 a major version that is not ours", "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "version_not_supported"},
		{"RFC 9112 2.3 nor is a later minor one taken", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505, "version_not_supported"},
		{"RFC 9112 3 a target longer than any", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n", 414, "target_too_long"},
		{"RFC 6585 5 fields that are too long", "GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431, "request_too_large"},
		{"RFC 9112 6.1 a coding that is not known", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "not_supported"},
		{"RFC 9110 9.3.8 TRACE with content", "TRACE / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", 400, "malformed_request"},
		{"RFC 9110 10.1.1 another expectation", "POST / HTTP/1.1\r\nHost: h\r\nExpect: more\r\nContent-Length: 1\r\n\r\nx", 417, "expectation_failed"},
		{"RFC 9110 10.1.1 another beside 100-continue", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, more\r\nContent-Length: 1\r\n\r\nx", 417, "expectation_failed"},
		{"RFC 9110 7.6.2 the last recipient of OPTIONS", "OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n", 200, ""},
		{"RFC 9110 7.6.2 and of TRACE", "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n", 405, ""},
		{"RFC 9110 7.6.2 no number", "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: -1\r\n\r\n", 400, "malformed_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := p.dial()
			client.send(c.request)
			r, body := client.response("GET")
			if r.StatusCode != c.status || c.reason != "" && !strings.Contains(r.Header.Get("Proxy-Status"), `details="`+c.reason+`"`) {
				t.Errorf("got %d %v %q", r.StatusCode, r.Header, body)
			}
			if _, err := http.ParseTime(r.Header.Get("Date")); err != nil {
				t.Errorf("RFC 9110 6.6.1: %v", err)
			}
			if c.reason == "" && r.Header.Get("Allow") != "OPTIONS" {
				t.Errorf("RFC 9110 15.5.6: got %v", r.Header)
			}
		})
	}
	if got := server.all(); len(got) > 0 {
		t.Errorf("went on: %q", got)
	}
}

// TestIntermediaryOverH2: the same for requests that come over HTTP/2.
func TestIntermediaryOverH2(t *testing.T) {
	head := func(method string, more ...string) []hpack.HeaderField {
		fields := []hpack.HeaderField{{Name: ":method", Value: method}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "h"}, {Name: ":path", Value: "/"}}
		for i := 0; i < len(more); i += 2 {
			fields = append(fields, hpack.HeaderField{Name: more[i], Value: more[i+1]})
		}
		return fields
	}
	for _, c := range []struct {
		name   string
		fields []hpack.HeaderField
		data   string
		status string
		want   string
	}{
		{"RFC 9110 10.1.1 another expectation", head("POST", "expect", "more"), "x", "417", ""},
		{"RFC 9110 10.1.1 Expect without content", head("GET", "expect", "100-continue"), "", "200", "GET / HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"RFC 9110 9.3.8 TRACE with content", head("TRACE"), "x", "400", ""},
		{"RFC 9110 7.6.2 the last recipient", head("TRACE", "max-forwards", "0"), "", "405", ""},
		{"RFC 9110 7.6.2 one of several", head("OPTIONS", "max-forwards", "9"), "", "200", "OPTIONS / HTTP/1.1\r\nhost: h\r\nmax-forwards: 8\r\n\r\n"},
		{"RFC 9110 10.1.4 TE", head("GET", "te", "trailers"), "", "200", "GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := record(t)
			p := start(t, tlsctx.HTTP2, to(plain(t, server.address, tlsctx.HTTP1)))
			if got := frames(t, p, c.fields, c.data, nil); got != c.status {
				t.Errorf("answered %s, want %s", got, c.status)
			}
			got := strings.Join(server.all(), "|")
			if got != c.want {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestVia: RFC 9110, section 7.6.3, where it is asked for: behind what others have
// said, with the version that came.
func TestVia(t *testing.T) {
	for version, protocol := range map[string]tlsctx.Protocol{"1.0": tlsctx.HTTP1, "1.1": tlsctx.HTTP1, "2.0": tlsctx.HTTP2} {
		server := record(t)
		p := start(t, protocol, with(to(plain(t, server.address, tlsctx.HTTP1)), func(c *Config) { c.Via = true }))
		if protocol == tlsctx.HTTP2 {
			frames(t, p, []hpack.HeaderField{
				{Name: ":method", Value: "GET"},
				{Name: ":scheme", Value: "http"},
				{Name: ":authority", Value: "h"},
				{Name: ":path", Value: "/"},
				{Name: "via", Value: "1.1 other"},
			}, "", nil)
		} else {
			client := p.dial()
			client.send("GET / HTTP/" + version + "\r\nHost: h\r\nVia: 1.1 other\r\n\r\n")
			client.response("GET")
		}
		want := "via: 1.1 other\r\nvia: " + version + " hallmark\r\n"
		if got := server.all(); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestIntermediaryResponses: what comes back of a response, whatever the client
// speaks.
func TestIntermediaryResponses(t *testing.T) {
	const date = "Tue, 15 Nov 1994 08:12:31 GMT"
	answers := func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header().Set("Unheard-Of", "x")
		w.Header()["Date"] = nil // net/http leaves it out
		if r.URL.Path == "/dated" {
			w.Header().Set("Date", date)
		}
		io.WriteString(w, "content")
	}
	ways(t, answers, func(t *testing.T, down tlsctx.Protocol, p *proxy) {
		for _, path := range []string{"/dated", "/undated"} {
			before := time.Now().Truncate(time.Second)
			r, err := client(t, down).Get("http://" + p.address + path)
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			got, err := http.ParseTime(r.Header.Get("Date"))
			if len(r.Header["Date"]) != 1 || err != nil || path == "/undated" && (got.Before(before) || got.After(time.Now())) {
				t.Errorf("RFC 9110 6.6.1: %s came with %v", path, r.Header["Date"])
			}
			if path == "/dated" && r.Header.Get("Date") != date {
				t.Errorf("RFC 9110 6.6.1: the date became %v", r.Header["Date"])
			}
			if !slices.Equal(r.Header["Set-Cookie"], []string{"a=1", "b=2"}) || r.Header.Get("Unheard-Of") != "x" {
				t.Errorf("RFC 9110 5.3: got %v", r.Header)
			}
		}
	})
}

// TestVersionOfAnswers: RFC 9112, section 2.3: the version is that of who sends,
// not the server's nor the client's; and RFC 9110, section 15.2: a client of
// HTTP/1.0 gets no informational response.
func TestVersionOfAnswers(t *testing.T) {
	address := misbehaving(t, func(int, int) string {
		return "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 Fine\r\nContent-Length: 2\r\n\r\nok"
	})
	for _, version := range []string{"1.0", "1.1"} {
		p := start(t, tlsctx.HTTP1, to(plain(t, address, tlsctx.HTTP1)))
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/%s\r\nHost: h\r\n\r\n", version)
		line, err := bufio.NewReader(conn).ReadString('\n')
		want := map[string]string{"1.0": "HTTP/1.1 200 OK\r\n", "1.1": "HTTP/1.1 103 Early Hints\r\n"}[version]
		if err != nil || line != want {
			t.Errorf("HTTP/%s: got %q, %v, want %q", version, line, err, want)
		}
	}
}
