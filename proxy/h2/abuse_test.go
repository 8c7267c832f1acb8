package h2

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// never is a handler of requests that are never answered, whose data is never
// consumed but packed.
type never struct{ queue *Queue }

func acceptNever(*Stream, *Headers, bool) StreamHandler { return never{&Queue{}} }

func (never) Headers(*Stream, *Headers, bool)       {}
func (n never) Data(_ *Stream, chunk Chunk, _ bool) { n.queue.Push(chunk) }
func (never) Sent(*Stream, int)                     {}
func (n never) Closed(*Stream, *Error)              { n.queue.Clear() }

// reasons counts what a connection is ended for.
type reasons struct {
	mu sync.Mutex
	of map[Reason]int
}

func (r *reasons) count(reason Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = make(map[Reason]int)
	}
	r.of[reason]++
}

func (r *reasons) get(reason Reason) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[reason]
}

// TestFloods: a peer that does too much of something is cut, with a reason that
// is counted. Each limit is as small as it gets here; what stays below the
// default limits is tested by everything else.
func TestFloods(t *testing.T) {
	tight := Limits{
		Resets: 10, ResetsPerSecond: 1, Pings: 10, PingsPerSecond: 1, Settings: 10, SettingsPerSecond: 1,
		EmptyFrames: 10, EmptyFramesPerSecond: 1, Continuations: 10, WindowUpdates: 10, Priorities: 10,
		UnknownFrames: 10, UnknownFramesPerSecond: 1, TinyData: 10,
	}
	streams := func(each func(w *wire, stream uint32)) func(*wire) {
		return func(w *wire) {
			for i := range uint32(100) {
				each(w, 2*i+1)
			}
		}
	}
	on1 := func(each func(w *wire)) func(*wire) {
		return func(w *wire) {
			w.request(1, false)
			for range 100 {
				each(w)
			}
		}
	}
	for _, c := range []struct {
		name   string
		flood  func(*wire)
		reason Reason
	}{
		{"rapid reset (CVE-2023-44487)", streams(func(w *wire, s uint32) { w.request(s, true); _ = w.WriteRSTStream(s, http2.ErrCodeCancel) }), ReasonResets},
		{"MadeYouReset by WINDOW_UPDATE (CVE-2025-8671)", streams(func(w *wire, s uint32) { w.request(s, true); _ = w.WriteWindowUpdate(s, 0) }), ReasonResets},
		{"MadeYouReset by DATA after the end", streams(func(w *wire, s uint32) { w.request(s, true); _ = w.WriteData(s, true, nil) }), ReasonResets},
		{"MadeYouReset by a window that overflows", streams(func(w *wire, s uint32) { w.request(s, true); _ = w.WriteWindowUpdate(s, maxWindow) }), ReasonResets},
		{"malformed requests", streams(func(w *wire, s uint32) { w.headers(s, true, "x", "y") }), ReasonResets},
		{"both kinds of reset together", streams(func(w *wire, s uint32) {
			w.request(s, true)
			if s%4 == 1 {
				_ = w.WriteRSTStream(s, http2.ErrCodeCancel)
			} else {
				_ = w.WriteWindowUpdate(s, 0)
			}
		}), ReasonResets},
		{"CONTINUATION (CVE-2024-24549)", func(w *wire) {
			_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.encode(":method", "GET")})
			for range 100 {
				_ = w.WriteContinuation(1, false, w.encode("x", "y"))
			}
		}, ReasonContinuations},
		{"a header block without end", func(w *wire) {
			_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.encode(":method", "GET")})
			for range 9 {
				_ = w.WriteContinuation(1, false, make([]byte, 16<<10))
			}
		}, ReasonHeaderBytes},
		{"empty DATA", on1(func(w *wire) { _ = w.WriteData(1, false, nil) }), ReasonEmptyFrames},
		{"DATA of nothing but padding", on1(func(w *wire) { _ = w.WriteDataPadded(1, false, nil, make([]byte, 200)) }), ReasonEmptyFrames},
		{"PING", on1(func(w *wire) { _ = w.WritePing(false, [8]byte{}) }), ReasonPings},
		{"answers to no PING", on1(func(w *wire) { _ = w.WritePing(true, [8]byte{}) }), ReasonPings},
		{"GOAWAY", on1(func(w *wire) { _ = w.WriteGoAway(0, 0, nil) }), ReasonPings},
		{"SETTINGS", on1(func(w *wire) { _ = w.WriteSettings() }), ReasonSettings},
		{"SETTINGS without end", func(w *wire) { w.frame(frameSettings, 0, 0, make([]byte, 6*1000)) }, ReasonSettings},
		{"WINDOW_UPDATE", on1(func(w *wire) { _ = w.WriteWindowUpdate(0, 1) }), ReasonWindowUpdates},
		{"PRIORITY", on1(func(w *wire) { _ = w.WritePriority(5, http2.PriorityParam{StreamDep: 3}) }), ReasonPriorities},
		{"unknown frames", on1(func(w *wire) { w.frame(0x42, 0, 0, []byte("x")) }), ReasonUnknownFrames},
		{"RST_STREAM of what is over", func(w *wire) {
			w.request(1, true)
			for range 100 {
				_ = w.WriteRSTStream(1, http2.ErrCodeCancel)
			}
		}, ReasonUnknownFrames},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := tcpPair(t)
			var counted reasons
			r := run(t, far, Server, Config{Limits: tight, Count: counted.count}, handlerFuncs{accept: acceptNever})
			w := newWire(t, near, Server)
			c.flood(w)
			w.outcome(r, EnhanceYourCalm, c.reason)
			if counted.get(c.reason) != 1 {
				t.Errorf("counted %v", counted.of)
			}
		})
	}
}

