package h2

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// canned is a connection whose reader is never called: what a peer sends is fed.
type canned struct {
	net.Conn
	written int
}

func (c *canned) Write(b []byte) (int, error)      { c.written += len(b); return len(b), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) Read([]byte) (int, error)         { return 0, io.EOF }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// replying is a handler that answers each request at once, from fields that it
// keeps, and gives its streams back.
type replying struct {
	response Headers
	body     []byte
}

func (h *replying) Ready(*Conn)   {}
func (h *replying) Changed(*Conn) {}

func (h *replying) Accept(s *Stream, _ *Headers, _ bool) StreamHandler {
	_ = s.SendHeaders(&h.response, false)
	chunk, _ := ChunkOf(h.body)
	s.Send(chunk, true)
	return h
}

func (h *replying) Headers(*Stream, *Headers, bool) {}
func (h *replying) Sent(*Stream, int)               {}
func (h *replying) Closed(s *Stream, _ *Error)      { s.Release() }
func (h *replying) Data(s *Stream, chunk Chunk, _ bool) {
	s.Consumed(chunk.Len())
	chunk.Release()
}

// fieldsOf returns twenty fields, five of which differ from message to message.
func fieldsOf(message int) []Field {
	var fields []Field
	for i := range 20 {
		value := fmt.Sprint("value ", i)
		if i < 5 {
			value = fmt.Sprint("unique ", message, i)
		}
		fields = append(fields, Field{Name: fmt.Sprint("x-field-", i), Value: value})
	}
	return fields
}

// requestFrame returns a HEADERS frame.
func requestFrame(e *encoder, id uint32, message int) []byte {
	request := get("/path")
	request.Fields = fieldsOf(message)
	block := e.block(nil, request)
	f := make([]byte, frameHeaderLen)
	frame{length: len(block), kind: frameHeaders, flags: flagEndHeaders | flagEndStream, stream: id}.put(f)
	return append(f, block...)
}

// served returns a server's connection that is fed by hand and never written.
func served(tb testing.TB, h Handler) *Conn {
	tb.Helper()
	c := New(&canned{}, Server, Config{Count: func(r Reason) { tb.Errorf("ended for %s", r) }}, h)
	settings := make([]byte, frameHeaderLen)
	frame{kind: frameSettings}.put(settings)
	if err := c.in.feed(nil, append([]byte(preface), settings...)); err != nil {
		tb.Fatal(err)
	}
	return c
}

// writeNothing does what the writer does, but for writing, and gives the window
// back.
func (c *Conn) writeNothing() {
	c.mu.Lock()
	pending, ended := c.out.pending, c.out.ended
	c.out.pending, c.out.ended, c.out.bytes = c.out.pending[:0], c.out.ended[:0], 0
	c.out.window = defaultWindow
	c.mu.Unlock()
	for _, s := range pending {
		s.buf.release()
	}
	for _, s := range ended {
		s.closed()
	}
}
