package h2

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"time"
)

const (
	// batch is how much data is taken for one write, in bytes.
	batch = 64 << 10

	// small is the most data that [Stream.Send] puts behind what is pending
	// at once, in bytes.
	small = 4 << 10
)

// output is what a connection has to write. The connection's lock guards it.
type output struct {
	pending []segment
	bytes   int
	encoder *encoder
	block   []byte // a header block, while it is cut into frames

	window   int // what the peer lets the connection send
	writing  bool
	deadline time.Time // of conn, as last set
	answers  int       // that wait to be written
	sent     int       // DATA frames ever, and one more for each 4 KiB

	first, last *Stream // those that have data and a window

	tail    tail   // of what is pending
	batches uint64 // taken by the writer

	notes []note    // whom to tell of what is written
	ended []*Stream // that are over, whom the writer tells

	spareSegments []segment
	spareNotes    []note
}

// segment is a buffer with frames to write, up to the buffer's end.
type segment struct {
	buf  *Buffer
	from int
}

// tail is a DATA frame behind which nothing is pending, so that it can be
// extended; the zero value is none.
type tail struct {
	stream uint32
	buf    *Buffer
	from   int // where its header is
	end    int
}

// note says that bytes of a stream's queue are written.
type note struct {
	stream *Stream
	n      int
}

// reserve appends n bytes to what is pending, to be filled by the caller before
// the lock is given up. n is at most [bufferSize].
func (o *output) reserve(n int) []byte {
	o.bytes += n
	if len(o.pending) > 0 {
		if b := o.pending[len(o.pending)-1].buf; len(b.mem)-b.end >= n {
			b.end += n
			return b.mem[b.end-n : b.end]
		}
	}
	b := takeBuffer(bufferSize)
	o.pending = append(o.pending, segment{buf: b})
	b.end = n
	return b.mem[:n]
}

// frame appends a frame with a short payload.
func (o *output) frame(f frame, payload []byte) {
	f.length = len(payload)
	b := o.reserve(frameHeaderLen + f.length)
	f.put(b)
	copy(b[frameHeaderLen:], payload)
}

func (o *output) windowUpdate(stream uint32, n int) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	o.frame(frame{kind: frameWindowUpdate, stream: stream}, b[:])
}

func (o *output) rstStream(stream uint32, code Code) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(code))
	o.frame(frame{kind: frameRSTStream, stream: stream}, b[:])
}

// headers appends a header block, encoded in the order of sending.
func (o *output) headers(stream uint32, h *Headers, end bool, frameSize int) {
	o.block = o.encoder.block(o.block[:0], h)
	frameSize = min(frameSize, batch-frameHeaderLen)
	f := frame{kind: frameHeaders, stream: stream}
	if end {
		f.flags = flagEndStream
	}
	for rest := o.block; ; {
		piece := rest[:min(len(rest), frameSize)]
		if rest = rest[len(piece):]; len(rest) == 0 {
			f.flags |= flagEndHeaders
		}
		o.frame(f, piece)
		if len(rest) == 0 {
			break
		}
		f.kind, f.flags = frameContinuation, 0
	}
	if cap(o.block) > small {
		o.block = nil // an idle connection holds little
	}
}

// data appends a DATA frame with a copy of p, or extends the last one: pieces of
// a byte each would cost ten times as much, and the peer a frame's work for each.
func (o *output) data(s *Stream, p []byte, end bool) {
	o.spend(s, len(p))
	if o.extends(s, len(p)) {
		o.extend(p, end)
		return
	}
	f := frame{length: len(p), kind: frameData, stream: s.id}
	if end {
		f.flags = flagEndStream
	}
	b := o.reserve(frameHeaderLen + len(p))
	f.put(b)
	copy(b[frameHeaderLen:], p)
	buf := o.pending[len(o.pending)-1].buf
	o.tail = tail{stream: s.id, buf: buf, from: buf.end - len(b), end: buf.end}
	s.batch = o.batches + 1
}

// extends reports whether n more bytes of the stream can go into the frame that
// ends what is pending.
func (o *output) extends(s *Stream, n int) bool {
	t := &o.tail
	return t.stream == s.id && o.pending[len(o.pending)-1].buf == t.buf && t.buf.end == t.end &&
		len(t.buf.mem)-t.end >= n && t.end-t.from-frameHeaderLen+n <= minFrameSize
}

