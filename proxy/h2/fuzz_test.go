package h2

import (
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// strict is a handler that checks the order of what it is told, and does
// something odd with each stream, as its number says.
type strict struct {
	t      *testing.T
	mu     sync.Mutex
	open   map[*Stream]bool // true once the peer has ended
	server bool
}

func (h *strict) Ready(*Conn)   {}
func (h *strict) Changed(*Conn) {}

func (h *strict) Accept(s *Stream, head *Headers, end bool) StreamHandler {
	h.check(head, Request)
	h.mu.Lock()
	h.open[s] = end
	h.mu.Unlock()
	switch s.ID() % 16 {
	case 1:
		return acceptRefused(h, s)
	case 3:
		s.Reset(Cancel)
	case 5:
		s.Finish(NoError)
	case 7:
		_ = s.SendHeaders(&Headers{Kind: Response, Status: 204}, true)
	default:
		_ = s.SendHeaders(&Headers{Kind: Response, Status: 200, Fields: head.Fields}, false)
		if end {
			s.Send(Chunk{}, true)
		}
	}
	return h
}

func acceptRefused(h *strict, s *Stream) StreamHandler {
	h.mu.Lock()
	delete(h.open, s)
	h.mu.Unlock()
	return nil
}

func (h *strict) check(head *Headers, kinds ...Kind) {
	ok := false
	for _, k := range kinds {
		ok = ok || head.Kind == k
	}
	for _, f := range head.Fields {
		if f.Name != strings.ToLower(f.Name) || f.Name == "" || strings.ContainsAny(f.Name, ": \r\n") || strings.ContainsAny(f.Value, "\r\n\x00") || f.Name == "connection" {
			ok = false
		}
	}
	if !ok {
		h.t.Errorf("got %+v", head)
	}
}

func (h *strict) event(s *Stream, end bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ended, open := h.open[s]
	if !open || ended {
		h.t.Errorf("stream %d: open %v, ended %v, and something came", s.ID(), open, ended)
	}
	h.open[s] = end
}

func (h *strict) Headers(s *Stream, head *Headers, end bool) {
	h.event(s, end)
	h.check(head, Trailers, Response, Informational)
	if h.server && end {
		s.Send(Chunk{}, true)
	}
}

func (h *strict) Data(s *Stream, chunk Chunk, end bool) {
	h.event(s, end)
	if !h.server {
		s.Consumed(chunk.Len())
		chunk.Release()
		return
	}
	s.Consumed(s.Send(chunk, end))
}

func (h *strict) Sent(s *Stream, n int) { s.Consumed(n) }

func (h *strict) Closed(s *Stream, err *Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ended, open := h.open[s]
	if !open || err == nil && !ended {
		h.t.Errorf("stream %d: closed with %v; open %v, ended %v", s.ID(), err, open, ended)
	}
	delete(h.open, s)
}

// sequence turns bytes into frames: two bytes of each say what it is, so that
// most are well-formed and a few are not.
func sequence(b []byte) []byte {
	var out []byte
	for len(b) >= 3 {
		kind, flags, stream := frameType(b[0]%11), b[1], uint32(b[2]%20)
		n := 0
		if len(b) > 3 {
			n = min(int(b[3]), len(b)-4)
			b = b[1:]
		}
		payload := b[3 : 3+n]
		b = b[3+n:]
		switch kind {
		case frameSettings, framePing, frameGoAway:
			if flags < 250 {
				stream = 0
			}
			switch {
			case kind == framePing && flags < 250:
				payload = append(slices.Clip(payload), make([]byte, 8)...)[:8]
			case kind == frameSettings && flags < 250:
				payload = payload[:len(payload)/settingLen*settingLen]
			}
		case frameHeaders:
			if flags < 200 {
				flags = flags&flagEndStream | flagEndHeaders
				payload = append([]byte{0x82, 0x84, 0x86, 0x41, 1, 'a'}, payload...) // a good request
			}
		case frameWindowUpdate, frameRSTStream:
			if flags < 250 {
				payload = append(slices.Clip(payload), make([]byte, 4)...)[:4]
			}
		default:
		}
		f := make([]byte, frameHeaderLen)
		frame{length: len(payload), kind: kind, flags: flags, stream: stream}.put(f)
		out = append(append(out, f...), payload...)
	}
	return out
}

// scripted is a connection whose peer sends what it is given, in pieces, and
// takes everything.
type scripted struct {
	net.Conn
	in    []byte
	piece int
}

func (c *scripted) Read(b []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.piece)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *scripted) Write(b []byte) (int, error)      { return len(b), nil }
func (c *scripted) Close() error                     { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }

// FuzzConn has a peer send frame sequences in either role. Handlers are told
// things in order, nothing is left, and nothing is accounted for at the end.
func FuzzConn(f *testing.F) {
	f.Add(false, byte(0), []byte("\x01\x01\x09\x00"))
	f.Add(false, byte(3), []byte("\x01\x00\x09\x00\x00\x01\x09\x05hello"))
	f.Add(false, byte(1), []byte("\x01\x00\x0b\x00\x00\x00\x0b\x05hello\x01\x01\x0b\x02\x40\x01\x03\x00\x0b\x04\x00\x00\x00\x08"))
	f.Add(false, byte(9), []byte("\x01\x00\x09\x00\x04\x00\x00\x06\x00\x04\x7f\xff\xff\xff\x08\x00\x09\x04\x00\x00\x00\x00"))
	f.Add(false, byte(50), []byte("\x06\x00\x00\x00\x07\x00\x00\x00\x02\x00\x03\x05\x00\x00\x00\x03\x01\x0a\x00\x00\x00"))
	f.Add(false, byte(50), []byte("\x01\xc8\x09\x02\x82\x84\x09\x04\x09\x00"))
	f.Add(true, byte(2), []byte("\x01\xc9\x01\x01\x89"))
	f.Add(true, byte(7), []byte("\x01\xcc\x01\x01\x88\x00\x09\x01\x05\x00hello\x00\x01\x01\x00\x01\xcd\x03\x01\x88"))
	f.Add(true, byte(7), []byte("\x07\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x01\xcd\x01\x01\x88"))
	f.Fuzz(func(t *testing.T, client bool, piece byte, script []byte) {
		settings := make([]byte, frameHeaderLen)
		frame{kind: frameSettings}.put(settings)
		conn := &scripted{piece: 1 + int(piece)}
		role := Server
		if client {
			role = Client
			conn.in = settings
		} else {
			conn.in = append([]byte(preface), settings...)
		}
		conn.in = append(conn.in, sequence(script)...)
		h := &strict{t: t, open: make(map[*Stream]bool), server: !client}
		budget := NewBudget(1 << 20)
		c := New(conn, role, Config{Budget: budget}, h)
		for i := 0; client && i < 5; i++ {
			h.mu.Lock()
			s, err := c.Open(get("/"), i%2 == 0, h)
			if err != nil {
				t.Fatal(err)
			}
			h.open[s] = false
			h.mu.Unlock()
		}
		_ = c.Run(t.Context())
		if len(h.open) != 0 {
			t.Errorf("%d streams were never closed", len(h.open))
		}
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are still accounted for", used)
		}
		if c.tiny != 0 {
			t.Errorf("%d pieces of data are still accounted for", c.tiny)
		}
	})
}

// FuzzFields: what passes for a header block is one, whatever else reads it.
func FuzzFields(f *testing.F) {
	f.Add(byte(Request), ":method", "GET", ":scheme", "https", ":path", "/a?b=c", "host", "a")
	f.Add(byte(Request), ":method", "CONNECT", ":authority", "a:1", "x", "y", "te", "trailers")
	f.Add(byte(Request), ":method", "OPTIONS", ":scheme", "http", ":path", "*", ":authority", "[::1]:8")
	f.Add(byte(Response), ":status", "200", "content-length", "007", "set-cookie", "a=b", "", "")
	f.Add(byte(Trailers), "grpc-status", "0", "transfer-encoding", "chunked", "X", "y", ":status", "1")
	f.Fuzz(func(t *testing.T, kind byte, n1, v1, n2, v2, n3, v3, n4, v4 string) {
		fields := []Field{{Name: n1, Value: v1}, {Name: n2, Value: v2}, {Name: n3, Value: v3}, {Name: n4, Value: v4}}
		if kind = kind%4 + 1; Kind(kind) == Informational {
			return
		}
		var h Headers
		if readHeaders(&h, Kind(kind), fields) != nil {
			return
		}
		// As HTTP/1.1, it is as many lines as it has fields.
		var text strings.Builder
		text.WriteString(h.Method + " " + h.Path + " " + h.Authority + "\n")
		for _, field := range h.Fields {
			text.WriteString(field.Name + ": " + field.Value + "\n")
			if field.Name != strings.ToLower(field.Name) || field.Value != strings.Trim(field.Value, " \t") {
				t.Errorf("field %+v was taken", field)
			}
		}
		if lines := strings.Count(text.String(), "\n"); lines != len(h.Fields)+1 || strings.ContainsAny(text.String(), "\r\x00") {
			t.Errorf("%q is not %d lines", text.String(), len(h.Fields)+1)
		}
		if first, _, _ := strings.Cut(text.String(), "\n"); strings.Count(first, " ") != 2 {
			t.Errorf("%q is no request line", first)
		}
		if h.Kind == Response && (h.Status < 200 || h.Status > 999) {
			t.Errorf("status %d", h.Status)
		}
	})
}
