package h1

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// decode decodes raw given in pieces of at most size bytes, and returns the
// content, the trailers, and what is left.
func decode(raw string, size int) (content, trailers, rest string, done bool, err error) {
	limits := Limits{}.Defaults()
	var d Decoder
	var fs []message.Field
	var body, pending []byte
	for len(raw) > 0 && !d.Done() {
		take := min(size, len(raw))
		pending = append(pending, raw[:take]...)
		raw = raw[take:]
		var n, used int
		n, used, fs, err = d.Decode(pending, fs, &limits)
		if err != nil {
			return string(body), "", "", false, err
		}
		body = append(body, pending[:n]...)
		pending = bytes.Clone(pending[used:])
	}
	return string(body), fields(fs), string(pending) + raw, d.Done(), nil
}

func TestChunked(t *testing.T) {
	for _, c := range []struct{ name, raw, body, trailers, rest string }{
		{"RFC 9112 7.1 one chunk", "3\r\nabc\r\n0\r\n\r\n", "abc", "", ""},
		{"RFC 9112 7.1 several, and what follows", "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nGET", "abc0123456789", "", "GET"},
		{"RFC 9112 7.1 hexadecimal in any case, leading zeros", "000a\r\n0123456789\r\n000\r\n\r\n", "0123456789", "", ""},
		{"RFC 9112 7.1.1 extensions are ignored", "3;a=b;c=\"d;e\"\r\nabc\r\n0;x\r\n\r\n", "abc", "", ""},
		{"RFC 9112 7.1.2 trailers", "1\r\na\r\n0\r\nA-B: c\r\nGrpc-Status: 0\r\n\r\n", "a", "a-b=c;grpc-status=0;", ""},
		{"RFC 9110 6.5.1 what may not come in trailers goes", "0\r\nA: b\r\nAuthorization: x\r\nTE: trailers\r\n\r\n", "", "a=b;", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 1 << 20} {
				body, trailers, rest, done, err := decode(c.raw, size)
				if err != nil || !done || body != c.body || trailers != c.trailers || rest != c.rest {
					t.Errorf("by %d: %q, %q, %q, %v, %v", size, body, trailers, rest, done, err)
				}
			}
		})
	}
}

func TestChunkedRefused(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		want      message.Reason
	}{
		{"RFC 9112 7.1 bare LF after a size", "3\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 bare LF after a chunk", "3\r\nabc\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 bare LF in an extension", "3;a\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 bare CR after a size", "3\rabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 a blank after the size", "3 \r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 a blank before the size", " 3\r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 0x", "0x3\r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 a sign", "+3\r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 no size", "\r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 an underscore", "1_0\r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 too large", "10000000000000000\r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 content longer than its size", "3\r\nabcd\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1 content shorter than its size", "5\r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1.1 NUL in an extension", "3;\x00\r\nabc\r\n0\r\n\r\n", message.BadChunk},
		{"RFC 9112 7.1.2 bare LF in trailers", "0\r\nA: b\n\r\n", message.BareLF},
		{"RFC 9112 7.1.2 bare LF ends them", "0\r\n\n", message.BareLF},
		{"RFC 9112 7.1.2 a folded trailer", "0\r\nA: b\r\n c\r\n\r\n", message.ObsoleteFold},
		{"RFC 9110 6.5.1 content-length in trailers", "0\r\nContent-Length: 5\r\n\r\n", message.BadTrailer},
		{"RFC 9110 6.5.1 transfer-encoding in trailers", "0\r\nTransfer-Encoding: chunked\r\n\r\n", message.BadTrailer},
		{"RFC 9110 6.5.1 host in trailers", "0\r\nHost: x\r\n\r\n", message.BadTrailer},
		{"too long trailers", "0\r\nA: " + strings.Repeat("a", DefaultTrailerBytes) + "\r\n\r\n", message.TrailerTooLarge},
		{"an endless extension", "3;" + strings.Repeat("a", DefaultChunkOverhead), message.ChunkOverhead},
		{"tiny chunks", strings.Repeat("1\r\na\r\n", DefaultChunkOverhead/5+1), message.ChunkOverhead},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 7, 1 << 20} {
				_, _, _, _, err := decode(c.raw, size)
				var refused *message.Error
				if !errors.As(err, &refused) || refused.Reason != c.want {
					t.Errorf("by %d: got %v, want %s", size, err, c.want)
				}
			}
		})
	}
}

func TestAppendChunk(t *testing.T) {
	for _, n := range []int{1, 15, 16, 255, 256, 4096, 65536} {
		raw := AppendChunk(nil, bytes.Repeat([]byte("x"), n))
		raw = AppendLastChunk(raw, []message.Field{{Name: "a", Value: "b"}})
		body, trailers, rest, done, err := decode(string(raw), 1<<20)
		if len(body) != n || trailers != "a=b;" || rest != "" || !done || err != nil {
			t.Errorf("%d: %d bytes, %q, %q, %v, %v", n, len(body), trailers, rest, done, err)
		}
	}
}