// TestTinyData: a stream of which too many tiny pieces wait is reset, and one that
// shares the connection with it goes on.
func TestTinyData(t *testing.T) {
	near, far := tcpPair(t)
	var counted reasons
	run(t, far, Server, Config{Limits: Limits{TinyData: 1000}, Count: counted.count}, handlerFuncs{accept: func(s *Stream, h *Headers, end bool) StreamHandler {
		if end {
			return acceptEcho(s, h, end)
		}
		return acceptNever(s, h, end)
	}})
	w := newWire(t, near, Server)
	w.request(1, false)
	w.request(3, false)
	for range 1100 {
		_ = w.WriteData(1, false, []byte("x"))
	}
	_ = w.WriteData(3, false, []byte("x"))
	w.request(5, true)
	w.until(func(http2.Frame) bool { return w.heads[5] != nil })
	if code, ok := w.resets[1]; !ok || code != http2.ErrCodeEnhanceYourCalm || len(w.resets) != 1 || counted.get(ReasonTinyData) != 1 {
		t.Errorf("resets %v, counted %v", w.resets, counted.of)
	}
}

// TestClientsLeave: a client that has reset many streams opens no more on the
// connection, and no server of our own kind takes it for a flood: what others have
// on it goes on.
func TestClientsLeave(t *testing.T) {
	near, far := tcpPair(t)
	server := run(t, far, Server, Config{MaxStreams: 100}, handlerFuncs{accept: func(s *Stream, h *Headers, end bool) StreamHandler {
		if h.Path == "/other" {
			return acceptEcho(s, h, end)
		}
		return acceptNever(s, h, end)
	}})
	ready := make(chan struct{}, 1)
	client := run(t, near, Client, Config{}, handlerFuncs{ready: func(*Conn) { ready <- struct{}{} }})
	<-ready
	other := &exchange{done: make(chan struct{})}
	kept, err := client.Open(&Headers{Kind: Request, Method: "POST", Scheme: "http", Authority: "a", Path: "/other"}, false, other)
	if err != nil {
		t.Fatal(err)
	}
	for opened, most := 0, 10*ownResets; ; opened++ {
		s, err := client.Open(get("/"), true, &never{&Queue{}})
		if err != nil {
			if opened < ownResets || opened > most || !client.Retired() {
				t.Errorf("it left after %d streams: %v", opened, err)
			}
			break
		}
		s.Reset(Cancel)
	}
	chunk, _ := ChunkOf([]byte("goes on"))
	kept.Send(chunk, true)
	<-other.done
	if got := other.body.String(); got != "goes on" || other.err != nil {
		t.Errorf("got %q, %v", got, other.err)
	}
	if err := <-client.err; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := <-server.err; err != nil {
		t.Errorf("Run of the server: %v", err)
	}
}

