package http

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func TestInformational(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		for _, link := range []string{"</a>", "</b>"} {
			w.Header().Set("Link", link)
			w.WriteHeader(103)
		}
		w.WriteHeader(102)
		w.Header().Del("Link")
		io.WriteString(w, "done")
	}
	ways(t, handler, func(t *testing.T, down tlsctx.Protocol, p *proxy) {
		var got []string
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			got = append(got, fmt.Sprint(code, header.Get("Link")))
			return nil
		}}
		r, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "http://"+p.address, nil)
		res, err := client(t, down).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, _ := io.ReadAll(res.Body); string(body) != "done" || !slices.Equal(got, []string{"103</a>", "103</b>", "102</b>"}) {
			t.Errorf("got %q, %v", body, got)
		}
	})
}

func TestExpect(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(417)
			return
		}
		body, _ := io.ReadAll(r.Body) // which makes net/http send 100
		w.Write(body)
	}
	for _, up := range []tlsctx.Protocol{tlsctx.HTTP1, tlsctx.HTTP2} {
		p := start(t, tlsctx.HTTP1, to(plain(t, app(t, handler), up)))
		c := p.dial()
		c.send("POST /yes HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		if r, _ := c.response("POST"); r.StatusCode != 100 {
			t.Fatalf("RFC 9110 10.1.1: got %d before the content", r.StatusCode)
		}
		c.send("abc")
		if r, body := c.response("POST"); r.StatusCode != 200 || body != "abc" {
			t.Fatalf("got %d, %q", r.StatusCode, body)
		}
		c.send("POST /no HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		if r, _ := c.response("POST"); r.StatusCode != 417 || !r.Close {
			t.Fatalf("RFC 9110 10.1.1: got %d, close %t: whether content follows is not known", r.StatusCode, r.Close)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.ended()
	}
}

// TestEvents: what the server flushes arrives, one by one, while the response
// goes on.
func TestEvents(t *testing.T) {
	next := make(chan struct{})
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	}
	ways(t, handler, func(t *testing.T, down tlsctx.Protocol, p *proxy) {
		res, err := client(t, down).Get("http://" + p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		for i := range 3 {
			line, err := lines.ReadString('\n')
			if err != nil || line != fmt.Sprintf("data: %d\n", i) {
				t.Fatalf("got %q, %v", line, err)
			}
			lines.ReadString('\n')
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Errorf("got %q, %v", rest, err)
		}
	})
}

// TestBothWays: request and response flow at the same time.
func TestBothWays(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, strings.ToUpper(line))
			w.(http.Flusher).Flush()
		}
	}
	ways(t, handler, func(t *testing.T, down tlsctx.Protocol, p *proxy) {
		reader, writer := io.Pipe()
		r, _ := http.NewRequest("POST", "http://"+p.address, reader)
		res, err := client(t, down).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		for i := range 5 {
			fmt.Fprintf(writer, "line %d\n", i)
			if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("LINE %d\n", i) {
				t.Fatalf("got %q, %v", line, err)
			}
		}
		writer.Close()
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Errorf("got %q, %v", rest, err)
		}
	})
}

// TestCancel: a client that goes away ends the request at the server.
func TestCancel(t *testing.T) {
	begun, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
		}
		begun <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}
	ways(t, handler, func(t *testing.T, down tlsctx.Protocol, p *proxy) {
		for i, path := range []string{"/silent", "/begun"} {
			ctx, cancel := context.WithCancel(t.Context())
			r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+p.address+path, nil)
			ended := make(chan error, 1)
			go func() {
				res, err := client(t, down).Do(r)
				if err == nil {
					_, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				ended <- err
			}()
			<-begun
			cancel()
			<-gone
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v", path, err)
			}
			p.await("record", func() bool { return len(p.records) == i+1 })
			if reason := p.records[i].Reason; reason != ClientGone {
				t.Errorf("%s: recorded %q", path, reason)
			}
		}
	})
}

