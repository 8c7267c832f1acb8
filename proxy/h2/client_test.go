package h2

import (
	"errors"
	"testing"

	"golang.org/x/net/http2"
)

// clientCase is something that a server does after a client's request, and what
// is to come of it.
type clientCase struct {
	name   string
	method string
	hold   bool // what comes is not consumed
	do     func(w *wire)

	conn   Reason // the connection ends for it, or
	stream Reason // the stream does
	code   Code
}

// TestClientRefuses: what a client owes a server that breaks the protocol (RFC
// 9113; h2spec tests servers only). The stream is 1, its request has ended.
func TestClientRefuses(t *testing.T) {
	ok := func(w *wire) { w.headers(1, false, ":status", "200") }
	fields := func(namesAndValues ...string) func(*wire) {
		return func(w *wire) { w.headers(1, false, namesAndValues...) }
	}
	setting := func(id settingID, value uint32) func(*wire) {
		return func(w *wire) { w.frame(frameSettings, 0, 0, appendSetting(nil, id, value)) }
	}
	for _, c := range []clientCase{
		{name: "5.1: DATA on an idle stream", do: func(w *wire) { _ = w.WriteData(3, false, nil) }, conn: ReasonStreamState, code: ProtocolError},
		{name: "5.1: HEADERS on an idle stream", do: func(w *wire) { w.headers(3, false, ":status", "200") }, conn: ReasonStreamState, code: ProtocolError},
		{name: "5.1: RST_STREAM on an idle stream", do: func(w *wire) { _ = w.WriteRSTStream(3, 0) }, conn: ReasonStreamState, code: ProtocolError},
		{name: "5.1: WINDOW_UPDATE on an idle stream", do: func(w *wire) { _ = w.WriteWindowUpdate(3, 1) }, conn: ReasonStreamState, code: ProtocolError},
		{name: "5.1.1: HEADERS on an even stream", do: func(w *wire) { w.headers(2, false, ":status", "200") }, conn: ReasonStreamState, code: ProtocolError},
		{name: "5.1.1: DATA on an even stream", do: func(w *wire) { _ = w.WriteData(2, false, nil) }, conn: ReasonStreamState, code: ProtocolError},
		{name: "6.1: DATA on stream 0", do: func(w *wire) { _ = w.WriteData(0, false, []byte("x")) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.1: padding longer than the frame", do: func(w *wire) { ok(w); w.frame(frameData, flagPadded, 1, []byte{5, 0, 0}) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.2: HEADERS on stream 0", do: func(w *wire) { w.headers(0, false, ":status", "200") }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.2: padding longer than HEADERS", do: func(w *wire) { w.frame(frameHeaders, flagPadded|flagEndHeaders, 1, []byte{9, 0x88}) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.4: RST_STREAM on stream 0", do: func(w *wire) { _ = w.WriteRSTStream(0, 0) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.4: RST_STREAM of 3 bytes", do: func(w *wire) { w.frame(frameRSTStream, 0, 1, []byte{0, 0, 0}) }, conn: ReasonFrame, code: FrameSizeError},
		{name: "6.5: SETTINGS on a stream", do: func(w *wire) { w.frame(frameSettings, 0, 1, nil) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.5: SETTINGS of 5 bytes", do: func(w *wire) { w.frame(frameSettings, 0, 0, make([]byte, 5)) }, conn: ReasonFrame, code: FrameSizeError},
		{name: "6.5: an acknowledgement with a payload", do: func(w *wire) { w.frame(frameSettings, flagAck, 0, make([]byte, 6)) }, conn: ReasonFrame, code: FrameSizeError},
		{name: "6.5: an acknowledgement of nothing", do: func(w *wire) { _ = w.WriteSettingsAck(); _ = w.WriteSettingsAck() }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.5.2: a server that pushes", do: setting(settingEnablePush, 1), conn: ReasonFrame, code: ProtocolError},
		{name: "6.5.2: a window above the maximum", do: setting(settingInitialWindowSize, 1<<31), conn: ReasonFlowControl, code: FlowControlError},
		{name: "6.5.2: frames too short", do: setting(settingMaxFrameSize, 100), conn: ReasonFrame, code: ProtocolError},
		{name: "6.5.2: frames too long", do: setting(settingMaxFrameSize, 1<<24), conn: ReasonFrame, code: ProtocolError},
		{name: "RFC 8441, 3: extended CONNECT taken back", do: func(w *wire) { setting(settingConnectProtocol, 1)(w); setting(settingConnectProtocol, 0)(w) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.6: PUSH_PROMISE", do: func(w *wire) {
			_ = w.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: w.encode(":method", "GET"), EndHeaders: true})
		}, conn: ReasonFrame, code: ProtocolError},
		{name: "6.7: PING on a stream", do: func(w *wire) { w.frame(framePing, 0, 1, make([]byte, 8)) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.7: PING of 7 bytes", do: func(w *wire) { w.frame(framePing, 0, 0, make([]byte, 7)) }, conn: ReasonFrame, code: FrameSizeError},
		{name: "6.8: GOAWAY on a stream", do: func(w *wire) { w.frame(frameGoAway, 0, 1, make([]byte, 8)) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.8: GOAWAY of 7 bytes", do: func(w *wire) { w.frame(frameGoAway, 0, 0, make([]byte, 7)) }, conn: ReasonFrame, code: FrameSizeError},
		{name: "6.9: WINDOW_UPDATE of 0 on the connection", do: func(w *wire) { _ = w.WriteWindowUpdate(0, 0) }, conn: ReasonFlowControl, code: ProtocolError},
		{name: "6.9: WINDOW_UPDATE of 0 on a stream", do: func(w *wire) { _ = w.WriteWindowUpdate(1, 0) }, stream: ReasonFlowControl, code: ProtocolError},
		{name: "6.9.1: the connection's window above the maximum", do: func(w *wire) { _ = w.WriteWindowUpdate(0, maxWindow) }, conn: ReasonFlowControl, code: FlowControlError},
		{name: "6.9.1: a stream's window above the maximum", do: func(w *wire) { _ = w.WriteWindowUpdate(1, maxWindow) }, stream: ReasonFlowControl, code: FlowControlError},
		{name: "6.9.1: more than the stream's window", hold: true, do: func(w *wire) {
			ok(w)
			for range 5 {
				_ = w.WriteData(1, false, make([]byte, 16<<10))
			}
		}, stream: ReasonFlowControl, code: FlowControlError},
		{name: "6.10: CONTINUATION after nothing", do: func(w *wire) { _ = w.WriteContinuation(1, true, nil) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.10: DATA within a header block", do: func(w *wire) { w.frame(frameHeaders, 0, 1, []byte{0x88}); _ = w.WriteData(1, false, nil) }, conn: ReasonFrame, code: ProtocolError},
		{name: "6.10: CONTINUATION of another stream", do: func(w *wire) { w.frame(frameHeaders, 0, 1, []byte{0x88}); _ = w.WriteContinuation(3, true, nil) }, conn: ReasonFrame, code: ProtocolError},
		{name: "4.2: a frame too long", do: func(w *wire) { w.frame(frameData, 0, 1, make([]byte, minFrameSize+1)) }, conn: ReasonFrame, code: FrameSizeError},
		{name: "4.3: a block that is none", do: func(w *wire) { w.frame(frameHeaders, flagEndHeaders, 1, []byte{0xff, 0xff}) }, conn: ReasonCompression, code: CompressionError},
		{name: "8.1: DATA before the response", do: func(w *wire) { _ = w.WriteData(1, true, []byte("x")) }, stream: ReasonFields, code: ProtocolError},
		{name: "8.1: trailers without an end", do: func(w *wire) { ok(w); w.headers(1, false, "x", "y") }, stream: ReasonFields, code: ProtocolError},
		{name: "8.1: trailers with a status", do: func(w *wire) { ok(w); w.headers(1, true, ":status", "200") }, stream: ReasonFields, code: ProtocolError},
		{name: "8.1.1: shorter than content-length", do: func(w *wire) {
			w.headers(1, false, ":status", "200", "content-length", "5")
			_ = w.WriteData(1, true, []byte("four"))
		}, stream: ReasonLength, code: ProtocolError},
		{name: "8.1.1: longer than content-length", do: func(w *wire) {
			w.headers(1, false, ":status", "200", "content-length", "3")
			_ = w.WriteData(1, false, []byte("four"))
		}, stream: ReasonLength, code: ProtocolError},
		{name: "8.1.1: no body where content-length says so", do: func(w *wire) { w.headers(1, true, ":status", "200", "content-length", "3") }, stream: ReasonFields, code: ProtocolError},
		{name: "8.1.1: trailers before all of content-length", do: func(w *wire) {
			w.headers(1, false, ":status", "200", "content-length", "3")
			w.headers(1, true, "x", "y")
		}, stream: ReasonFields, code: ProtocolError},
		{name: "9110, 8.6: two content-lengths", do: fields(":status", "200", "content-length", "3", "content-length", "3"), stream: ReasonFields, code: ProtocolError},
		{name: "9110, 8.6: a signed content-length", do: fields(":status", "200", "content-length", "+3"), stream: ReasonFields, code: ProtocolError},
		{name: "9110, 9.3.2: a body for HEAD", method: "HEAD", do: func(w *wire) { ok(w); _ = w.WriteData(1, true, []byte("x")) }, stream: ReasonLength, code: ProtocolError},
		{name: "9110, 15.4.5: a body with 304", do: func(w *wire) {
			w.headers(1, false, ":status", "304", "content-length", "1")
			_ = w.WriteData(1, true, []byte("x"))
		}, stream: ReasonLength, code: ProtocolError},
		{name: "8.2.1: an upper-case name", do: fields(":status", "200", "X", "y"), stream: ReasonFields, code: ProtocolError},
		{name: "8.2.1: an empty name", do: fields(":status", "200", "", "y"), stream: ReasonFields, code: ProtocolError},
		{name: "8.2.1: a line feed in a value", do: fields(":status", "200", "x", "a\nb"), stream: ReasonFields, code: ProtocolError},
		{name: "8.2.1: a NUL in a value", do: fields(":status", "200", "x", "a\x00b"), stream: ReasonFields, code: ProtocolError},
		{name: "8.2.1: a space before a value", do: fields(":status", "200", "x", " a"), stream: ReasonFields, code: ProtocolError},
		{name: "8.2.2: transfer-encoding", do: fields(":status", "200", "transfer-encoding", "chunked"), stream: ReasonFields, code: ProtocolError},
		{name: "8.2.2: connection", do: fields(":status", "200", "connection", "close"), stream: ReasonFields, code: ProtocolError},
		{name: "8.3: a pseudo-field of requests", do: fields(":status", "200", ":path", "/"), stream: ReasonFields, code: ProtocolError},
		{name: "8.3: a pseudo-field that is late", do: fields("x", "y", ":status", "200"), stream: ReasonFields, code: ProtocolError},
		{name: "8.3.2: no status", do: fields("x", "y"), stream: ReasonFields, code: ProtocolError},
		{name: "8.3.2: two statuses", do: fields(":status", "200", ":status", "200"), stream: ReasonFields, code: ProtocolError},
		{name: "8.3.2: a status that is none", do: fields(":status", "2xx"), stream: ReasonFields, code: ProtocolError},
		{name: "8.6: status 101", do: fields(":status", "101"), stream: ReasonFields, code: ProtocolError},
		{name: "8.1: an informational end", do: func(w *wire) { w.headers(1, true, ":status", "103") }, stream: ReasonFields, code: ProtocolError},
		{name: "the server resets", do: func(w *wire) { ok(w); _ = w.WriteRSTStream(1, http2.ErrCodeEnhanceYourCalm) }, stream: ReasonPeerReset, code: EnhanceYourCalm},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t) })
	}
}

func (c clientCase) run(t *testing.T) {
	near, far := tcpPair(t)
	r := run(t, near, Client, Config{}, handlerFuncs{})
	w := newWire(t, far, Client)
	h := get("/")
	if c.method != "" {
		h.Method = c.method
	}
	e := &exchange{done: make(chan struct{}), hold: c.hold}
	if _, err := r.Open(h, true, e); err != nil {
		t.Fatal(err)
	}
	w.until(func(http2.Frame) bool { return w.heads[1] != nil })
	c.do(w)
	if c.conn != "" {
		w.outcome(r, c.code, c.conn)
		<-e.done
		if !errors.Is(e.err, c.conn) {
			t.Errorf("the stream ended with %v", e.err)
		}
		return
	}
	<-e.done
	if e.err == nil || e.err.Reason != c.stream || e.err.Code != c.code {
		t.Errorf("the stream ended with %v, want %s (%s)", e.err, c.stream, c.code)
	}
	if c.stream != ReasonPeerReset {
		w.until(func(http2.Frame) bool { _, reset := w.resets[1]; return reset })
		if Code(w.resets[1]) != c.code {
			t.Errorf("RST_STREAM said %v, want %s", w.resets[1], c.code)
		}
	}
	// The connection goes on, and the tables are in step.
	e = &exchange{done: make(chan struct{})}
	if _, err := r.Open(get("/"), true, e); err != nil {
		t.Fatal(err)
	}
	w.headers(3, true, ":status", "204", "x-after", "v")
	<-e.done
	if e.err != nil || e.status != 204 {
		t.Errorf("the stream after it: %d, %v", e.status, e.err)
	}
}

// TestClientFollows: what a client takes.
func TestClientFollows(t *testing.T) {
	near, far := tcpPair(t)
	r := run(t, near, Client, Config{}, handlerFuncs{})
	w := newWire(t, far, Client)
	request := func(stream uint32, method string, do func()) *exchange {
		t.Helper()
		e := &exchange{done: make(chan struct{})}
		h := get("/")
		h.Method = method
		if _, err := r.Open(h, true, e); err != nil {
			t.Fatal(err)
		}
		w.until(func(http2.Frame) bool { return w.heads[stream] != nil })
		do()
		<-e.done
		return e
	}
	for i, c := range []struct {
		name, method string
		do           func(stream uint32)
		status       int
		body         string
	}{
		{"8.1: informational responses", "GET", func(s uint32) {
			w.headers(s, false, ":status", "100")
			w.headers(s, false, ":status", "103", "link", "</a>")
			w.headers(s, true, ":status", "204")
		}, 204, ""},
		{"6.1: padding", "GET", func(s uint32) {
			w.headers(s, false, ":status", "200", "content-length", "4")
			_ = w.WriteDataPadded(s, false, []byte("bo"), make([]byte, 200))
			_ = w.WriteDataPadded(s, true, []byte("dy"), nil)
		}, 200, "body"},
		{"6.10: a block in pieces", "GET", func(s uint32) {
			block := w.encode(":status", "200", "x", "y")
			_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: block[:1]})
			for _, b := range block[1:] {
				_ = w.WriteContinuation(s, false, []byte{b})
			}
			_ = w.WriteContinuation(s, true, nil)
			_ = w.WriteData(s, true, []byte("x"))
		}, 200, "x"},
		{"9110, 9.3.2: content-length for HEAD", "HEAD", func(s uint32) { w.headers(s, true, ":status", "200", "content-length", "7") }, 200, ""},
		{"9110, 15.4.5: content-length with 304", "GET", func(s uint32) { w.headers(s, true, ":status", "304", "content-length", "7") }, 304, ""},
		{"9113, 8.1: RST_STREAM(NO_ERROR) after the response", "GET", func(s uint32) {
			w.headers(s, true, ":status", "200")
			_ = w.WriteRSTStream(s, http2.ErrCodeNo)
		}, 200, ""},
		{"6.10: another block in many pieces", "GET", func(s uint32) {
			_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: w.encode(":status", "200")})
			for range 30 {
				_ = w.WriteContinuation(s, false, w.encode("x", "y"))
			}
			_ = w.WriteContinuation(s, true, nil)
			_ = w.WriteData(s, true, nil)
		}, 200, ""},
		{"5.5: frames and settings of unknown types", "GET", func(s uint32) {
			w.frame(0x42, 0xff, s, []byte("anything"))
			w.frame(0x43, 0, 0, nil)
			w.frame(frameSettings, 0, 0, appendSetting(nil, 0x4242, 7))
			w.headers(s, true, ":status", "200")
		}, 200, ""},
		{"5.3.2: PRIORITY", "GET", func(s uint32) {
			_ = w.WritePriority(s, http2.PriorityParam{StreamDep: 77, Weight: 3})
			w.headers(s, true, ":status", "200")
		}, 200, ""},
	} {
		e := request(uint32(2*i+1), c.method, func() { c.do(uint32(2*i + 1)) })
		if e.err != nil || e.status != c.status || e.body.String() != c.body {
			t.Errorf("%s: status %d, body %q, error %v", c.name, e.status, e.body.String(), e.err)
		}
	}
}

// TestGoAwayOfAServer: streams above its last go elsewhere, the others go on, and
// the client closes after them.
func TestGoAwayOfAServer(t *testing.T) {
	near, far := tcpPair(t)
	changed := make(chan struct{}, 10)
	r := run(t, near, Client, Config{}, handlerFuncs{changed: func(*Conn) { changed <- struct{}{} }})
	w := newWire(t, far, Client)
	first, second := &exchange{done: make(chan struct{})}, &exchange{done: make(chan struct{})}
	for _, e := range []*exchange{first, second} {
		if _, err := r.Open(get("/"), true, e); err != nil {
			t.Fatal(err)
		}
	}
	w.until(func(http2.Frame) bool { return w.heads[3] != nil })
	_ = w.WriteGoAway(1, http2.ErrCodeNo, []byte("debug"))
	<-second.done
	if second.err == nil || !second.err.Unprocessed || second.err.Reason != ReasonPeerGoAway {
		t.Errorf("the stream above the last: %v, unprocessed %v", second.err, second.err.Unprocessed)
	}
	if r.Available() || !r.Retired() {
		t.Error("the connection still takes streams")
	}
	w.headers(1, true, ":status", "200")
	<-first.done
	if first.err != nil || first.status != 200 {
		t.Errorf("the stream below it: %d, %v", first.status, first.err)
	}
	w.toTheEnd()
	_ = far.Close()
	if err := <-r.err; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestRefusedStreamMayGoElsewhere (RFC 9113, section 8.7).
func TestRefusedStreamMayGoElsewhere(t *testing.T) {
	near, far := tcpPair(t)
	r := run(t, near, Client, Config{}, handlerFuncs{})
	w := newWire(t, far, Client)
	e := &exchange{done: make(chan struct{})}
	if _, err := r.Open(get("/"), true, e); err != nil {
		t.Fatal(err)
	}
	w.until(func(http2.Frame) bool { return w.heads[1] != nil })
	_ = w.WriteRSTStream(1, http2.ErrCodeRefusedStream)
	<-e.done
	if e.err == nil || !e.err.Unprocessed {
		t.Errorf("ended with %v", e.err)
	}
}

// TestStreamLimitOfTheServer is honoured, and room is told of.
func TestStreamLimitOfTheServer(t *testing.T) {
	near, far := tcpPair(t)
	room := make(chan struct{}, 10)
	r := run(t, near, Client, Config{}, handlerFuncs{changed: func(c *Conn) {
		if c.Available() {
			room <- struct{}{}
		}
	}})
	w := newWire(t, far, Client)
	w.until(func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	<-room
	_ = w.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	w.until(func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	for len(room) > 0 {
		<-room
	}
	e := &exchange{done: make(chan struct{})}
	if _, err := r.Open(get("/"), true, e); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(get("/"), true, e); !errors.Is(err, ErrUnavailable) || r.Room() != 0 {
		t.Errorf("a second stream: %v, room for %d", err, r.Room())
	}
	w.headers(1, true, ":status", "200")
	<-e.done
	<-room
	if _, err := r.Open(get("/"), true, &exchange{done: make(chan struct{})}); err != nil {
		t.Error(err)
	}
}
