//go:build long

package conformance_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// flood is what somebody does who means harm: on each connection the same, until
// it is cut.
type flood struct {
	name    string
	version int    // of HTTP
	limit   string // that is met
	streams bool   // its streams are cut, not the connection, which others may share
	run     func(*hostile) error
}

// hostile is a connection of somebody who means harm.
type hostile struct {
	net.Conn
	*http2.Framer

	block   bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32
}

// greet says what HTTP/2 begins with.
func (h *hostile) greet() error {
	h.Framer = http2.NewFramer(h.Conn, nil)
	h.AllowIllegalWrites = true
	h.encoder = hpack.NewEncoder(&h.block)
	if _, err := io.WriteString(h.Conn, http2.ClientPreface); err != nil {
		return err
	}
	if err := h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}); err != nil {
		return err
	}
	return h.WriteSettingsAck()
}

// encode returns a header block of names and values.
func (h *hostile) encode(namesAndValues ...string) []byte {
	h.block.Reset()
	for i := 0; i < len(namesAndValues); i += 2 {
		_ = h.encoder.WriteField(hpack.HeaderField{Name: namesAndValues[i], Value: namesAndValues[i+1]})
	}
	return h.block.Bytes()
}

// open opens a stream by a request for what never reads its content.
func (h *hostile) open(end bool) (uint32, error) {
	h.stream += 2
	return h.stream - 1, h.WriteHeaders(http2.HeadersFrameParam{
		StreamID: h.stream - 1, EndStream: end, EndHeaders: true,
		BlockFragment: h.encode(":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/never"),
	})
}

// each does something with a new stream, again and again.
func (h *hostile) each(end bool, do func(stream uint32) error) error {
	for {
		stream, err := h.open(end)
		if err == nil {
			err = do(stream)
		}
		if err != nil {
			return err
		}
	}
}

// on does something with one stream, again and again.
func (h *hostile) on(do func(stream uint32) error) error {
	stream, err := h.open(false)
	for err == nil {
		err = do(stream)
	}
	return err
}

// say sends text and waits for the end.
func (h *hostile) say(text string) error {
	if _, err := io.WriteString(h.Conn, text); err != nil {
		return err
	}
	return errWaits
}

// errWaits says that somebody who means harm has done it, and waits.
var errWaits = fmt.Errorf("waits until it is cut")

// floods are those of which it is known that they have brought servers down.
func floods() []flood {
	return []flood{
		{"rapid reset (CVE-2023-44487)", 2, "reset_flood", false, func(h *hostile) error {
			return h.each(true, func(s uint32) error { return h.WriteRSTStream(s, http2.ErrCodeCancel) })
		}},
		{"MadeYouReset (CVE-2025-8671)", 2, "reset_flood", false, func(h *hostile) error {
			return h.each(false, func(s uint32) error { return h.WriteWindowUpdate(s, 0) })
		}},
		{"CONTINUATION (CVE-2024-27316)", 2, "continuation_flood", false, func(h *hostile) error {
			err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.encode(":method", "GET")})
			for err == nil {
				err = h.WriteContinuation(1, false, h.encode("a", "b"))
			}
			return err
		}},
		{"HPACK bomb (CVE-2016-6581)", 2, "header_fields", false, func(h *hostile) error {
			bomb := bytes.Repeat([]byte{0x80 | 62}, 16000) // the newest of the table
			return h.on(func(uint32) error {
				h.stream += 2
				block := append([]byte(nil), h.encode(":method", "GET", ":scheme", "http", ":path", "/", "x", strings.Repeat("y", 3900))...)
				err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: h.stream - 1, EndStream: true, BlockFragment: block})
				if err == nil {
					err = h.WriteContinuation(h.stream-1, true, bomb)
				}
				return err
			})
		}},
		{"empty DATA (CVE-2019-9518)", 2, "empty_frame_flood", false, func(h *hostile) error {
			return h.on(func(s uint32) error { return h.WriteData(s, false, nil) })
		}},
		{"PING (CVE-2019-9512)", 2, "ping_flood", false, func(h *hostile) error {
			return h.on(func(uint32) error { return h.WritePing(false, [8]byte{}) })
		}},
		{"SETTINGS (CVE-2019-9515)", 2, "settings_flood", false, func(h *hostile) error {
			return h.on(func(uint32) error { return h.WriteSettings() })
		}},
		{"WINDOW_UPDATE", 2, "window_update_flood", false, func(h *hostile) error {
			return h.on(func(uint32) error { return h.WriteWindowUpdate(0, 1) })
		}},
		{"tiny DATA (CVE-2019-9511)", 2, "http_slow_body", true, func(h *hostile) error {
			return h.each(false, func(s uint32) error {
				for range 60_000 { // what a window takes
					if err := h.WriteData(s, false, []byte{'x'}); err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{"a head without end", 1, "http_slow_header", false, func(h *hostile) error { return h.say("GET / HTTP/1.1\r\nHost: a\r\nX-") }},
		{"a header block without end", 2, "slow_headers", false, func(h *hostile) error {
			if err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.encode(":method", "GET")}); err != nil {
				return err
			}
			return errWaits
		}},
		{"a body without end", 1, "http_slow_body", false, func(h *hostile) error {
			return h.say("POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
		}},
		{"a body without end on a stream", 2, "http_slow_body", true, func(h *hostile) error {
			for range 100 {
				s, err := h.open(false)
				if err == nil {
					err = h.WriteData(s, false, []byte{'x'})
				}
				if err != nil {
					return err
				}
			}
			return errWaits
		}},
	}
}
