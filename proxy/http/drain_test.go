package http

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestDrainLosesNoRequest: a request that is there when draining begins is
// answered, also if its connection was idle and nobody has read it yet.
func TestDrainLosesNoRequest(t *testing.T) {
	address := app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	up := plain(t, address, tlsctx.HTTP1)
	const request = "GET / HTTP/1.1\r\nHost: app\r\n\r\n"
	for range 10 {
		p := start(t, tlsctx.HTTP1, to(up))
		c := p.dial()
		c.send(request)
		c.response("GET")
		c.send(request)
		p.drain()
		if res, body := c.response("GET"); res.StatusCode != http.StatusOK || body != "ok" {
			t.Errorf("got %d %q", res.StatusCode, body)
		}
		c.ended()
	}
}

// TestThirdAttemptOpens: a request whose stream was refused twice goes on a new
// connection to the application, although the old one is there.
func TestThirdAttemptOpens(t *testing.T) {
	servers := make(chan *peerServer, 2)
	servers <- &peerServer{refuse: 3}
	servers <- &peerServer{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			server := <-servers
			wg.Go(func() { _ = h2.New(conn, h2.Server, h2.Config{}, server).Run(ctx) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		cancel()
		wg.Wait()
	})
	p := start(t, tlsctx.HTTP1, to(plain(t, listener.Addr().String(), tlsctx.HTTP2)))
	res, err := client(t, tlsctx.HTTP1).Get("http://" + p.address)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	p.await("record", func() bool { return len(p.records) == 1 })
	if n := p.records[0].Attempts; res.StatusCode != http.StatusOK || n != 3 {
		t.Errorf("got %d after %d attempts", res.StatusCode, n)
	}
}
