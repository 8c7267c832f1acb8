package h2

import (
	"sync"
	"sync/atomic"
)

const (
	// headroom is what a buffer keeps free in front of data for a frame's
	// header.
	headroom = frameHeaderLen

	// bufferSize is the size of a large buffer: four TLS records, which
	// package tlsctx writes in one system call, less the room for nothing.
	bufferSize = 64 << 10

	// BufferSpace is how much a [Buffer] of [TakeBuffer] holds, in bytes.
	BufferSpace = bufferSize - headroom
)

// sizes are the classes of buffers, ascending.
var sizes = [...]int{512, 4 << 10, 16 << 10, bufferSize}

var buffers [len(sizes)]sync.Pool

// Buffer is a pooled piece of memory that is being filled, by one goroutine.
type Buffer struct {
	mem   []byte
	class int
	refs  atomic.Int32

	// end is where what is in use ends; only who may append changes it.
	end int
}

// takeBuffer returns a buffer of at least n bytes, at most [bufferSize], with
// one reference.
func takeBuffer(n int) *Buffer {
	class := 0
	for sizes[class] < n {
		class++
	}
	b, _ := buffers[class].Get().(*Buffer) // the pool holds nothing else
	if b == nil {
		b = &Buffer{mem: make([]byte, sizes[class]), class: class}
	}
	b.refs.Store(1)
	b.end = 0
	return b
}

// release gives up a reference. More of them than there are would hand one piece
// of memory to two streams, and so one client's data to another: what cannot be
// right ends the process, as the runtime does with a mutex that is unlocked twice.
func (b *Buffer) release() {
	switch n := b.refs.Add(-1); {
	case n == 0:
		buffers[b.class].Put(b)
	case n < 0:
		panic("h2: a chunk was released twice")
	}
}

// TakeBuffer returns an empty buffer to read into: fill [Buffer.Space], then
// make what was filled a [Chunk], or [Buffer.Drop] it. A chunk made so is sent
// without a copy.
func TakeBuffer() *Buffer { return takeBuffer(bufferSize) }

// Space returns the [BufferSpace] bytes to fill.
func (b *Buffer) Space() []byte { return b.mem[headroom:] }

// Chunk makes the first n bytes of Space a chunk. The buffer belongs to the
// chunk from then on.
func (b *Buffer) Chunk(n int) Chunk {
	b.end = headroom + n
	return Chunk{buf: b, b: b.mem[headroom:b.end:b.end], framed: true}
}

// Drop gives an unused buffer back.
func (b *Buffer) Drop() { b.release() }

// Chunk is a piece of a pooled buffer. Whoever has one owns it: it is passed on
// once, or released once. The zero value is empty.
type Chunk struct {
	buf    *Buffer
	b      []byte
	framed bool // the buffer is this chunk's alone, with headroom before b
}

// ChunkOf returns a chunk with a copy of at most [BufferSpace] bytes of p, and
// how many that is.
func ChunkOf(p []byte) (Chunk, int) {
	n := min(len(p), BufferSpace)
	if n == 0 {
		return Chunk{}, 0
	}
	b := takeBuffer(headroom + n)
	copy(b.mem[headroom:], p[:n])
	return b.Chunk(n), n
}

// Bytes returns the chunk's bytes, to be read only, until it is released.
func (c Chunk) Bytes() []byte { return c.b }

// Len returns how many bytes there are.
func (c Chunk) Len() int { return len(c.b) }

// Release gives the chunk up.
func (c Chunk) Release() {
	if c.buf != nil {
		c.buf.release()
	}
}
