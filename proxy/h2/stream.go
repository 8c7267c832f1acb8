package h2

import (
	"slices"
	"sync"
)

// Stream is one stream of a connection. Its methods are safe for concurrent use
// and do not block; on a stream that is closed they do nothing.
type Stream struct {
	conn    *Conn
	id      uint32
	handler StreamHandler

	// The connection's lock guards the rest.

	over     bool   // no longer one of the connection's streams
	err      *Error // how it ended
	busy     int    // calls of the handler under way
	closeDue bool   // Closed is called by whoever leaves last
	widened  bool   // its end made room for another
	released bool
	pins     int // notes of the writer that name the stream

	accepting bool // Accept has not returned: there is no handler yet
	sentDue   int  // what it will be told then

	// Sending.
	localEnd   bool // nothing may be added
	localDone  bool // the end is on its way
	responded  bool // a response was sent (server), or has come (client)
	endQueued  bool // the end follows the queue
	finishing  bool // what follows the end is RST_STREAM(finishCode)
	finishCode Code
	trailers   *Headers
	queue      Queue
	sendWindow int
	queued     bool
	batch      uint64 // that it last put a frame into, and one
	prev, next *Stream

	// Receiving.
	remoteEnd  bool
	head       bool  // of a request whose response has no body
	connect    bool  // content-length means nothing
	inform     int   // informational responses
	length     int64 // that is still to come, -1 if unknown
	recvWindow int   // what the peer may send
	window     int   // its size
	credit     int   // consumed, and not told yet
	unconsumed int   // received and not consumed
	drainedBy  int   // consumed since the window last grew
	tiny       int   // short pieces unconsumed
}

var streams sync.Pool

// newStream returns an open stream. The lock is held.
func (c *Conn) newStream(id uint32, handler StreamHandler) *Stream {
	s, _ := streams.Get().(*Stream) // the pool holds nothing else
	if s == nil {
		s = &Stream{}
	}
	*s = Stream{
		conn: c, id: id, handler: handler, length: -1,
		queue:      s.queue,
		sendWindow: c.peerWindow,
		recvWindow: c.config.StreamWindow, window: c.config.StreamWindow,
	}
	c.streams[id] = s
	c.opened++
	return s
}

// ID returns the stream's identifier.
func (s *Stream) ID() uint32 { return s.id }

// Conn returns the stream's connection.
func (s *Stream) Conn() *Conn { return s.conn }

// hasData reports whether there is something to send. The lock is held.
func (s *Stream) hasData() bool {
	return s.queue.Len() > 0 || (s.endQueued || s.trailers != nil) && !s.localDone
}

// SendHeaders sends a header block: a server's informational responses, its
// response, or either side's trailers, which end the stream. Trailers wait for
// queued data; h and its fields may be reused on return. end says that nothing
// follows, which is understood with trailers.
func (s *Stream) SendHeaders(h *Headers, end bool) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over || s.localEnd {
		return ErrEnded
	}
	if c.out.bytes > c.config.MaxPending {
		c.fail(&Error{Code: EnhanceYourCalm, Reason: ReasonPending})
		return ErrEnded
	}
	switch h.Kind {
	case Trailers:
		s.localEnd, s.endQueued = true, true
		if s.queue.Len() > 0 {
			s.trailers = &Headers{Kind: Trailers, Fields: append([]Field(nil), h.Fields...)}
			return nil
		}
		c.out.headers(s.id, h, true, c.peerFrameSize)
		c.localEnded(s)
	default:
		c.out.headers(s.id, h, end, c.peerFrameSize)
		s.responded = s.responded || h.Kind == Response
		if end {
			s.localEnd, s.endQueued = true, true
			c.localEnded(s)
		}
	}
	c.kick()
	return nil
}

// Send queues a chunk, which belongs to the stream from then on, whatever is
// returned, and with end says that nothing follows; the chunk may be empty
// then. It returns how many bytes need no further thought: they are on their
// way, or the stream is over. The handler's Sent tells of the others. Nothing
// bounds the queue but the caller: what is not sent must not be asked for
// (return no credit, read no more).
func (s *Stream) Send(chunk Chunk, end bool) int {
	c, n := s.conn, chunk.Len()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over || s.localEnd {
		chunk.Release()
		return n
	}
	s.localEnd = end
	if s.queue.Len() == 0 && c.out.direct(s, n) && !c.closing {
		if n > 0 || end {
			c.out.data(s, chunk.b, end)
			chunk.Release()
		}
		if end {
			s.endQueued = true
			c.localEnded(s)
		}
		c.kick()
		return n
	}
	s.queue.Push(chunk)
	s.endQueued = end
	c.out.enqueue(s)
	c.kick()
	return 0
}

// localEnded notes that the end of this side is on its way. The lock is held.
func (c *Conn) localEnded(s *Stream) {
	s.localDone = true
	switch {
	case s.over:
	case s.remoteEnd:
		c.end(s, nil)
		c.tellLater(s)
	case s.finishing:
		c.reset(s, s.finishCode, ReasonReset)
	}
}

// Finish ends this side after what is queued, and once that is on its way resets
// the stream by RST_STREAM(code) unless the peer has ended its side: with
// NO_ERROR it is how a server says that it needs no more of the request (RFC
// 9113, section 8.1).
func (s *Stream) Finish(code Code) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over {
		return
	}
	s.finishing, s.finishCode = true, code
	if s.localDone {
		c.localEnded(s)
	} else if !s.localEnd {
		s.localEnd, s.endQueued = true, true
		c.out.enqueue(s)
	}
	c.kick()
}

// Queued returns how many bytes wait in the stream's queue.
func (s *Stream) Queued() int {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.queue.Len()
}