// extend appends a copy of p to the frame that ends what is pending.
func (o *output) extend(p []byte, end bool) {
	t := &o.tail
	header := t.buf.mem[t.from:]
	copy(o.reserve(len(p)), p)
	t.end = t.buf.end
	f := parseFrame(header)
	f.length += len(p)
	if end {
		f.flags |= flagEndStream
	}
	f.put(header)
}

// direct reports whether n bytes of the stream may go behind what is pending: not
// if that makes more than one frame of it in one batch. In the queue pieces become
// one until the next.
func (o *output) direct(s *Stream, n int) bool {
	return n <= min(small, s.sendWindow, o.window) && o.bytes < batch &&
		(n == 0 || s.batch <= o.batches || o.extends(s, n))
}

// place appends a DATA frame in the chunk's own buffer.
func (o *output) place(s *Stream, c Chunk, end bool) {
	f := frame{length: c.Len(), kind: frameData, stream: s.id}
	if end {
		f.flags = flagEndStream
	}
	from := c.buf.end - c.Len() - frameHeaderLen
	f.put(c.buf.mem[from:])
	o.pending = append(o.pending, segment{buf: c.buf, from: from})
	o.bytes += frameHeaderLen + c.Len()
	o.spend(s, c.Len())
}

func (o *output) spend(s *Stream, n int) {
	s.sendWindow -= n
	o.window -= n
	o.sent += 1 + n/(4<<10)
}

// drop forgets everything.
func (o *output) drop() {
	for _, s := range o.pending {
		s.buf.release()
	}
	o.pending, o.bytes, o.tail = nil, 0, tail{}
}

// enqueue puts a stream at the end of those that have something to send, if it
// may; in front of them if that is no more than its end, which needs no window and
// must not wait for anybody's.
func (o *output) enqueue(s *Stream) {
	if s.queued || s.over || !s.hasData() || s.sendWindow <= 0 && s.queue.Len() > 0 {
		return
	}
	s.queued = true
	if s.queue.Len() == 0 && o.first != nil {
		s.prev, s.next = nil, o.first
		o.first.prev = s
		o.first = s
		return
	}
	s.prev, s.next = o.last, nil
	if o.last == nil {
		o.first = s
	} else {
		o.last.next = s
	}
	o.last = s
}

