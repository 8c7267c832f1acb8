package h2

// Queue holds chunks until they can go on. It packs short chunks into the space
// behind the last one, so that its memory is bounded by its bytes, whatever the
// sizes in which they came: a chunk is kept as it is only if it is a quarter of
// its buffer. It is for one goroutine at a time; the zero value is empty.
type Queue struct {
	chunks []Chunk
	head   int
	bytes  int

	// tail is the buffer of the last chunk, if the queue may append to it.
	tail *Buffer
}

// Len returns how many bytes there are.
func (q *Queue) Len() int { return q.bytes }

// Push appends a chunk, which belongs to the queue from then on.
func (q *Queue) Push(c Chunk) {
	n := c.Len()
	if n == 0 {
		c.Release()
		return
	}
	q.bytes += n
	if 4*n >= len(c.buf.mem) && !(q.tail != nil && n <= small && len(q.tail.mem)-q.tail.end >= n) {
		q.chunks = append(q.chunks, c)
		q.tail = nil
		return
	}
	q.pack(c.b)
	c.Release()
}

// pack appends a copy of p, of at most a quarter of a buffer.
func (q *Queue) pack(p []byte) {
	if q.tail != nil {
		n := copy(q.tail.mem[q.tail.end:], p)
		from := q.tail.end
		q.tail.end += n
		last := &q.chunks[len(q.chunks)-1]
		last.b = q.tail.mem[from-len(last.b) : q.tail.end]
		if p = p[n:]; len(p) == 0 {
			return
		}
	}
	// Each buffer is larger than the one before, as long as nothing leaves.
	size := len(p) + headroom
	if q.tail != nil {
		size = max(size, min(4*len(q.tail.mem), bufferSize))
	}
	b := takeBuffer(size)
	copy(b.mem[headroom:], p)
	c := b.Chunk(len(p))
	q.chunks = append(q.chunks, c)
	q.tail = b
}

// first returns the first chunk, which stays the queue's.
func (q *Queue) first() (Chunk, bool) {
	if q.head == len(q.chunks) {
		return Chunk{}, false
	}
	return q.chunks[q.head], true
}

// single reports whether there is one chunk.
func (q *Queue) single() bool { return len(q.chunks)-q.head == 1 }

// consume removes the first n bytes, none beyond the first chunk.
func (q *Queue) consume(n int) {
	c := &q.chunks[q.head]
	if n == c.Len() {
		whole, _ := q.Pop()
		whole.Release()
		return
	}
	c.b = c.b[n:]
	q.bytes -= n
}

// Pop removes the first chunk, which belongs to the caller; false if there is
// none.
func (q *Queue) Pop() (Chunk, bool) {
	if q.head == len(q.chunks) {
		return Chunk{}, false
	}
	c := q.chunks[q.head]
	q.chunks[q.head] = Chunk{}
	q.head++
	switch {
	case q.head == len(q.chunks):
		q.chunks, q.head, q.tail = q.chunks[:0], 0, nil
	case q.head >= 32 && 2*q.head >= len(q.chunks):
		n := copy(q.chunks, q.chunks[q.head:])
		clear(q.chunks[n:])
		q.chunks, q.head = q.chunks[:n], 0
	}
	q.bytes -= c.Len()
	return c, true
}

// Read moves up to len(p) bytes into p and returns how many; it never waits.
func (q *Queue) Read(p []byte) int {
	n := 0
	for n < len(p) {
		c, ok := q.first()
		if !ok {
			break
		}
		k := copy(p[n:], c.b)
		q.consume(k)
		n += k
	}
	return n
}

// Clear releases everything.
func (q *Queue) Clear() {
	for c, ok := q.Pop(); ok; c, ok = q.Pop() {
		c.Release()
	}
}
