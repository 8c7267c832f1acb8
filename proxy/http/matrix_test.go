package http

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// pair is two proxies: the first takes the application's protocol and sends to
// the second over HTTP/2, which sends to the server in the same protocol.
func pair(t *testing.T, protocol tlsctx.Protocol, address string) (outbound, inbound *proxy) {
	t.Helper()
	inbound = start(t, tlsctx.HTTP2, to(plain(t, address, protocol)))
	outbound = start(t, protocol, to(session(t, inbound.address)))
	return outbound, inbound
}

// ways are all the ways through one proxy or two.
func ways(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, down tlsctx.Protocol, p *proxy)) {
	const h1, h2 = tlsctx.HTTP1, tlsctx.HTTP2
	for _, down := range []tlsctx.Protocol{h1, h2} {
		for _, up := range []tlsctx.Protocol{h1, h2} {
			t.Run(fmt.Sprintf("%s to %s", down, up), func(t *testing.T) {
				test(t, down, start(t, down, to(plain(t, app(t, handler), up))))
			})
		}
		t.Run(fmt.Sprintf("%s to http1, no plain sockets", down), func(t *testing.T) {
			up := plainOver(t, app(t, handler), h1, func(c *net.TCPConn) net.Conn { return hidden{c} })
			test(t, down, start(t, down, with(to(up), func(c *Config) { c.Name = "hidden" })))
		})
		t.Run(fmt.Sprintf("%s over a pair", down), func(t *testing.T) {
			outbound, _ := pair(t, down, app(t, handler))
			test(t, down, outbound)
		})
	}
}

func TestBodies(t *testing.T) {
	big := make([]byte, 1<<20)
	rand.Read(big)
	ways(t, echo, func(t *testing.T, down tlsctx.Protocol, p *proxy) {
		c := client(t, down)
		for _, body := range [][]byte{nil, []byte("hello"), big} {
			for _, sized := range []bool{true, false} {
				var reader io.Reader = bytes.NewReader(body)
				if !sized {
					reader = struct{ io.Reader }{reader}
				}
				r, _ := http.NewRequest("POST", "http://"+p.address+"/a?b", reader)
				r.Header.Set("X-Field", "v")
				res, err := c.Do(r)
				if err != nil {
					t.Fatal(len(body), sized, err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || !bytes.Equal(got, body) || res.Header.Get("X-Uri") != "/a?b" || res.Header.Get("X-Host") != p.address {
					t.Fatalf("%d, sized %t: got %d bytes, %v, %v", len(body), sized, len(got), err, res.Header)
				}
				length := fmt.Sprint(len(body))
				if !sized && len(body) > 0 {
					length = "-1"
				}
				if got := res.Header.Get("X-Length"); got != length && (sized || len(body) > 0) {
					t.Errorf("%d, sized %t: the server saw a length of %s", len(body), sized, got)
				}
			}
		}
	})
}

func TestTrailers(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-After")
		w.Header().Set("X-Got", r.Trailer.Get("X-Sum"))
		io.WriteString(w, "body")
		w.Header().Set("X-After", "end")
	}
	ways(t, handler, func(t *testing.T, down tlsctx.Protocol, p *proxy) {
		r, _ := http.NewRequest("POST", "http://"+p.address, struct{ io.Reader }{strings.NewReader("content")})
		r.Trailer = http.Header{"X-Sum": {"7"}}
		res, err := client(t, down).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != "body" || res.Header.Get("X-Got") != "7" || res.Trailer.Get("X-After") != "end" {
			t.Errorf("got %q, %v, header %v, trailer %v", body, err, res.Header, res.Trailer)
		}
	})
}

func TestBodiless(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(304)
		case "/head":
			w.Header().Set("Content-Length", "7")
		case "/empty":
		}
	}
	ways(t, handler, func(t *testing.T, down tlsctx.Protocol, p *proxy) {
		c := client(t, down)
		for _, way := range []struct {
			method, path string
			status       int
			length       int64
		}{
			{"GET", "/204", 204, 0},
			{"GET", "/304", 304, 0},
			{"HEAD", "/head", 200, 7},
			{"GET", "/empty", 200, 0},
			{"DELETE", "/204", 204, 0},
			{"HEAD", "/empty", 200, -1},
		} {
			r, _ := http.NewRequest(way.method, "http://"+p.address+way.path, nil)
			res, err := c.Do(r)
			if err != nil {
				t.Fatal(way, err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || len(body) > 0 || res.StatusCode != way.status || res.ContentLength != way.length {
				t.Errorf("%v: got %d, length %d, %q, %v", way, res.StatusCode, res.ContentLength, body, err)
			}
		}
	})
}
