package h2

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestQueueIsInOrder pushes and takes random amounts in every way there is:
// what comes out is what went in, and its memory is bounded by its bytes.
func TestQueueIsInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q Queue
	var in, out bytes.Buffer
	for range 3_000 {
		switch r.IntN(6) {
		case 0, 1, 2: // in
			n := r.IntN([]int{2, 300, 5000, 60_000}[r.IntN(4)])
			p := random(r.Uint64(), n)
			in.Write(p)
			if r.IntN(2) == 0 {
				c, _ := ChunkOf(p)
				q.Push(c)
			} else { // as read from a socket: a part of a large buffer
				b := takeBuffer(bufferSize)
				from := r.IntN(bufferSize - n)
				q.Push(Chunk{buf: b, b: append(b.mem[from:from:from+n], p...)})
			}
		case 3:
			if c, ok := q.Pop(); ok {
				out.Write(c.Bytes())
				c.Release()
			}
		case 4:
			p := make([]byte, r.IntN(70_000))
			out.Write(p[:q.Read(p)])
		case 5:
			if c, ok := q.first(); ok {
				n := 1 + r.IntN(c.Len())
				out.Write(c.b[:n])
				q.consume(n)
			}
		}
		held := 0
		for _, c := range q.chunks[q.head:] {
			held += len(c.buf.mem)
		}
		if q.Len() != in.Len()-out.Len() || held > 4*q.Len()+2*bufferSize {
			t.Fatalf("%d bytes are in the queue, of %d, in buffers of %d", q.Len(), in.Len()-out.Len(), held)
		}
	}
	rest := make([]byte, q.Len())
	out.Write(rest[:q.Read(rest)])
	if !bytes.Equal(in.Bytes(), out.Bytes()) {
		t.Error("what came out is not what went in")
	}
}
