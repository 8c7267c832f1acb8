package h1

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hallmark-mesh/hallmark/internal/socket"
	"github.com/hallmark-mesh/hallmark/proxy/h2"
)

// headSpace is the size of the buffers that heads are read into.
const headSpace = 8 << 10

// inBuffers holds the input buffers of all connections.
var inBuffers = sync.Pool{New: func() any {
	b := make([]byte, headSpace)
	return &b
}}

// In reads from a connection and keeps what has been read and not taken yet. It
// holds no buffer while that is nothing: waiting for a plain socket needs none,
// and for any other connection one byte. It is for one goroutine.
type In struct {
	conn net.Conn
	raw  syscall.RawConn // nil unless conn is a plain socket

	buf  *[]byte // pooled, or larger; nil while there is nothing in it
	r, w int

	space  []byte     // what the read under way fills; nil: take a buffer for it
	body   *h2.Buffer // the buffer taken for a body
	limit  int64      // of a read into such a buffer, else 0
	fill   func(fd uintptr) bool
	n      int
	err    error
	single [1]byte
}

// NewIn returns an In over conn, from which peeked has been read already.
func NewIn(conn net.Conn, peeked []byte) *In {
	in := &In{conn: conn, raw: socket.Raw(conn)}
	in.fill = in.readFrom
	if len(peeked) > 0 {
		in.ensure(len(peeked))
		in.w = copy(*in.buf, peeked)
	}
	return in
}

// Bytes returns what has been read and not taken. It may be changed in place.
func (in *In) Bytes() []byte {
	if in.buf == nil {
		return nil
	}
	return (*in.buf)[in.r:in.w]
}

// Take takes n bytes, which stay where they are until the next More or Release.
func (in *In) Take(n int) { in.r += n }

// Release gives the buffer back if there is nothing in it.
func (in *In) Release() {
	if in.buf == nil || in.r < in.w {
		return
	}
	if len(*in.buf) == headSpace {
		inBuffers.Put(in.buf)
	}
	in.buf, in.r, in.w = nil, 0, 0
}

// ensure makes room for at least n more bytes.
func (in *In) ensure(n int) {
	if in.buf == nil {
		in.buf, _ = inBuffers.Get().(*[]byte) // the pool holds nothing else
		in.r, in.w = 0, 0
	}
	if in.r > 0 {
		in.w = copy(*in.buf, (*in.buf)[in.r:in.w])
		in.r = 0
	}
	if free := len(*in.buf) - in.w; free < n {
		larger := make([]byte, max(2*len(*in.buf), in.w+n))
		copy(larger, (*in.buf)[:in.w])
		if len(*in.buf) == headSpace {
			inBuffers.Put(in.buf)
		}
		in.buf = &larger
	}
}

// More reads more behind what there is, and blocks until there is some. Whoever
// calls it bounds what is kept.
func (in *In) More() error {
	in.Release()
	var p []byte // a buffer is taken when there is something to read
	if in.buf != nil {
		in.ensure(1)
		p = (*in.buf)[in.w:]
	}
	n, err := in.read(p)
	in.w += n
	if n == 0 {
		in.Release()
	}
	return err
}

// Wait is More for what may take long to come: it holds no buffer meanwhile
// whatever the connection, and reads as little as one byte.
func (in *In) Wait() error {
	if in.raw != nil || len(in.Bytes()) > 0 {
		return in.More()
	}
	in.Release()
	n, err := in.conn.Read(in.single[:])
	if n == 0 {
		return cmp.Or(err, io.ErrNoProgress)
	}
	in.ensure(1)
	(*in.buf)[0] = in.single[0]
	in.w = 1
	return nil
}

// Chunk returns at most limit bytes of content: what there is, else what it reads
// into the chunk's own buffer.
func (in *In) Chunk(limit int64) (h2.Chunk, error) {
	if b := in.Bytes(); len(b) > 0 {
		chunk, n := h2.ChunkOf(b[:min(int64(len(b)), limit)])
		in.Take(n)
		in.Release()
		return chunk, nil
	}
	in.limit = limit
	n, err := in.read(nil)
	buf := in.body
	in.body, in.limit = nil, 0
	if n == 0 {
		if buf != nil {
			buf.Drop()
		}
		return h2.Chunk{}, cmp.Or(err, io.ErrNoProgress)
	}
	return buf.Chunk(n), nil
}

// take takes the buffer for the read under way.
func (in *In) take() []byte {
	if in.limit == 0 {
		in.ensure(1)
		return (*in.buf)[in.w:]
	}
	in.body = h2.TakeBuffer()
	space := in.body.Space()
	return space[:min(int64(len(space)), in.limit)]
}

// read reads into p once, or into a buffer of its own if p is nil.
func (in *In) read(p []byte) (int, error) {
	if in.raw == nil {
		if p == nil {
			p = in.take()
		}
		n, err := in.conn.Read(p)
		if n > 0 {
			err = nil
		}
		return n, err
	}
	in.space, in.n, in.err = p, 0, nil
	err := in.raw.Read(in.fill)
	in.space = nil
	if err == nil {
		err = in.err
	}
	if in.n > 0 {
		return in.n, nil
	}
	return 0, err
}

// readFrom makes one attempt; false means to wait until there is something.
func (in *In) readFrom(fd uintptr) bool {
	p := in.space
	if p == nil {
		p = in.take()
	}
	n, err := socket.Read(fd, p)
	switch {
	case errors.Is(err, socket.ErrWait):
		in.giveUp()
		return false
	case err != nil && !errors.Is(err, io.EOF):
		err = &net.OpError{Op: "read", Net: "tcp", Err: err}
	}
	in.n, in.err = n, err
	return true
}

// giveUp gives the buffer back that nothing was read into.
func (in *In) giveUp() {
	if in.body != nil {
		in.body.Drop()
		in.body = nil
		return
	}
	in.Release()
}

// SetDeadline sets the deadline of reading; the zero time means none.
func (in *In) SetDeadline(t time.Time) error { return in.conn.SetReadDeadline(t) }

// Expired reports whether err says that the deadline has passed.
func Expired(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
