package h1

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

func parseResponse(t *testing.T, method, raw string) (*Response, int, error) {
	t.Helper()
	limits := Limits{}.Defaults()
	var slow, fast Response
	var n int
	var err error
	seen := 0
	b := []byte(raw)
	for i := 1; i <= len(b) && n == 0 && err == nil; i++ {
		n, err = slow.Parse(b[:i], seen, method, &limits)
		seen = i
	}
	n2, err2 := fast.Parse([]byte(raw), 0, method, &limits)
	if (err == nil) != (err2 == nil) || err == nil && n != n2 {
		t.Fatalf("%.80q: byte by byte %d, %v; at once %d, %v", raw, n, err, n2, err2)
	}
	return &fast, n2, err2
}

func showResponse(r *Response) string {
	body := [...]string{"none", "sized", "chunked", "close", "tunnel"}[r.Body]
	s := fmt.Sprintf("%d|%s|%s|%d", r.Status, body, fields(r.Fields), r.Length)
	if !r.KeepAlive {
		s += "|ends"
	}
	return s
}

func TestResponse(t *testing.T) {
	for _, c := range []struct{ name, method, raw, want string }{
		{"RFC 9112 4 status line", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "200|sized|content-length=2;|2"},
		{"RFC 9112 4 no phrase", "GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200|none|content-length=0;|0"},
		{"RFC 9112 4 no space either", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200|none|content-length=0;|0"},
		{"RFC 9112 6.3 HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "200|none|content-length=2;|2"},
		{"RFC 9112 6.3 HEAD of chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200|none||-1"},
		{"RFC 9112 6.3 204", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204|none||-1"},
		{"RFC 9112 6.3 304 keeps content-length", "GET", "HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", "304|none|content-length=9;|9"},
		{"RFC 9112 6.3 103", "GET", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", "103|none|link=a;|-1"},
		{"RFC 9112 6.3 chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200|chunked||-1"},
		{"RFC 9112 6.3 until close", "GET", "HTTP/1.1 200 OK\r\n\r\n", "200|close||-1|ends"},
		{"RFC 9112 6.3 until close, HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "200|close||-1|ends"},
		{"RFC 9112 9.3 HTTP/1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", "200|sized|content-length=1;|1"},
		{"RFC 9112 9.6 close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", "200|sized|content-length=1;|1|ends"},
		{"RFC 9112 6.3 2xx to CONNECT", "CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "200|tunnel||-1"},
		{"RFC 9112 6.3 another to CONNECT", "CONNECT", "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n", "403|sized|content-length=5;|5"},
		{"RFC 9110 15.2.2 101", "CONNECT", "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "101|tunnel||-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, n, err := parseResponse(t, c.method, c.raw)
			if err != nil || n != len(c.raw) {
				t.Fatalf("parsed %d of %d, %v", n, len(c.raw), err)
			}
			if got := showResponse(r); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestResponseRefused(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		want      message.Reason
	}{
		{"RFC 9112 4 no HTTP", "SSH-2.0-OpenSSH\r\n", message.BadStatusLine},
		{"RFC 9112 4 HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", message.BadStatusLine},
		{"RFC 9112 4 two digits", "HTTP/1.1 20 OK\r\n\r\n", message.BadStatusLine},
		{"RFC 9112 4 four digits", "HTTP/1.1 2000 OK\r\n\r\n", message.BadStatusLine},
		{"RFC 9112 4 below 100", "HTTP/1.1 099 OK\r\n\r\n", message.BadStatus},
		{"RFC 9112 4 a control in the phrase", "HTTP/1.1 200 a\x01\r\n\r\n", message.BadFieldValue},
		{"RFC 9112 2.2 bare LF", "HTTP/1.1 200 OK\n\n", message.BareLF},
		{"RFC 9112 5.2 obs-fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", message.ObsoleteFold},
		{"RFC 9112 6.3 length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", message.LengthAndCoding},
		{"RFC 9112 6.3 two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", message.RepeatedLength},
		{"RFC 9112 6.1 a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", message.BadTransferEncoding},
		{"RFC 9112 6.1 gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", message.BadTransferEncoding},
		{"RFC 9112 6.3 204 with content", "HTTP/1.1 204 OK\r\nContent-Length: 4\r\n\r\n", message.BadContentLength},
		{"RFC 9112 6.3 103 with chunks", "HTTP/1.1 103 OK\r\nTransfer-Encoding: chunked\r\n\r\n", message.BadContentLength},
		{"RFC 9110 15.2.2 101 without upgrade", "HTTP/1.1 101 x\r\n\r\n", message.BadUpgrade},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := parseResponse(t, "GET", c.raw)
			var refused *message.Error
			if !errors.As(err, &refused) || refused.Reason != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