// TestPingsAreEarned: a peer may send a PING for each DATA frame that it is sent,
// as gRPC does to measure the round trip, whatever the limit of those that come
// unprovoked; and not save them up.
func TestPingsAreEarned(t *testing.T) {
	near, far := tcpPair(t)
	r := run(t, far, Server, Config{Limits: Limits{Pings: 10, PingsPerSecond: 1}}, handlerFuncs{accept: acceptBody(10_000)})
	w := newWire(t, near, Server)
	_ = w.WriteWindowUpdate(0, 1<<30)
	for i := range uint32(5 * mostEarned) {
		w.request(2*i+1, true)
		w.until(func(f http2.Frame) bool { _, data := f.(*http2.DataFrame); return data })
		_ = w.WritePing(false, [8]byte{})
	}
	for range mostEarned + 20 {
		_ = w.WritePing(false, [8]byte{})
	}
	w.outcome(r, EnhanceYourCalm, ReasonPings)
}

// TestDefaultLimitsAreThere: the zero configuration cuts a rapid reset too.
func TestDefaultLimitsAreThere(t *testing.T) {
	near, far := tcpPair(t)
	r := run(t, far, Server, Config{}, handlerFuncs{accept: acceptNever})
	w := newWire(t, near, Server)
	for i := range uint32(10_000) {
		w.request(2*i+1, true)
		_ = w.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
	}
	w.outcome(r, EnhanceYourCalm, ReasonResets)
}

// TestAnswersAreBounded: a peer that asks and does not read the answers is cut.
func TestAnswersAreBounded(t *testing.T) {
	near, far := pipe()
	config := Config{Limits: Limits{Pings: 1 << 30, ControlQueue: 50}}
	r := run(t, far, Server, config, handlerFuncs{})
	go func() {
		_, _ = near.Write([]byte(preface))
		w := http2.NewFramer(near, nil)
		_ = w.WriteSettings()
		for w.WritePing(false, [8]byte{}) == nil {
		}
	}()
	if err := <-r.err; !errors.Is(err, ReasonControlQueue) {
		t.Errorf("Run: %v", err)
	}
}

// TestHeaderLimits: a request whose fields are too many or too large is answered
// 431, and the connection goes on with its tables in step.
func TestHeaderLimits(t *testing.T) {
	for reason, config := range map[Reason]Config{
		ReasonHeaderBytes:  {MaxHeaderBytes: 2000},
		ReasonHeaderFields: {MaxHeaderFields: 10},
	} {
		near, far := tcpPair(t)
		var counted reasons
		config.Count = counted.count
		run(t, far, Server, config, handlerFuncs{accept: acceptAnswer})
		w := newWire(t, near, Server)
		var many []string
		for i := range 20 {
			many = append(many, "x-"+string(rune('a'+i)), strings.Repeat("v", 90))
		}
		w.request(1, true, many...)
		w.until(func(http2.Frame) bool { return w.heads[1] != nil })
		if got := w.heads[1][0].Value; got != "431" {
			t.Errorf("%s: answered %s", reason, got)
		}
		w.until(func(http2.Frame) bool { _, reset := w.resets[1]; return reset })
		w.request(3, true, many[:4]...)
		w.until(func(http2.Frame) bool { return w.heads[3] != nil })
		if got := w.heads[3][0].Value; got != "200" {
			t.Errorf("%s: the next was answered %s", reason, got)
		}
		if counted.get(reason) != 1 {
			t.Errorf("counted %v, want %s", counted.of, reason)
		}
	}
}

// TestStreamLimitIsEnforced: a stream too many is refused, and its header block
// decoded all the same.
func TestStreamLimitIsEnforced(t *testing.T) {
	near, far := tcpPair(t)
	run(t, far, Server, Config{MaxStreams: 1}, handlerFuncs{accept: func(s *Stream, h *Headers, end bool) StreamHandler {
		if h.Path == "/wait" {
			return acceptNever(s, h, end)
		}
		return acceptEcho(s, h, end)
	}})
	w := newWire(t, near, Server)
	w.headers(1, true, ":method", "GET", ":scheme", "http", ":path", "/wait", ":authority", "a")
	w.request(3, true, "x-in-table", "value")
	w.until(func(http2.Frame) bool { _, reset := w.resets[3]; return reset })
	if code := w.resets[3]; code != http2.ErrCodeRefusedStream {
		t.Errorf("RST_STREAM said %v", code)
	}
	_ = w.WriteRSTStream(1, http2.ErrCodeCancel)
	w.request(5, true, "x-in-table", "value")
	w.until(func(http2.Frame) bool { return w.heads[5] != nil })
	if f := w.heads[5][1]; f.Name != "x-in-table" || f.Value != "value" {
		t.Errorf("the field came as %v", f)
	}
}

