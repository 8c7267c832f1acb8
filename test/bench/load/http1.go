package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// HTTP1 makes HTTP/1.1 GET requests for one path on kept connections, and wants
// status 200 and a body of a certain size, with its length announced.
type HTTP1 struct {
	Path string
	Size int // of the body
	// Fields are header fields to send besides Host, as lines with CR LF.
	Fields string
}

// String names the call.
func (k HTTP1) String() string { return fmt.Sprintf("HTTP/1.1 GET of %d bytes", k.Size) }

// Open connects.
func (k HTTP1) Open(ctx context.Context, address string) (Caller, error) {
	conn, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	_, host := direct(address)
	return &http1Caller{
		Conn: conn, kind: k, in: bufio.NewReaderSize(conn, 16<<10),
		out: []byte("GET " + k.Path + " HTTP/1.1\r\nHost: " + host + "\r\n" + k.Fields + "\r\n"),
	}, nil
}

type http1Caller struct {
	net.Conn
	kind HTTP1
	in   *bufio.Reader
	out  []byte
}

// Call makes one request. It reads only as much of HTTP as the servers of the
// benchmarks speak.
func (c *http1Caller) Call() (int, error) {
	if _, err := c.Write(c.out); err != nil {
		return 0, err
	}
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("load: the answer is %.100q", status)
	}
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= len("\r\n") {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	if length != c.kind.Size {
		return 0, fmt.Errorf("load: the body has %d bytes, want %d", length, c.kind.Size)
	}
	if n, err := c.in.Discard(length); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	return length, nil
}
