package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// TestWebSocket: messages of all sizes and of both kinds, with compression and
// without, pings, and a close with its reason, by a library at both ends, many
// connections at once on one session.
func TestWebSocket(t *testing.T) {
	address := webSocketEcho(t)
	for name, compression := range map[string]websocket.CompressionMode{"plain": websocket.CompressionDisabled, "compressed": websocket.CompressionContextTakeover} {
		t.Run(name, func(t *testing.T) {
			m := through(t, address)
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					if err := webSocketTalk(t.Context(), "ws://"+m.Addr(0), compression); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if n := m.Outbound.Sum(t, "hallmark_sessions_opened_total", "kind", "h2"); n != 1 {
				t.Errorf("%v sessions of HTTP/2 were opened", n)
			}
		})
	}
}

// TestWebSocketByRawSession: the same with HTTP/1.1 at both ends and between.
func TestWebSocketByRawSession(t *testing.T) {
	m := newMesh(t, e2e.IssuerOptions{}, func(w *e2e.Ways) { w.Keys = ",session=Raw" }, webSocketEcho(t))
	if err := webSocketTalk(t.Context(), "ws://"+m.Addr(0), websocket.CompressionContextTakeover); err != nil {
		t.Error(err)
	}
}

// TestWebSocketRefused: the refusal of an application reaches its client as it is.
func TestWebSocketRefused(t *testing.T) {
	m := through(t, web(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not today", http.StatusTeapot) }))
	_, res, err := websocket.Dial(t.Context(), "ws://"+m.Addr(0), nil)
	if err == nil || res == nil || res.StatusCode != http.StatusTeapot {
		t.Fatalf("got %v, %v", res, err)
	}
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "not today\n" {
		t.Errorf("got %q, %v", text, err)
	}
}

// webSocketEcho runs an application that echoes messages, until it is told to
// leave, which it does once a ping has come back.
func webSocketEcho(t *testing.T) string {
	return web(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover, Subprotocols: []string{"echo"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		pinged := make(chan error, 1)
		go func() { pinged <- c.Ping(r.Context()) }()
		for {
			kind, message, err := c.Read(r.Context())
			switch {
			case err != nil:
				return
			case string(message) == "leave":
				if err := <-pinged; err == nil {
					_ = c.Close(4321, "as you wish")
				}
				return
			}
			if c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	})
}

// webSocketTalk has messages echoed, and then the server leave.
func webSocketTalk(ctx context.Context, url string, compression websocket.CompressionMode) error {
	c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{CompressionMode: compression, Subprotocols: []string{"echo"}})
	if err != nil {
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	if c.Subprotocol() != "echo" {
		return fmt.Errorf("the subprotocol is %q", c.Subprotocol())
	}
	for size := 1; size < 4<<20; size *= 5 {
		for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			want := bytes.Repeat([]byte{'w'}, size)
			if err := c.Write(ctx, kind, want); err != nil {
				return err
			}
			if got, message, err := c.Read(ctx); err != nil || got != kind || !bytes.Equal(message, want) {
				return fmt.Errorf("%d bytes of %v: got %d of %v, %w", size, kind, len(message), got, err)
			}
		}
	}
	if err := c.Write(ctx, websocket.MessageText, []byte("leave")); err != nil {
		return err
	}
	_, _, err = c.Read(ctx)
	var end websocket.CloseError
	if !errors.As(err, &end) || end.Code != 4321 || end.Reason != "as you wish" {
		return fmt.Errorf("it ended with %w", err)
	}
	return nil
}

// TestEvents: server-sent events arrive one by one: each is sent once the client
// has had the one before.
func TestEvents(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP/%d", version), func(t *testing.T) {
			next := make(chan struct{})
			m := through(t, web(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for i := range 100 {
					fmt.Fprintf(w, "id: %d\ndata: event\n\n", i)
					w.(http.Flusher).Flush()
					select {
					case <-next:
					case <-r.Context().Done():
						return
					}
				}
			}))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+m.Addr(0), nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := browser(t, version).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			buffer := make([]byte, 1000)
			for i := range 100 {
				want := fmt.Sprintf("id: %d\ndata: event\n\n", i)
				if _, err := io.ReadFull(res.Body, buffer[:len(want)]); err != nil || string(buffer[:len(want)]) != want {
					t.Fatalf("event %d: got %q, %v", i, buffer[:len(want)], err)
				}
				next <- struct{}{}
			}
			if n, err := res.Body.Read(buffer); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("after the last event: %d bytes, %v", n, err)
			}
		})
	}
}