// TestBrokenOff: a response that the server breaks off is broken off for the
// client as well, not ended.
func TestBrokenOff(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", "100")
		}
		io.WriteString(w, "part")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	ways(t, handler, func(t *testing.T, down tlsctx.Protocol, p *proxy) {
		for i, path := range []string{"/sized", "/unsized"} {
			res, err := client(t, down).Get("http://" + p.address + path)
			if err != nil {
				t.Fatal(path, err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil || string(body) != "part" && down == tlsctx.HTTP1 {
				t.Errorf("%s: got %q, %v", path, body, err)
			}
			p.await("record", func() bool { return len(p.records) == i+1 })
			if r := p.records[i]; r.Reason != Incomplete || r.Status != 200 {
				t.Errorf("%s: recorded %+v", path, r)
			}
		}
	})
}

// hijacked answers an upgrade, and echoes in upper case until the client has
// ended, then says goodbye.
func hijacked(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "upgrade" {
		http.Error(w, "no upgrade", 426)
		return
	}
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintf(buffered, "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: for-%s\r\n\r\nhello ", r.Header.Get("Sec-WebSocket-Key"))
	buffered.Flush()
	for {
		b, err := buffered.ReadByte()
		if err != nil {
			break
		}
		conn.Write([]byte(strings.ToUpper(string(b))))
	}
	io.WriteString(conn, " bye")
}

func TestUpgrade(t *testing.T) {
	address := app(t, hijacked)
	outbound, inbound := pair(t, tlsctx.HTTP1, address)
	for name, p := range map[string]*proxy{
		"RFC 9110 7.8":            start(t, tlsctx.HTTP1, to(plain(t, address, tlsctx.HTTP1))),
		"RFC 8441 between a pair": outbound,
	} {
		t.Run(name, func(t *testing.T) {
			c := p.dial()
			c.send("GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: k\r\n\r\nearly ")
			r, err := http.ReadResponse(c.r, nil)
			if err != nil || r.StatusCode != 101 || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-WebSocket-Accept") != "for-k" {
				t.Fatalf("got %+v, %v", r, err)
			}
			c.send("late")
			want := make([]byte, len("hello EARLY LATE"))
			if _, err := io.ReadFull(c.r, want); err != nil || string(want) != "hello EARLY LATE" {
				t.Fatalf("got %q, %v", want, err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(c.r); err != nil || string(rest) != " bye" {
				t.Errorf("after half-close got %q, %v", rest, err)
			}
			p.await("record", func() bool { return len(p.records) == 1 })
			if r := p.records[0]; r.Reason != OK || r.Status != 101 || r.Protocol != "websocket" || r.RequestBytes != 10 || r.ResponseBytes != 20 {
				t.Errorf("recorded %+v", r)
			}
		})
	}
	inbound.await("record", func() bool { return len(inbound.records) == 1 })
	if r := inbound.records[0]; r.Reason != OK || r.Status != 101 {
		t.Errorf("the inbound proxy recorded %+v", r)
	}
}

// TestRecordedStatus: what is a 200 on its way is recorded as the 101 that it is
// for whoever speaks HTTP/1.1.
func TestRecordedStatus(t *testing.T) {
	one, two := downstream(new(server1)), downstream(new(stream2))
	for _, test := range []struct {
		down     downstream
		up       attempt
		protocol string
		tunnel   bool
		want     int
	}{
		{one, new(attempt1), "websocket", true, 101},
		{one, new(attempt2), "websocket", true, 101},
		{two, new(attempt1), "websocket", true, 101},
		{two, new(attempt2), "websocket", true, 200},
		{one, new(attempt1), "", true, 200}, // CONNECT
		{one, new(attempt1), "", false, 200},
	} {
		x := &exchange{down: test.down, up: test.up, tunnel: test.tunnel}
		x.request().Protocol = test.protocol
		if got := x.recorded(200); got != test.want {
			t.Errorf("%T to %T, %q: %d, want %d", test.down, test.up, test.protocol, got, test.want)
		}
	}
}

// TestUpgradeRefused: what came after the request is never taken for another.
func TestUpgradeRefused(t *testing.T) {
	address := app(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 403) })
	outbound, _ := pair(t, tlsctx.HTTP1, address)
	for _, p := range []*proxy{start(t, tlsctx.HTTP1, to(plain(t, address, tlsctx.HTTP1))), outbound} {
		for _, request := range []string{
			"GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
			"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
		} {
			c := p.dial()
			c.send(request + "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
			r, body := c.response("GET")
			if r.StatusCode != 403 || body != "no\n" || !r.Close {
				t.Errorf("got %d, %q, close %t", r.StatusCode, body, r.Close)
			}
			c.ended()
		}
		p.await("records", func() bool { return len(p.records) == 2 })
	}
}

// TestEarlyAnswer: a server that answers without reading the request does not
// lose the end of its answer.
func TestEarlyAnswer(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	handler := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, large) }
	outbound, _ := pair(t, tlsctx.HTTP2, app(t, handler)) // net/http answers HTTP/1 only when it has read
	for range 10 {
		reader, writer := io.Pipe()
		r, _ := http.NewRequest("POST", "http://"+outbound.address, reader)
		res, err := client(t, tlsctx.HTTP2).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != large {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		res.Body.Close()
		writer.Close()
	}
}
