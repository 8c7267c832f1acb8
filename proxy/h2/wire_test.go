package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wire is a peer made of single frames.
type wire struct {
	t    testing.TB
	conn net.Conn
	*http2.Framer
	block bytes.Buffer
	hpack *hpack.Encoder

	// What the other side has said.
	goAway *http2.GoAwayFrame
	resets map[uint32]http2.ErrCode
	heads  map[uint32][]hpack.HeaderField
	ended  bool
}

// newWire returns a peer of the role's opposite that has greeted.
func newWire(t testing.TB, conn net.Conn, peer Role) *wire {
	t.Helper()
	w := &wire{t: t, conn: conn, resets: make(map[uint32]http2.ErrCode), heads: make(map[uint32][]hpack.HeaderField)}
	w.Framer = http2.NewFramer(conn, conn)
	w.AllowIllegalWrites = true
	w.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	w.hpack = hpack.NewEncoder(&w.block)
	t.Cleanup(func() { _ = conn.Close() })                 // before the other side ends, which waits for it
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // only stops a hang
	if peer == Server {
		_, _ = io.WriteString(conn, http2.ClientPreface)
	} else if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return w
}

// encode returns a header block of names and values.
func (w *wire) encode(namesAndValues ...string) []byte {
	w.block.Reset()
	for i := 0; i < len(namesAndValues); i += 2 {
		_ = w.hpack.WriteField(hpack.HeaderField{Name: namesAndValues[i], Value: namesAndValues[i+1]})
	}
	return bytes.Clone(w.block.Bytes())
}

// headers sends a header block in one frame.
func (w *wire) headers(stream uint32, end bool, namesAndValues ...string) {
	_ = w.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, EndStream: end, EndHeaders: true, BlockFragment: w.encode(namesAndValues...),
	})
}

// request opens a stream.
func (w *wire) request(stream uint32, end bool, more ...string) {
	w.headers(stream, end, append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"}, more...)...)
}

// next reads a frame, answers SETTINGS, and notes what it says; false at the end.
func (w *wire) next() (http2.Frame, bool) {
	f, err := w.ReadFrame()
	if err != nil {
		w.ended = true
		return nil, false
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			_ = w.WriteSettingsAck()
		}
	case *http2.GoAwayFrame:
		if w.goAway == nil || w.goAway.ErrCode == http2.ErrCodeNo {
			w.goAway = f
		}
	case *http2.RSTStreamFrame:
		w.resets[f.StreamID] = f.ErrCode
	case *http2.MetaHeadersFrame:
		w.heads[f.StreamID] = f.Fields
	}
	return f, true
}

// until reads frames until done, and fails the test if the connection ends before.
func (w *wire) until(done func(http2.Frame) bool) {
	w.t.Helper()
	for {
		f, ok := w.next()
		if !ok {
			w.t.Fatalf("the connection ended; GOAWAY %v, resets %v", w.goAway, w.resets)
		}
		if done(f) {
			return
		}
	}
}

// toTheEnd reads until the connection ends.
func (w *wire) toTheEnd() {
	for {
		if _, ok := w.next(); !ok {
			return
		}
	}
}

// outcome checks that a connection ended with GOAWAY(code) for the reason.
func (w *wire) outcome(r *running, code Code, reason Reason) {
	w.t.Helper()
	w.toTheEnd()
	_ = w.conn.Close()
	err := <-r.err
	var e *Error
	if !errors.As(err, &e) || e.Reason != reason || e.Code != code {
		w.t.Errorf("Run: %v, want %s (%s)", err, reason, code)
	}
	if w.goAway != nil && Code(w.goAway.ErrCode) != code {
		w.t.Errorf("GOAWAY said %v, want %s", w.goAway.ErrCode, code)
	}
}

// raw sends bytes as they are.
func (w *wire) raw(b []byte) { _, _ = w.conn.Write(b) }

// frame sends a frame of anything.
func (w *wire) frame(kind frameType, flags uint8, stream uint32, payload []byte) {
	b := make([]byte, frameHeaderLen, frameHeaderLen+len(payload))
	frame{length: len(payload), kind: kind, flags: flags, stream: stream}.put(b)
	w.raw(append(b, payload...))
}
