package detect_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/detect"
)

// hello returns the ClientHello that crypto/tls sends.
func hello(serverName string, protocols ...string) string {
	sent := new(bytes.Buffer)
	_ = tls.Client(recorder{sent: sent}, &tls.Config{ServerName: serverName, NextProtos: protocols, InsecureSkipVerify: true}).Handshake()
	return sent.String()
}

// recorder takes what is written and answers nothing.
type recorder struct {
	net.Conn
	sent *bytes.Buffer
}

func (r recorder) Write(b []byte) (int, error) { return r.sent.Write(b) }
func (recorder) Read([]byte) (int, error)      { return 0, io.EOF }
func (recorder) Close() error                  { return nil }

// inRecords cuts the one record of a ClientHello into several.
func inRecords(whole string, size int) string {
	body, cut := whole[5:], ""
	for len(body) > 0 {
		n := min(size, len(body))
		cut += string([]byte{22, 3, 1, byte(n >> 8), byte(n)}) + body[:n]
		body = body[n:]
	}
	return cut
}

func TestParseHello(t *testing.T) {
	for name, c := range map[string]struct {
		sent, serverName string
		protocols        []string
		aware            bool
	}{
		"name and protocols": {hello("Db.Example", "hallmark/1/raw/postgres", "h2"), "db.example", []string{"hallmark/1/raw/postgres", "h2"}, true},
		"a later version":    {hello("a.b", "hallmark/9/x"), "a.b", []string{"hallmark/9/x"}, true},
		"name alone":         {hello("a.b"), "a.b", nil, false},
		"protocols alone":    {hello("", "http/1.1"), "", []string{"http/1.1"}, false},
		"neither":            {hello(""), "", nil, false},
		"in small records":   {inRecords(hello("a.b", "h2"), 100), "a.b", []string{"h2"}, false},
		"in records of 1":    {inRecords(hello("a.b", "h2"), 1), "a.b", []string{"h2"}, false},
		"with more after it": {hello("a.b", "h2") + "more", "a.b", []string{"h2"}, false},
	} {
		h, verdict, ok := detect.ParseHello([]byte(c.sent))
		if verdict != detect.Decided || !ok || h.ServerName != c.serverName || !slices.Equal(h.Protocols, c.protocols) || h.Aware() != c.aware {
			t.Errorf("%s: %+v, decided=%t, ok=%t", name, h, verdict == detect.Decided, ok)
		}
		if c.sent[len(c.sent)-4:] == "more" {
			continue
		}
		for i := range len(c.sent) {
			if _, verdict, _ := detect.ParseHello([]byte(c.sent[:i])); verdict == detect.Decided {
				t.Errorf("%s: decided after %d of %d bytes", name, i, len(c.sent))
				break
			}
		}
	}
}

func TestParseHelloRefuses(t *testing.T) {
	whole := hello("a.b", "h2")
	bent := func(at int, to byte) string { return whole[:at] + string([]byte{to}) + whole[at+1:] }
	for name, sent := range map[string]string{
		"text":                    "GET / HTTP/1.1\r\n",
		"another record":          bent(0, 23),
		"another version":         bent(1, 2),
		"another handshake":       bent(5, 2),
		"an empty record":         "\x16\x03\x01\x00\x00",
		"a record too long":       "\x16\x03\x01\x7f\xff\x01",
		"a message too long":      bent(6, 1),
		"an alert in between":     inRecords(whole, 100)[:105] + "\x15\x03\x01\x00\x02",
		"a session id too long":   bent(9+34, 255),
		"extensions that overrun": strings.Replace(whole, "\x00\x10\x00\x05\x00\x03\x02h2", "\x00\x10\x0f\x05\x00\x03\x02h2", 1),
		"an empty protocol":       strings.Replace(whole, "\x00\x03\x02h2", "\x00\x03\x00h2", 1),
	} {
		if h, verdict, ok := detect.ParseHello([]byte(sent)); ok || verdict != detect.Decided {
			t.Errorf("%s: %+v, decided=%t, ok=%t", name, h, verdict == detect.Decided, ok)
		}
	}
}

func TestServerNameIsAName(t *testing.T) {
	whole := hello("abc.example")
	for name, want := range map[string]string{
		"abc.example": "abc.example", "ABC.Exam_le": "abc.exam_le",
		"a\nc.example": "", "a c.example": "", "a\x00c.example": "", "ab\xff.example": "", "<b>.example": "",
	} {
		sent := strings.Replace(whole, "abc.example", name, 1)
		h, _, ok := detect.ParseHello([]byte(sent))
		if !ok || h.ServerName != want {
			t.Errorf("%q: %q, ok=%t; want %q", name, h.ServerName, ok, want)
		}
	}
}

// FuzzHello has whole hellos among its seeds in testdata.
func FuzzHello(f *testing.F) {
	for _, seed := range []string{"\x16\x03\x01\x00\x00", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", "GET / HTTP/1.1\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		h, verdict, ok := detect.ParseHello(b)
		if !bytes.Equal(before, b) {
			t.Error("the bytes were changed")
		}
		if ok && verdict == detect.More || len(h.Protocols) > detect.MaxALPN || len(h.ServerName) > 253 {
			t.Errorf("%+v, ok=%t", h, ok)
		}
		if verdict == detect.Decided { // then more bytes change nothing
			again, verdict, okAgain := detect.ParseHello(append(before, "more"...))
			if verdict != detect.Decided || okAgain != ok || again.ServerName != h.ServerName || !slices.Equal(again.Protocols, h.Protocols) {
				t.Errorf("%+v became %+v", h, again)
			}
		}
	})
}