func (o *output) dequeue(s *Stream) {
	if !s.queued {
		return
	}
	s.queued = false
	if s.prev == nil {
		o.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		o.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
}

// kick starts the writer if there is something to write and it does not live.
// The lock is held.
func (c *Conn) kick() {
	if c.out.writing || c.dead || !c.started || !c.pendingWork() {
		return
	}
	c.out.writing = true
	c.writers.Add(1)
	go c.writer()
}

func (c *Conn) pendingWork() bool {
	o := &c.out
	return o.bytes > 0 || len(o.ended) > 0 || o.first != nil && (o.window > 0 || o.first.queue.Len() == 0)
}

// write is the writer: it lives until nothing is pending.
func (c *Conn) write() {
	defer c.writers.Done()
	runtime.Gosched() // others are about to append
	for {
		c.mu.Lock()
		if !c.closing {
			c.fillBatch()
		}
		o := &c.out
		if len(o.pending) == 0 && len(o.ended) == 0 {
			o.writing = false
			c.mu.Unlock()
			return
		}
		pending, notes, ended := o.pending, o.notes, o.ended
		o.pending, o.notes, o.ended = o.spareSegments[:0], o.spareNotes[:0], nil
		o.spareSegments, o.spareNotes = nil, nil
		freed := o.bytes > c.config.MaxPending/2
		o.bytes, o.answers, o.tail = 0, 0, tail{}
		o.batches++
		c.armWrite()
		c.mu.Unlock()

		err := c.writeOut(pending)
		c.settle(pending, notes, ended, err)
		if freed && c.role == Client && err == nil {
			c.handler.Changed(c)
		}
		if err != nil {
			return
		}
	}
}

// armWrite sees to it that the write has most of its time. The lock is held.
func (c *Conn) armWrite() {
	now := time.Now()
	if c.closing || c.out.deadline.Sub(now) > c.config.WriteTimeout*3/4 {
		return
	}
	c.out.deadline = now.Add(c.config.WriteTimeout)
	_ = c.conn.SetWriteDeadline(c.out.deadline)
}

// writeOut writes all segments.
func (c *Conn) writeOut(pending []segment) error {
	if c.plain != nil {
		for _, s := range pending {
			c.vectors = append(c.vectors, s.buf.mem[s.from:s.buf.end])
		}
		_, err := c.plain.WriteBuffers(c.vectors)
		clear(c.vectors)
		c.vectors = c.vectors[:0]
		return err
	}
	for i, s := range pending {
		if i > 0 { // progress was made
			c.mu.Lock()
			c.armWrite()
			c.mu.Unlock()
		}
		if _, err := c.conn.Write(s.buf.mem[s.from:s.buf.end]); err != nil {
			return err
		}
	}
	return nil
}

// settle gives back what was written and tells the streams.
func (c *Conn) settle(pending []segment, notes []note, ended []*Stream, err error) {
	for i := range pending {
		pending[i].buf.release()
		pending[i] = segment{}
	}
	if err != nil {
		c.writeFailed(err)
	}
	c.mu.Lock()
	told := notes[:0]
	for _, n := range notes {
		switch {
		case n.stream.over || err != nil:
			n.stream.unpin()
		case n.stream.accepting:
			n.stream.sentDue += n.n
			n.stream.unpin()
		default:
			n.stream.busy++
			told = append(told, n)
		}
	}
	c.mu.Unlock()
	for _, n := range told {
		n.stream.handler.Sent(n.stream, n.n)
	}
	c.mu.Lock()
	for _, n := range told {
		if n.stream.leave() {
			ended = append(ended, n.stream)
		}
		n.stream.unpin()
	}
	clear(notes)
	if c.out.spareSegments == nil {
		c.out.spareSegments, c.out.spareNotes = pending[:0], notes[:0]
	}
	if err != nil {
		c.out.ended = append(c.out.ended, ended...) // Run tells them
		ended = nil
	}
	c.mu.Unlock()
	for _, s := range ended {
		s.closed()
	}
}

// writeFailed notes why, and closes the connection, which ends the reader.
func (c *Conn) writeFailed(err error) {
	c.mu.Lock()
	c.out.writing = false
	c.dead = true
	if !c.closing {
		e := &Error{Code: InternalError, Reason: ReasonLost, Err: err}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			e.Reason = ReasonWriteTimeout
			c.count(e.Reason)
		}
		c.closing, c.shut, c.err = true, true, e
	}
	c.mu.Unlock()
	_ = c.conn.Close()
}

// fillBatch makes frames of the data of streams in turn, up to a batch. The lock
// is held.
func (c *Conn) fillBatch() {
	o := &c.out
	for o.first != nil && o.bytes < batch {
		s := o.first
		if o.window <= 0 && s.queue.Len() > 0 {
			return
		}
		o.dequeue(s)
		if s.queue.Len() > 0 && s.sendWindow <= 0 {
			continue // SETTINGS have taken it away
		}
		c.sendFrom(s)
		o.enqueue(s)
	}
}

// sendFrom makes a frame of what the stream has queued: data, its end, or its
// trailers. The lock is held.
func (c *Conn) sendFrom(s *Stream) {
	o := &c.out
	chunk, ok := s.queue.first()
	if !ok {
		c.sendEnd(s)
		return
	}
	n := min(chunk.Len(), s.sendWindow, o.window, c.peerFrameSize, BufferSpace)
	all := n == chunk.Len()
	end := all && s.queue.single() && s.endQueued && s.trailers == nil
	if all && chunk.framed && chunk.Len() > small {
		whole, _ := s.queue.Pop()
		o.place(s, whole, end)
	} else {
		o.data(s, chunk.b[:n], end)
		s.queue.consume(n)
	}
	if len(o.notes) > 0 && o.notes[len(o.notes)-1].stream == s {
		o.notes[len(o.notes)-1].n += n
	} else {
		s.pins++
		o.notes = append(o.notes, note{s, n})
	}
	if end {
		c.localEnded(s)
	} else if s.queue.Len() == 0 && s.trailers != nil {
		c.sendEnd(s)
	}
}

// sendEnd sends the trailers or the bare end of a stream whose data has gone.
// The lock is held.
func (c *Conn) sendEnd(s *Stream) {
	switch {
	case s.trailers != nil:
		c.out.headers(s.id, s.trailers, true, c.peerFrameSize)
		s.trailers = nil
	case s.endQueued:
		c.out.data(s, nil, true)
	default:
		return
	}
	c.localEnded(s)
}
