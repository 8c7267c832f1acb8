package h2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestReferenceClient has net/http's client, which is another implementation of
// the protocol, talk to our server.
func TestReferenceClient(t *testing.T) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: &protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) { // perhaps several
			near, far := tcpPair(t)
			run(t, far, Server, Config{}, handlerFuncs{accept: acceptEcho})
			return near, nil
		},
	}
	defer transport.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range uint64(50) {
		wg.Go(func() {
			body := random(i, rand.New(rand.NewPCG(i, 1)).IntN(1<<18))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a/", struct{ io.Reader }{bytes.NewReader(body)})
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("X-One", fmt.Sprint(i))
			r.Header.Set("X-Long", strings.Repeat("v", int(i)*1000))
			r.Trailer = http.Header{"X-Sum": {fmt.Sprint(len(body))}}
			response, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			got, err := io.ReadAll(response.Body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("read %d bytes of %d: %v", len(got), len(body), err)
			}
			if response.Header.Get("X-One") != fmt.Sprint(i) || len(response.Header.Get("X-Long")) != int(i)*1000 || response.Trailer.Get("X-Sum") != fmt.Sprint(len(body)) {
				t.Errorf("fields of %d did not come back: %q", i, response.Trailer)
			}
		})
	}
	wg.Wait()
}

// TestReferenceServer has our client talk to net/http's server.
func TestReferenceServer(t *testing.T) {
	near, far := tcpPair(t)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Protocols: &protocols,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("X-One", r.Header.Get("X-One"))
			n, _ := io.Copy(w, r.Body)
			w.Header().Set("X-Sum", fmt.Sprint(n, r.Trailer.Get("X-Sum")))
		}),
	}
	served, one := make(chan struct{}), &oneConn{conn: make(chan net.Conn, 1), Conn: far}
	one.conn <- far
	go func() {
		defer close(served)
		_ = server.Serve(one)
	}()
	defer func() { _ = server.Close(); <-served }()
	ready := make(chan struct{})
	client := run(t, near, Client, Config{}, handlerFuncs{ready: func(*Conn) { close(ready) }})
	<-ready
	var wg sync.WaitGroup
	for i := range uint64(50) {
		wg.Go(func() {
			body := random(i, rand.New(rand.NewPCG(i, 1)).IntN(1<<18))
			e := &exchange{done: make(chan struct{})}
			h := get("/")
			h.Method = http.MethodPost
			h.Fields = []Field{{Name: "x-one", Value: fmt.Sprint(i)}, {Name: "content-length", Value: fmt.Sprint(len(body))}, {Name: "trailer", Value: "x-sum"}}
			s, err := client.Open(h, false, e)
			if err != nil {
				t.Error(err)
				return
			}
			for left := body; len(left) > 0; {
				chunk, n := ChunkOf(left)
				left = left[n:]
				s.Send(chunk, false)
			}
			_ = s.SendHeaders(&Headers{Kind: Trailers, Fields: []Field{{Name: "x-sum", Value: "t"}}}, true)
			<-e.done
			sum := fmt.Sprint(len(body), "t")
			if e.err != nil || e.status != 200 || !bytes.Equal(e.body.Bytes(), body) || len(e.trailers) != 1 || e.trailers[0].Value != sum {
				t.Errorf("status %d, %d bytes of %d, trailers %v, error %v", e.status, e.body.Len(), len(body), e.trailers, e.err)
			}
		})
	}
	wg.Wait()
	client.Drain()
	if err := <-client.err; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// oneConn is a listener of one connection.
type oneConn struct {
	net.Conn // for its address
	conn     chan net.Conn
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { close(l.conn); return nil }
func (l *oneConn) Addr() net.Addr { return l.LocalAddr() }