// TestBudget: at the budget new streams are refused, at twice the budget old ones
// are reset, and what they held comes back.
func TestBudget(t *testing.T) {
	near, far := tcpPair(t)
	budget := NewBudget(64 << 10)
	var counted reasons
	r := run(t, far, Server, Config{Budget: budget, Count: counted.count}, handlerFuncs{accept: acceptNever})
	w := newWire(t, near, Server)
	for _, s := range []uint32{1, 3, 5} {
		w.request(s, false)
	}
	fill := func(stream uint32) {
		for range 3 {
			_ = w.WriteData(stream, false, make([]byte, 16<<10))
		}
	}
	fill(1)
	fill(3)
	w.request(7, false)
	w.until(func(http2.Frame) bool { _, reset := w.resets[7]; return reset })
	if w.resets[7] != http2.ErrCodeRefusedStream {
		t.Errorf("the new stream: %v", w.resets[7])
	}
	fill(5)
	w.until(func(http2.Frame) bool { _, reset := w.resets[5]; return reset })
	if w.resets[5] != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("the old stream: %v", w.resets[5])
	}
	if counted.get(ReasonBudget) != 2 {
		t.Errorf("counted %v", counted.of)
	}
	_ = near.Close()
	<-r.err
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes are still accounted for", used)
	}
}

// TestTinyDataIsPacked: a window full of single bytes takes about as much memory
// as it has bytes.
func TestTinyDataIsPacked(t *testing.T) {
	var q Queue
	const bytes = 64 << 10
	for range bytes {
		b := takeBuffer(bufferSize) // as it comes from a socket
		b.mem[0] = 'x'
		q.Push(Chunk{buf: b, b: b.mem[:1:1]})
	}
	held := 0
	for _, c := range q.chunks {
		held += len(c.buf.mem)
	}
	if q.Len() != bytes || held > 3*bytes {
		t.Errorf("%d bytes are held in %d, in %d chunks", q.Len(), held, len(q.chunks))
	}
	q.Clear()
}

// TestWriteTimeout: a peer that reads nothing is given up.
func TestWriteTimeout(t *testing.T) {
	near, far := pipe()
	defer near.Close()
	var counted reasons
	r := run(t, far, Server, Config{WriteTimeout: time.Millisecond, Count: counted.count}, handlerFuncs{})
	if err := <-r.err; !errors.Is(err, ReasonWriteTimeout) || counted.get(ReasonWriteTimeout) != 1 {
		t.Errorf("Run: %v", err)
	}
}

// TestPendingHeadersAreBounded: a handler cannot be made to queue responses
// without end to a peer that reads nothing.
func TestPendingHeadersAreBounded(t *testing.T) {
	near, far := pipe()
	defer near.Close()
	r := New(far, Server, Config{MaxPending: 100_000}, handlerFuncs{accept: func(s *Stream, _ *Headers, _ bool) StreamHandler {
		for range 1000 {
			h := &Headers{Kind: Informational, Status: 103, Fields: []Field{{Name: "link", Value: strings.Repeat("v", 1000)}}}
			if s.SendHeaders(h, false) != nil {
				break
			}
		}
		return never{&Queue{}}
	}})
	ended := make(chan error, 1)
	go func() { ended <- r.Run(t.Context()) }()
	go func() {
		_, _ = near.Write([]byte(preface))
		w := http2.NewFramer(near, nil)
		_ = w.WriteSettings()
		block := appendLiteral([]byte{0x82, 0x84, 0x86}, 0, 4, 1, ":authority", "a")
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: block})
	}()
	if err := <-ended; !errors.Is(err, ReasonPending) {
		t.Errorf("Run: %v", err)
	}
}
