package http

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// asked is the client's or the server's end of a stream: it takes what comes, and
// gives credit for it if it reads.
type asked struct {
	reads  bool
	status atomic.Int32
}

func (a *asked) Headers(_ *h2.Stream, h *h2.Headers, _ bool) {
	a.status.Store(int32(h.Status))
}

func (a *asked) Data(s *h2.Stream, c h2.Chunk, _ bool) {
	if a.reads {
		s.Consumed(c.Len())
	}
	c.Release()
}
func (a *asked) Sent(*h2.Stream, int)         {}
func (a *asked) Closed(*h2.Stream, *h2.Error) {}

// mute is a server of HTTP/2 that says nothing, or no more than that it has
// begun.
type mute struct{ begins, reads bool }

func (*mute) Ready(*h2.Conn)   {}
func (*mute) Changed(*h2.Conn) {}

func (p *mute) Accept(s *h2.Stream, _ *h2.Headers, _ bool) h2.StreamHandler {
	if p.begins {
		_ = s.SendHeaders(&h2.Headers{Kind: h2.Response, Status: 200}, false)
	}
	return &asked{reads: p.reads}
}

// inBubble relays between a client and a server over HTTP/2, in a bubble.
func inBubble(t *testing.T, server h2.Handler, config Config, test func(client *h2.Conn)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	above, below := net.Pipe()
	go func() { _ = h2.New(below, h2.Server, h2.Config{StreamWindow: 64 << 10}, server).Run(ctx) }()
	up := NewSession(above, h2.Config{})
	config.Ready = func(*Ask) (Choice, bool) { return Choice{Upstream: up}, true }
	front, back := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = New(config).Serve(ctx, Connection{Conn: back, Protocol: tlsctx.HTTP2, Source: &Source{}})
	}()
	client := NewSession(front, h2.Config{})
	synctest.Wait()
	test(client.conn)
	_ = client.Close()
	<-served
	_ = up.Close()
	cancel()
	synctest.Wait()
}

// TestSlowOverH2: a body over HTTP/2 that comes too slowly is cut, with 408, and
// what may come slowly is not.
func TestSlowOverH2(t *testing.T) {
	const period, periods = time.Minute, 5
	field := func(name, value string) []h2.Field { return []h2.Field{{Name: name, Value: value}} }
	grpc := []h2.Field{{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"}}
	for _, c := range []struct {
		name   string
		fields []h2.Field
		end    bool
		each   int // bytes in each period
		server mute
		cut    time.Duration // when, 0 for never
	}{
		{"of unknown length, stands still", nil, false, 0, mute{reads: true}, period},
		{"of unknown length, a little at a time", nil, false, 1, mute{reads: true}, 0},
		{"of a stated length, a little at a time", field("content-length", "1000000"), false, 1, mute{reads: true}, period},
		{"of a stated length, below the rate", field("content-length", "1000000"), false, 9*60 + 59, mute{reads: true}, period},
		{"of a stated length, at the rate", field("content-length", "1000000"), false, 10 * 60, mute{reads: true}, 0},
		{"held up by the server", field("content-length", "1000000"), false, 100_000, mute{}, 0},
		{"a stream of gRPC", grpc, false, 0, mute{reads: true}, 0},
		{"a response has begun", nil, false, 0, mute{reads: true, begins: true}, 0},
		{"a long poll", nil, true, 0, mute{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var counts []string
				config := Config{Count: func(reason string) { counts = append(counts, reason) }}
				config.Timeouts.Body, config.Limits.BodyRate, config.H2.SettingsTimeout = period, 10, time.Hour
				inBubble(t, &c.server, config, func(client *h2.Conn) {
					a := &asked{}
					head := &h2.Headers{Kind: h2.Request, Method: "POST", Scheme: "http", Authority: "a", Path: "/", Fields: c.fields}
					s, err := client.Open(head, c.end, a)
					if err != nil {
						t.Fatal(err)
					}
					began, cut := time.Now(), time.Duration(0)
					for i := range periods * 10 {
						if i%10 == 1 && c.each > 0 {
							for left := c.each; left > 0; {
								chunk, n := h2.ChunkOf(make([]byte, min(left, 16<<10)))
								s.Send(chunk, false)
								left -= n
							}
						}
						synctest.Wait()
						if a.status.Load() == 408 && cut == 0 {
							cut = time.Since(began)
						}
						time.Sleep(period / 10)
					}
					if cut != c.cut {
						t.Errorf("cut after %v, want %v", cut, c.cut)
					}
				})
				if got := strings.Join(counts, " "); (got == "slow_body") != (c.cut > 0) {
					t.Errorf("counted %q", got)
				}
			})
		})
	}
}

// TestSlowOverH1: over HTTP/1 too the rate counts, not only that something comes.
func TestSlowOverH1(t *testing.T) {
	server := app(t, echo)
	p := start(t, tlsctx.HTTP1, with(to(plain(t, server, tlsctx.HTTP1)), func(c *Config) {
		c.Timeouts.Body, c.Limits.BodyRate = 50*time.Millisecond, 1<<40
	}))
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
	sent := make(chan error, 1)
	go func() {
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				sent <- err
				return
			}
		}
	}()
	r, _ := c.response("POST")
	if r.StatusCode != 408 || !strings.Contains(r.Header.Get("Proxy-Status"), "request_timeout") {
		t.Errorf("got %d, %v", r.StatusCode, r.Header)
	}
	if err := <-sent; errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	p.await("count", func() bool { return p.counts["slow_body"] == 1 })
}
