package tlsctx

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/hallmark-mesh/hallmark/internal/socket"
)

const (
	// maxRecord is the most plaintext that one TLS record holds (RFC 8446,
	// section 5.1).
	maxRecord = 16 << 10

	// batch is how much plaintext goes into one write to the network.
	batch = 4 * maxRecord

	// recordOverhead bounds what encryption adds to a record.
	recordOverhead = 256
)

// recordConn stands below TLS and saves system calls, which are most of what
// moving bytes costs: it reads as much as the network has, up to [batch], where
// crypto/tls reads a record at a time, and gathers the records of one large
// Write into one write. Its buffers are pooled and held only while there is
// something in them: an idle connection has none.
//
// It is used where the connection below is a TCP or unix socket.
type recordConn struct {
	net.Conn
	raw syscall.RawConn

	// Reading.
	inMu   sync.Mutex
	in     *[]byte // pooled, nil while empty
	unread []byte  // the part of in not read yet
	inErr  error
	head   [5]byte // of the record that is being read (RFC 8446, section 5.1)
	got    int     // bytes of it that have been read, while it is not complete
	left   int     // bytes of the record that are still to be read, once it is
	fill   func(fd uintptr) bool

	// Writing.
	outMu  sync.Mutex
	writer *socket.Writer
	held   bool    // writes are gathered
	out    *[]byte // pooled, nil unless held
}

// buffers holds the buffers of all connections: [batch] bytes of records and
// what encryption adds to them.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, batch+batch/maxRecord*recordOverhead)
	return &b
}}

func takeBuffer() *[]byte {
	b, _ := buffers.Get().(*[]byte) // the pool holds nothing else
	return b
}

// newRecordConn returns conn itself if it is not a socket. A type that embeds one
// may hold bytes that it has read already, and must be asked, not gone around.
func newRecordConn(conn net.Conn) net.Conn {
	raw := socket.Raw(conn)
	if raw == nil {
		return conn
	}
	c := &recordConn{Conn: conn, raw: raw, writer: socket.NewWriter(raw)}
	c.fill = c.readFrom
	return c
}

// Read reads from what came with the last read from the network, or waits for
// more without holding a buffer meanwhile.
func (c *recordConn) Read(p []byte) (int, error) {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	if len(c.unread) == 0 {
		if c.inErr == nil { // else await has met it
			if err := c.raw.Read(c.fill); err != nil {
				return 0, c.readError(err)
			}
		}
		if err := c.inErr; err != nil {
			c.inErr = nil
			return 0, c.readError(err)
		}
	}
	n := copy(p, c.unread[:c.within()])
	if c.left > 0 {
		c.left -= n
	} else {
		c.got += n
	}
	if c.unread = c.unread[n:]; len(c.unread) == 0 && c.in != nil {
		buffers.Put(c.in)
		c.in, c.unread = nil, nil
	}
	return n, nil
}

// within returns how much of unread belongs to the record that is being read.
// crypto/tls is given no more: what it had kept of the next one, nobody outside
// could know of.
func (c *recordConn) within() int {
	if c.left == 0 {
		if n := copy(c.head[c.got:], c.unread); c.got+n < len(c.head) {
			return n
		}
		c.left = len(c.head) - c.got + int(binary.BigEndian.Uint16(c.head[3:]))
		c.got = 0
	}
	return min(c.left, len(c.unread))
}

// whole reports whether another whole record has come, so that reading it does
// not wait for the network.
func (c *recordConn) whole() bool {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	return c.left == 0 && c.got == 0 && len(c.unread) >= len(c.head) &&
		len(c.unread)-len(c.head) >= int(binary.BigEndian.Uint16(c.unread[3:]))
}

// await waits until Read has something to say.
func (c *recordConn) await() {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	if len(c.unread) == 0 && c.inErr == nil {
		_ = c.raw.Read(c.fill) // what is wrong, Read meets again
	}
}

// readFrom makes one attempt to read; false means to wait until the descriptor
// is readable.
func (c *recordConn) readFrom(fd uintptr) bool {
	b := takeBuffer()
	n, err := socket.Read(fd, *b)
	if err == nil {
		c.in, c.unread, c.inErr = b, (*b)[:n], nil
		return true
	}
	buffers.Put(b)
	if errors.Is(err, socket.ErrWait) {
		return false
	}
	c.inErr = err
	return true
}

// readError gives an error the form that net.Conn gives it.
func (c *recordConn) readError(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return c.opError("read", err)
}

func (c *recordConn) opError(op string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op
	}
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// Write writes p, or gathers it while a large Write is under way.
func (c *recordConn) Write(p []byte) (int, error) {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if !c.held {
		return c.write(p)
	}
	if len(*c.out)+len(p) > cap(*c.out) {
		if err := c.flushLocked(); err != nil {
			return 0, err
		}
	}
	if len(p) > cap(*c.out) {
		return c.write(p)
	}
	*c.out = append(*c.out, p...)
	return len(p), nil
}

// write writes to the network. The lock is held.
func (c *recordConn) write(p []byte) (int, error) {
	n, err := c.writer.Write(p)
	if err != nil {
		err = c.opError("write", err)
	}
	return n, err
}

// hold starts gathering.
func (c *recordConn) hold() {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	c.out = takeBuffer()
	*c.out = (*c.out)[:0]
	c.held = true
}

// release writes what has been gathered and stops gathering.
func (c *recordConn) release() error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	err := c.flushLocked()
	*c.out = (*c.out)[:cap(*c.out)]
	buffers.Put(c.out)
	c.out, c.held = nil, false
	return err
}

func (c *recordConn) flushLocked() error {
	if len(*c.out) == 0 {
		return nil
	}
	_, err := c.write(*c.out)
	*c.out = (*c.out)[:0]
	return err
}
