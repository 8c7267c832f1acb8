package accept

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	// DefaultProxyHeaderTimeout is how long a PROXY protocol header may take.
	DefaultProxyHeaderTimeout = 5 * time.Second

	// maxProxyHeader bounds a header, in bytes: the addresses of version 2
	// take at most 232, the rest is TLVs.
	maxProxyHeader = 4 << 10

	// maxProxyHeaderV1 is the bound of version 1 (PROXY protocol, section 2.1).
	maxProxyHeaderV1 = 107
)

// Bytes 13 and 14 of version 2: command and address family.
const (
	commandLocal = 0x20
	familyUnspec = 0x00
)

// signatureV2 starts a header of version 2 (PROXY protocol, section 2.2).
var signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")

// ProxyHeader says from whom a PROXY protocol header, version 1 or 2, is
// expected. The zero value expects none.
type ProxyHeader struct {
	// Trusted are the networks whose connections start with a header, all of
	// them. Others are taken as they are, and may not send one unseen: it
	// would reach the application as its client's bytes.
	Trusted []netip.Prefix

	// Timeout bounds the wait for it; 0 means [DefaultProxyHeaderTimeout].
	Timeout time.Duration
}

// read returns the connection behind the header, if one is expected.
func (p ProxyHeader) read(ctx context.Context, raw net.Conn) (*Conn, error) {
	c := &Conn{Conn: raw, Source: addrPort(raw.RemoteAddr()), Destination: addrPort(raw.LocalAddr())}
	if !p.trusts(c.Source.Addr()) {
		return c, nil
	}
	timeout := p.Timeout
	if timeout == 0 {
		timeout = DefaultProxyHeaderTimeout
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := raw.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("accept: read PROXY header: %w", err)
	}
	header, err := readHeader(raw)
	if err != nil {
		return nil, fmt.Errorf("accept: read PROXY header from %s: %w", raw.RemoteAddr(), err)
	}
	if src, dst, ok := header.TCPAddrs(); ok && header.Command.IsProxy() {
		c.Source, c.Destination = addrPort(src), addrPort(dst)
	}
	return c, raw.SetReadDeadline(time.Time{})
}

func (p ProxyHeader) trusts(source netip.Addr) bool {
	for _, network := range p.Trusted {
		if network.Contains(source) {
			return true
		}
	}
	return false
}

// readHeader reads exactly the header and not a byte more, whatever comes after
// it: first what tells its length, then the rest.
func readHeader(conn net.Conn) (*proxyproto.Header, error) {
	head := make([]byte, 0, maxProxyHeader)
	head, err := readMore(conn, head, len(signatureV2)) // shorter than any header
	switch {
	case err != nil:
		return nil, err
	case bytes.HasPrefix(head, signatureV2):
		head, err = readV2(conn, head)
	default:
		head, err = readLine(conn, head)
	}
	if err != nil {
		return nil, err
	}
	return proxyproto.Read(bufio.NewReader(bytes.NewReader(head)))
}

// readV2 appends the rest of a header of version 2, whose length stands in its
// fixed part.
func readV2(conn net.Conn, b []byte) ([]byte, error) {
	b, err := readMore(conn, b, 4)
	if err != nil {
		return nil, err
	}
	rest := int(binary.BigEndian.Uint16(b[14:]))
	if len(b)+rest > maxProxyHeader {
		return nil, fmt.Errorf("header of %d bytes is longer than %d", len(b)+rest, maxProxyHeader)
	}
	if b[13] == familyUnspec {
		// "The receiver should accept it, and use the real addresses"; the
		// library does so only where the proxy speaks for itself.
		b[12] = commandLocal
	}
	return readMore(conn, b, rest)
}

// readMore appends exactly n bytes.
func readMore(conn net.Conn, b []byte, n int) ([]byte, error) {
	from := len(b)
	b = b[:from+n]
	for at := from; at < len(b); {
		got, err := conn.Read(b[at:])
		if at += got; err != nil && at < len(b) {
			return nil, err
		}
		if at >= 6 && from == 0 && b[0] == 'P' && !bytes.HasPrefix(b, []byte("PROXY ")) {
			return nil, errNoHeader
		}
	}
	return b, nil
}

var errNoHeader = errors.New("connection from a trusted network does not start with a PROXY protocol header")

// readLine appends up to and including CRLF, a byte at a time: the longest
// header of version 1 is short, and what follows it is not ours to read.
func readLine(conn net.Conn, b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, []byte("PROXY ")) {
		return nil, errNoHeader
	}
	for !bytes.HasSuffix(b, []byte("\r\n")) {
		if len(b) >= maxProxyHeaderV1 {
			return nil, errors.New("header of version 1 is longer than 107 bytes")
		}
		var err error
		if b, err = readMore(conn, b, 1); err != nil {
			return nil, err
		}
	}
	return b, nil
}
