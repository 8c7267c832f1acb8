package h2

import (
	"testing"

	"golang.org/x/net/http2"
)

// collect answers each request with the body it is given, and counts.
func acceptBody(n int) func(*Stream, *Headers, bool) StreamHandler {
	return func(s *Stream, _ *Headers, _ bool) StreamHandler {
		_ = s.SendHeaders(&Headers{Kind: Response, Status: 200}, false)
		for left := n; left > 0; {
			chunk, k := ChunkOf(make([]byte, min(left, 10_000)))
			left -= k
			s.Send(chunk, left == 0)
		}
		return echo{}
	}
}

// TestWindowsAreHonoured: no byte beyond the stream's window or the connection's,
// even when SETTINGS take back what was given (RFC 9113, section 6.9.2), and
// everything once they open.
func TestWindowsAreHonoured(t *testing.T) {
	near, far := tcpPair(t)
	const size = 200_000
	run(t, far, Server, Config{}, handlerFuncs{accept: acceptBody(size)})
	w := newWire(t, near, Server)
	window := func(n uint32) {
		_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: n})
		_ = w.WritePing(false, [8]byte{1})
	}
	got := make(map[uint32]int)
	toPing := func() { // everything that was to be sent before the answer has come
		w.until(func(f http2.Frame) bool {
			if d, ok := f.(*http2.DataFrame); ok {
				got[d.StreamID] += len(d.Data())
			}
			p, ok := f.(*http2.PingFrame)
			return ok && p.IsAck()
		})
	}
	window(1000)
	toPing()
	w.request(1, true)
	w.until(func(http2.Frame) bool { return w.heads[1] != nil })
	_ = w.WritePing(false, [8]byte{})
	toPing()
	_ = w.WritePing(false, [8]byte{}) // the batch after the first answer
	toPing()
	if got[1] != 1000 {
		t.Errorf("%d bytes in a window of 1000", got[1])
	}
	window(500) // now there are -500
	toPing()
	_ = w.WriteWindowUpdate(1, 400)
	_ = w.WritePing(false, [8]byte{})
	toPing()
	if got[1] != 1000 {
		t.Errorf("%d bytes, though the window is -100", got[1])
	}
	_ = w.WriteWindowUpdate(1, 1<<20)
	w.until(func(f http2.Frame) bool {
		if d, ok := f.(*http2.DataFrame); ok {
			got[1] += len(d.Data())
		}
		return got[1] == defaultWindow // the connection's
	})
	_ = w.WritePing(false, [8]byte{})
	toPing()
	if got[1] != defaultWindow {
		t.Errorf("%d bytes in the connection's window of %d", got[1], defaultWindow)
	}
	_ = w.WriteWindowUpdate(0, 1<<20)
	w.until(func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok {
			got[1] += len(d.Data())
		}
		return ok && d.StreamEnded()
	})
	if got[1] != size {
		t.Errorf("%d bytes of %d", got[1], size)
	}
}

// TestWindowGrows while data leaves as it comes, within the budget, and not
// beyond it.
func TestWindowGrows(t *testing.T) {
	for name, c := range map[string]struct {
		budget int64
		grows  bool
	}{"with room in the budget": {10 << 20, true}, "with room that is for data": {200 << 10, false}, "without": {32 << 10, false}} {
		t.Run(name, func(t *testing.T) {
			near, far := tcpPair(t)
			budget := NewBudget(c.budget)
			streams := make(chan *Stream, 1)
			run(t, far, Server, Config{Budget: budget}, handlerFuncs{accept: func(s *Stream, h *Headers, end bool) StreamHandler {
				streams <- s
				return acceptEcho(s, h, end)
			}})
			ready := make(chan struct{})
			client := run(t, near, Client, Config{}, handlerFuncs{ready: func(*Conn) { close(ready) }})
			<-ready
			e := &exchange{done: make(chan struct{})}
			s, err := client.Open(get("/"), false, e)
			if err != nil {
				t.Fatal(err)
			}
			const size = 8 << 20
			for left := size; left > 0; {
				chunk, n := ChunkOf(make([]byte, min(left, BufferSpace)))
				left -= n
				s.Send(chunk, false)
			}
			server := <-streams
			grown := func() int {
				server.conn.mu.Lock()
				defer server.conn.mu.Unlock()
				return server.window
			}
			for s.Queued() > 0 && (grown() == 64<<10) == c.grows {
			}
			if window := grown(); (window > 64<<10) != c.grows {
				t.Errorf("the window is %d", window)
			}
			s.Send(Chunk{}, true)
			<-e.done
			if e.err != nil || e.body.Len() != size {
				t.Errorf("%d bytes came back: %v", e.body.Len(), e.err)
			}
		})
	}
}

// TestEndsWaitForNobody: the end of a stream needs no window, and does not wait
// behind another stream's data while the connection has none.
func TestEndsWaitForNobody(t *testing.T) {
	near, far := tcpPair(t)
	run(t, far, Server, Config{}, handlerFuncs{accept: func(s *Stream, h *Headers, end bool) StreamHandler {
		if !end {
			_ = s.SendHeaders(&Headers{Kind: Response, Status: 200}, false)
			s.Finish(NoError) // which is queued
			return echo{}
		}
		return acceptBody(200_000)(s, h, end)
	}})
	w := newWire(t, near, Server)
	_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	w.request(1, true)
	for got := 0; got < defaultWindow; { // the connection's
		w.until(func(f http2.Frame) bool {
			d, ok := f.(*http2.DataFrame)
			if ok {
				got += len(d.Data())
			}
			return ok
		})
	}
	w.request(3, false)
	w.until(func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		return ok && d.StreamID == 3 && d.StreamEnded()
	})
}

// pieces sends a body of single bytes on each of some streams, in turn.
func pieces(streams []*Stream, each int) {
	for i := range each {
		for _, s := range streams {
			chunk, _ := ChunkOf([]byte{byte(i)})
			s.Send(chunk, i == each-1)
		}
	}
}

// TestPiecesBecomeFrames: whoever sends a body in pieces of a byte does not make
// the next hop, and all who share the connection to it, pay for a frame each;
// whether one stream does so or several do in turn. No byte is lost or moved.
func TestPiecesBecomeFrames(t *testing.T) {
	for _, streams := range []int{1, 3} {
		near, far := pipe()
		const each = 1000
		c := run(t, near, Client, Config{}, handlerFuncs{})
		w := newWire(t, far, Client)
		// The writer waits in the pipe, which has no buffer, for as long as
		// nobody reads: all pieces are there before.
		var open []*Stream
		for range streams {
			for c.Room() == 0 {
				w.next()
			}
			s, err := c.Open(&Headers{Kind: Request, Method: "POST", Scheme: "http", Authority: "a", Path: "/"}, false, echo{})
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, s)
		}
		pieces(open, each)
		got, frames, ends := make(map[uint32]int), 0, 0
		w.until(func(f http2.Frame) bool {
			d, ok := f.(*http2.DataFrame)
			if !ok {
				return false
			}
			frames++
			for _, b := range d.Data() {
				if b != byte(got[d.StreamID]) {
					t.Fatalf("byte %d of stream %d is %d", got[d.StreamID], d.StreamID, b)
				}
				got[d.StreamID]++
			}
			if d.StreamEnded() {
				if ends++; got[d.StreamID] != each {
					t.Errorf("stream %d ended after %d bytes of %d", d.StreamID, got[d.StreamID], each)
				}
			}
			return ends == streams
		})
		if frames > 10*streams {
			t.Errorf("%d bodies of %d pieces became %d frames", streams, each, frames)
		}
	}
}
