package h2

// Queue holds chunks until they can go on. It packs small chunks into the space
// behind the last one, so that its memory is bounded by its bytes, whatever the
// sizes in which they came. It is for one goroutine at a time; the zero value is
// empty.
type Queue struct {
	chunks []Chunk
	head   int
	bytes  int
}

// Len returns how many bytes there are.
func (q *Queue) Len() int { return q.bytes }

// Push appends a chunk, which belongs to the queue from then on.
func (q *Queue) Push(c Chunk) {
	if c.Len() == 0 {
		c.Release()
		return
	}
	q.bytes += c.Len()
	q.chunks = append(q.chunks, c)
}

// Pop removes the first chunk, which belongs to the caller; false if there is
// none.
func (q *Queue) Pop() (Chunk, bool) {
	if q.head == len(q.chunks) {
		return Chunk{}, false
	}
	c := q.chunks[q.head]
	q.chunks[q.head] = Chunk{}
	if q.head++; q.head == len(q.chunks) {
		q.chunks, q.head = q.chunks[:0], 0
	}
	q.bytes -= c.Len()
	return c, true
}

// Clear releases everything.
func (q *Queue) Clear() {
	for c, ok := q.Pop(); ok; c, ok = q.Pop() {
		c.Release()
	}
}
