package http

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// echo answers with what it has been sent.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Method", r.Method)
	w.Header().Set("X-Uri", r.RequestURI)
	w.Header().Set("X-Host", r.Host)
	w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
	for name, values := range r.Trailer {
		w.Header().Set("X-Trailer-"+name, values[0])
	}
	w.Write(body)
}

func TestHTTP1(t *testing.T) {
	p := start(t, tlsctx.HTTP1, to(plain(t, app(t, echo), tlsctx.HTTP1)))
	c := client(t, tlsctx.HTTP1)
	big := make([]byte, 1<<20)
	rand.Read(big)
	for _, body := range [][]byte{nil, []byte("hello"), big} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d chunked %t", len(body), chunked), func(t *testing.T) {
				var reader io.Reader = bytes.NewReader(body)
				if chunked {
					reader = struct{ io.Reader }{reader}
				}
				r, _ := http.NewRequest("POST", "http://"+p.address+"/a?b", reader)
				res, err := c.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				got, err := io.ReadAll(res.Body)
				if err != nil || !bytes.Equal(got, body) || res.Header.Get("X-Uri") != "/a?b" || res.Header.Get("X-Host") != p.address {
					t.Fatalf("got %d bytes, %v, %v", len(got), err, res.Header)
				}
			})
		}
	}
}

func TestPipelined(t *testing.T) {
	p := start(t, tlsctx.HTTP1, to(plain(t, app(t, echo), tlsctx.HTTP1)))
	c := p.dial()
	c.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" +
		"HEAD /3 HTTP/1.1\r\nHost: h\r\n\r\nPOST /4 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n" +
		"GET /5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	for i, want := range []string{"", "abc", "", "xyz", ""} {
		method := "GET"
		if i == 2 {
			method = "HEAD"
		}
		r, body := c.response(method)
		if body != want || r.Header.Get("X-Uri") != fmt.Sprintf("/%d", i+1) {
			t.Errorf("%d: got %q, %v", i+1, body, r.Header)
		}
	}
	c.ended()
}

func TestRefused(t *testing.T) {
	p := start(t, tlsctx.HTTP1, to(plain(t, app(t, echo), tlsctx.HTTP1)))
	for text, status := range map[string]int{
		"GET / HTTP/1.1\r\n\r\n": 400,
		"GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 1<<16) + "\r\n\r\n": 431,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n":     501,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx":          400,
		"GET / HTTP/1.1\nHost: h\n\n":                                                400,
	} {
		c := p.dial()
		c.send(text)
		r, body := c.response("GET")
		if r.StatusCode != status || !r.Close || !strings.HasPrefix(r.Header.Get("Proxy-Status"), "hallmark; error=http_request_error") || body == "" {
			t.Errorf("%.60q: got %d %v %q", text, r.StatusCode, r.Header, body)
		}
		c.ended()
	}
}

// TestPeeked: what has been read of a connection before counts, whatever it
// speaks.
func TestPeeked(t *testing.T) {
	address := app(t, echo)
	for _, down := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
		p := start(t, down, with(to(plain(t, address, tlsctx.HTTP1)), func(c *Config) { c.Name = "peeking" }))
		for _, body := range []string{"", "some"} {
			r, err := client(t, down).Post("http://"+p.address+"/x", "text/plain", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || string(got) != body || r.Header.Get("X-Uri") != "/x" {
				t.Errorf("%s: got %q, %v", down, got, err)
			}
		}
	}
}