// Consumed says that n bytes of received data have left the process, and gives
// the peer the right to send as many more. Of a stream that ended in order all
// data has to be reported, or the stream released, or the [Budget] goes on
// counting it.
func (s *Stream) Consumed(n int) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, s.unconsumed)
	if n <= 0 {
		return
	}
	s.unconsumed -= n
	c.config.Budget.free(int64(n))
	if s.unconsumed == 0 {
		c.tiny -= s.tiny
		s.tiny = 0
	}
	c.giveCredit(s, n)
}

// giveCredit returns n bytes of credit of a stream, and lets its window grow
// while its data leaves as it comes. The lock is held.
func (c *Conn) giveCredit(s *Stream, n int) {
	if s.over || s.remoteEnd {
		return
	}
	s.credit += n
	s.drainedBy += n
	if s.credit < s.window/4 {
		return
	}
	more := min(s.window, c.config.MaxStreamWindow-s.window)
	if more > 0 && s.drainedBy >= s.window && s.unconsumed <= s.window/2 && c.config.Budget.grow(int64(more)) {
		s.window += more
		s.credit += more
		s.drainedBy = 0
	}
	c.out.windowUpdate(s.id, s.credit)
	s.recvWindow += s.credit
	s.credit = 0
	c.kick()
}

// Reset ends the stream at once by RST_STREAM(code), dropping what is queued.
// The handler's Closed is called soon, never from within.
func (s *Stream) Reset(code Code) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over {
		return
	}
	c.reset(s, code, ReasonReset)
	c.kick()
}

// reset ends a stream by RST_STREAM; the writer tells its handler. The lock is
// held.
func (c *Conn) reset(s *Stream, code Code, reason Reason) {
	c.out.rstStream(s.id, code)
	if c.role == Client && !c.resets.take(ownResets, ownResetsPerSecond) {
		c.retire()
	}
	c.forgotten.add(s.id)
	c.end(s, &Error{Stream: s.id, Code: code, Reason: reason})
	c.tellLater(s)
}

// How many streams a client resets, all at once and each second, before it opens
// new ones elsewhere. Whoever shares the connection would pay for who resets, when
// the server takes it for a flood and cuts it. The default of [Limits.Resets]
// leaves room for all streams that are open by then.
const (
	ownResets          = 500
	ownResetsPerSecond = 20
)

// retire makes a client's connection take no new streams, and end after those that
// there are. The lock is held.
func (c *Conn) retire() {
	if c.shut || c.closing {
		return
	}
	c.goAway = true
	c.sendGoAway(0, NoError)
	c.kick()
}

// end takes a stream off the connection. The lock is held.
func (c *Conn) end(s *Stream, err *Error) {
	if s.over {
		return
	}
	s.over, s.err, s.localEnd = true, err, true
	s.widened = c.role == Client && !c.shut && !c.peerAway && len(c.streams) >= int(c.peerStreams)
	delete(c.streams, s.id)
	c.out.dequeue(s)
	s.queue.Clear()
	s.trailers = nil
	c.config.Budget.free(int64(s.window - c.config.StreamWindow))
	s.window = c.config.StreamWindow
	if err != nil {
		c.forget(s)
	}
	if c.in.stream == s {
		c.in.stream = nil // what is left of its frame is nobody's
	}
	c.drained()
}

// forget gives up what was received and not consumed. The lock is held.
func (c *Conn) forget(s *Stream) {
	c.config.Budget.free(int64(s.unconsumed))
	c.tiny -= s.tiny
	s.unconsumed, s.tiny = 0, 0
}

// tellLater has the writer call Closed, or whoever is in a call of the handler.
// The lock is held.
func (c *Conn) tellLater(s *Stream) {
	if s.busy > 0 {
		s.closeDue = true
		return
	}
	c.out.ended = append(c.out.ended, s)
}

// leave notes that a call of the handler has returned, and reports whether
// Closed is to be called now. The lock is held.
func (s *Stream) leave() bool {
	s.busy--
	if s.busy > 0 || !s.closeDue {
		return false
	}
	s.closeDue = false
	return true
}

// closed calls Closed. No lock is held; the stream is over and nobody is in a
// call of its handler.
func (s *Stream) closed() {
	c, changed := s.conn, s.widened
	if s.handler != nil {
		s.handler.Closed(s, s.err)
	}
	if changed {
		c.handler.Changed(c)
	}
}

// Release gives the stream's memory back for reuse. It may be called once, when
// Closed has been called and nobody uses the stream any more; it need not be.
func (s *Stream) Release() {
	c := s.conn
	c.mu.Lock()
	if !s.over || s.released {
		c.mu.Unlock()
		return
	}
	s.released = true
	c.forget(s)
	free := s.pins == 0
	c.mu.Unlock()
	if free {
		streams.Put(s)
	}
}

// unpin gives up a note of the writer's. The lock is held.
func (s *Stream) unpin() {
	if s.pins--; s.pins == 0 && s.released {
		streams.Put(s)
	}
}

// forgotten remembers streams that this side has reset, of which frames may
// still be on their way. It is bounded: of what it no longer knows it knows that
// there was something.
type forgotten struct {
	ids    []uint32
	next   int
	beyond uint32 // the highest that it no longer knows
}

const mostForgotten = 256

func (f *forgotten) add(id uint32) {
	if len(f.ids) < mostForgotten {
		f.ids = append(f.ids, id)
		return
	}
	f.beyond = max(f.beyond, f.ids[f.next])
	f.ids[f.next] = id
	f.next = (f.next + 1) % mostForgotten
}

// has reports whether frames of the stream are to be ignored.
func (f *forgotten) has(id uint32) bool {
	return id <= f.beyond || slices.Contains(f.ids, id)
}
