package http

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline only stops a hang: on a machine with ten times as much to do as it can,
// a request has been seen to take half a minute.
const deadline = 2 * time.Minute

// proxy is a relay that listens.
type proxy struct {
	t       *testing.T
	address string
	relay   *Relay
	drain   context.CancelFunc

	mu      sync.Mutex
	records []Record
	open    int // connections
	counts  map[string]int
	changed chan struct{}
}

// start makes a proxy of the config that listens on a socket, for clients of the
// protocol, until the test ends.
func start(t *testing.T, protocol tlsctx.Protocol, config Config) *proxy {
	t.Helper()
	return startFor(t, protocol, Source{}, config)
}

// startFor is start for clients that are that source.
func startFor(t *testing.T, protocol tlsctx.Protocol, source Source, config Config) *proxy {
	t.Helper()
	p := &proxy{t: t, counts: make(map[string]int), changed: make(chan struct{}, 1)}
	config.Record = p.record
	config.Count = p.count
	p.relay = New(config)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	ctx, force := context.WithCancel(context.Background())
	drain, startDrain := context.WithCancel(context.Background())
	p.drain = startDrain
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.opened(1)
			if config.Name == "hidden" {
				conn = hidden{conn.(*net.TCPConn)}
			}
			wg.Go(func() {
				defer p.opened(-1)
				var peeked []byte
				if config.Name == "peeking" {
					peeked = make([]byte, 10)
					n, _ := io.ReadFull(conn, peeked)
					peeked = peeked[:n]
				}
				_ = p.relay.Serve(ctx, Connection{Conn: conn, Peeked: peeked, Protocol: protocol, Source: &source, Drain: drain})
			})
		}
	})
	t.Cleanup(func() {
		startDrain()
		force()
		_ = listener.Close()
		wg.Wait()
	})
	return p
}

func (p *proxy) opened(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open += n
	p.notify()
}

func (p *proxy) record(r *Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records = append(p.records, *r)
	p.notify()
}

func (p *proxy) count(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[reason]++
	p.notify()
}

func (p *proxy) notify() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// await waits until the condition holds, which is asked under the proxy's lock.
func (p *proxy) await(what string, condition func() bool) {
	p.t.Helper()
	timeout := time.After(deadline)
	for {
		p.mu.Lock()
		ok := condition()
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-p.changed:
		case <-timeout:
			p.t.Fatalf("still no %s; records %+v, counts %v", what, p.records, p.counts)
		}
	}
}

// hidden is a connection that is no plain socket to whom it is given to, as one
// over TLS is not.
type hidden struct{ halfCloser }

// halfCloser is what a connection can do.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// to returns a config that sends every request to the upstream.
func to(up Upstream) Config {
	return Config{Ready: func(*Ask) (Choice, bool) { return Choice{Upstream: up}, true }}
}

// plain returns an upstream at the address, until the test ends.
func plain(t *testing.T, address string, protocol tlsctx.Protocol) *Plain {
	t.Helper()
	return plainOver(t, address, protocol, func(c *net.TCPConn) net.Conn { return c })
}

// plainOver is plain over what over makes of a socket.
func plainOver(t *testing.T, address string, protocol tlsctx.Protocol, over func(*net.TCPConn) net.Conn) *Plain {
	t.Helper()
	p := NewPlain(PlainConfig{Protocol: protocol, Dial: func(ctx context.Context) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return over(conn.(*net.TCPConn)), nil
	}})
	t.Cleanup(p.Close)
	return p
}

// session returns an HTTP/2 session to the address, until the test ends.
func session(t *testing.T, address string) *Session {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSession(conn, h2.Config{})
	t.Cleanup(func() { _ = s.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := s.Await(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// app returns a server of HTTP/1 and, with prior knowledge, HTTP/2.
func app(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.DisableGeneralOptionsHandler = true
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// client returns a client that speaks the protocol to whatever it is told.
func client(t *testing.T, protocol tlsctx.Protocol) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols), ExpectContinueTimeout: deadline}
	if protocol == tlsctx.HTTP2 {
		transport.Protocols.SetUnencryptedHTTP2(true)
	} else {
		transport.Protocols.SetHTTP1(true)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: deadline, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// raw is a connection to a proxy on which a test speaks HTTP/1 by itself.
type raw struct {
	t *testing.T
	*net.TCPConn
	r *bufio.Reader
}

func (p *proxy) dial() *raw {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		p.t.Fatal(err)
	}
	return &raw{t: p.t, TCPConn: conn.(*net.TCPConn), r: bufio.NewReader(conn)}
}

func (c *raw) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.TCPConn, text); err != nil {
		c.t.Fatal(err)
	}
}

// response reads a response to the method.
func (c *raw) response(method string) (*http.Response, string) {
	c.t.Helper()
	r, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatalf("after %q: %v", body, err)
	}
	return r, string(body)
}

// ended waits for the end of the connection, and fails if more comes before it.
func (c *raw) ended() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Errorf("wanted the end, got %q, %v", rest, err)
	}
}
