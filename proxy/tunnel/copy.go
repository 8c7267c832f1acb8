package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	// small is the buffer that a direction holds while it waits for a
	// connection that cannot be waited for without one.
	small = 4 << 10

	// large is what it takes from the pool while bytes flow: four TLS
	// records, which go out in one write.
	large = 64 << 10
)

// largeBuffers holds the buffers of all streams.
var largeBuffers = sync.Pool{New: func() any {
	b := make([]byte, large)
	return &b
}}

func takeLarge() *[]byte {
	b, _ := largeBuffers.Get().(*[]byte) // the pool holds nothing else
	return b
}

// direction is one half of a stream.
type direction struct {
	src, dst Conn
	from, to Side
	n        *atomic.Uint64
}

// copy forwards until src ends, which is nil, or either side breaks.
func (d direction) copy() error {
	if tcp, ok := d.src.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			return d.copyReadable(raw)
		}
	}
	return d.copyBuffered()
}

// copyBuffered reads with a small buffer while little comes at a time, and with
// a large one while much does.
func (d direction) copyBuffered() error {
	waiting := make([]byte, small)
	buffer := waiting
	var pooled *[]byte
	release := func() {
		if pooled != nil {
			largeBuffers.Put(pooled)
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
			pooled = takeLarge()
			buffer = *pooled
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
		case r.err != nil:
			return &Error{Side: d.from, Op: "read", Err: os.NewSyscallError("read", r.err)}
		case r.buffer == nil:
			return nil
		}
		err := d.write((*r.buffer)[:r.n])
		largeBuffers.Put(r.buffer)
		r.buffer = nil
		if err != nil {
			return err
		}
	}
}

// readable is the outcome of one read from a descriptor.
type readable struct {
	buffer *[]byte // nil at the end of the stream
	n      int
	err    error
}

// attempt reads once without blocking; false means to wait.
func (r *readable) attempt(fd uintptr) bool {
	b := takeLarge()
	for {
		r.n, r.err = syscall.Read(int(fd), *b)
		if !errors.Is(r.err, syscall.EINTR) {
			break
		}
	}
	if r.n > 0 {
		r.buffer = b
		return true
	}
	largeBuffers.Put(b)
	return !errors.Is(r.err, syscall.EAGAIN)
}

func (d direction) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := d.dst.Write(b)
	d.n.Add(uint64(n))
	if err != nil {
		return &Error{Side: d.to, Op: "write", Err: err}
	}
	return nil
}
