package tunnel

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"

	"github.com/hallmark-mesh/hallmark/internal/socket"
	"github.com/hallmark-mesh/hallmark/proxy/h2"
)

const (
	// small is the buffer that a direction holds while it waits for a
	// connection that cannot be waited for without one.
	small = 4 << 10

	// large is what it takes from the pool while bytes flow: four TLS
	// records, which go out in one write.
	large = h2.BufferSpace

	// gathered is how many chunks of a mux stream go out in one write.
	gathered = 16
)

// direction is one half of a stream.
type direction struct {
	src, dst Conn
	from, to Side
	n        *atomic.Uint64

	plain *socket.Writer // unless nil, dst is a socket
}

// copy forwards until src ends, which is nil, or either side breaks.
func (d direction) copy() error {
	if raw := socket.Raw(d.dst); raw != nil {
		d.plain = socket.NewWriter(raw)
	}
	if stream, ok := d.src.(*Stream); ok {
		return d.copyChunks(stream)
	}
	if raw := socket.Raw(d.src); raw != nil {
		return d.copyReadable(raw)
	}
	if awaited, ok := d.src.(interface{ Await() }); ok {
		return d.copyAwaited(awaited.Await)
	}
	return d.copyBuffered()
}

// copyAwaited holds a buffer only while there is something to read: an idle
// direction has none.
func (d direction) copyAwaited(await func()) error {
	for {
		await()
		buffer := h2.TakeBuffer()
		n, err := d.src.Read(buffer.Space())
		writeErr := d.write(buffer.Space()[:n])
		buffer.Drop()
		switch {
		case writeErr != nil:
			return writeErr
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &Error{Side: d.from, Op: "read", Err: err}
		}
	}
}

// copyBuffered reads with a small buffer while little comes at a time, and with
// a large one while much does.
func (d direction) copyBuffered() error {
	waiting := make([]byte, small)
	buffer := waiting
	var pooled *h2.Buffer
	release := func() {
		if pooled != nil {
			pooled.Drop()
			pooled, buffer = nil, waiting
		}
	}
	defer release()
	for {
		n, err := d.src.Read(buffer)
		if writeErr := d.write(buffer[:n]); writeErr != nil {
			return writeErr
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &Error{Side: d.from, Op: "read", Err: err}
		case n == small && pooled == nil:
			pooled = h2.TakeBuffer()
			buffer = pooled.Space()
		case n < small:
			release()
		}
	}
}

// copyReadable waits for the descriptor and takes a buffer only while there is
// something to read: an idle direction holds none.
func (d direction) copyReadable(raw syscall.RawConn) error {
	r := readable{}
	attempt := r.attempt // one closure, not one a read
	for {
		if err := raw.Read(attempt); err != nil {
			return &Error{Side: d.from, Op: "read", Err: err}
		}
		switch {
		case errors.Is(r.err, io.EOF):
			return nil
		case r.err != nil:
			return &Error{Side: d.from, Op: "read", Err: r.err}
		}
		chunk := r.buffer.Chunk(r.n)
		r.buffer = nil
		if err := d.forward(chunk); err != nil {
			return err
		}
	}
}

// forward writes a chunk and gives it back, or gives it to a mux stream.
func (d direction) forward(chunk h2.Chunk) error {
	stream, ok := d.dst.(*Stream)
	if !ok {
		defer chunk.Release()
		return d.write(chunk.Bytes())
	}
	n := chunk.Len()
	if err := stream.send(chunk); err != nil {
		return &Error{Side: d.to, Op: "write", Err: err}
	}
	d.n.Add(uint64(n))
	return nil
}

// copyChunks writes what has come on a mux stream in the buffers in which it
// came, as many as there are at once.
func (d direction) copyChunks(src *Stream) error {
	var chunks [gathered]h2.Chunk
	var all [gathered][]byte
	for {
		taken, err := src.take(chunks[:0], gathered)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &Error{Side: d.from, Op: "read", Err: err}
		}
		err = d.writeAll(taken, all[:0])
		total := 0
		for _, c := range taken {
			total += c.Len()
			c.Release()
		}
		clear(taken)
		src.taken(total)
		if err != nil {
			return err
		}
	}
}

func (d direction) writeAll(chunks []h2.Chunk, all [][]byte) error {
	if d.plain != nil && len(chunks) > 1 {
		for _, c := range chunks {
			all = append(all, c.Bytes())
		}
		n, err := d.plain.WriteBuffers(all)
		clear(all)
		d.n.Add(uint64(n))
		if err != nil {
			return &Error{Side: d.to, Op: "write", Err: err}
		}
		return nil
	}
	for _, c := range chunks {
		if err := d.write(c.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// readable is the outcome of one read from a descriptor.
type readable struct {
	buffer *h2.Buffer // nil at the end of the stream
	n      int
	err    error
}

// attempt reads once without blocking; false means to wait.
func (r *readable) attempt(fd uintptr) bool {
	b := h2.TakeBuffer()
	if r.n, r.err = socket.Read(fd, b.Space()); r.err == nil {
		r.buffer = b
		return true
	}
	b.Drop()
	return !errors.Is(r.err, socket.ErrWait)
}

func (d direction) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	var n int
	var err error
	if d.plain != nil {
		n, err = d.plain.Write(b)
	} else {
		n, err = d.dst.Write(b)
	}
	d.n.Add(uint64(n))
	if err != nil {
		return &Error{Side: d.to, Op: "write", Err: err}
	}
	return nil
}
