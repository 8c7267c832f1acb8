package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
)

const (
	// outstanding is how many bytes of a stream may wait to be written before
	// its writers wait.
	outstanding = 128 << 10

	// lingering is how long a closed stream may stand still with bytes that
	// its peer does not take.
	lingering = time.Minute
)

// Stream is a TCP connection carried by a mux session: a [Conn] and an
// [Aborter]. Its methods are safe for concurrent use.
type Stream struct {
	conn   net.Conn      // the session's
	answer chan struct{} // closed when the answer has come, nil at a server
	gone   chan struct{} // closed when the stream is over

	mu               sync.Mutex
	readable, wakeup sync.Cond
	below            *h2.Stream // nil once it is given back

	in    h2.Queue // received and not read
	ended bool     // the peer's end has come
	over  bool     // the stream below is closed
	err   error    // why reading and writing fail

	out      int  // bytes sent and not on their way
	endSent  bool // CloseWrite was called
	closed   bool // Close was called
	answered bool
	linger   *time.Timer
	reading  deadline
	writing  deadline
}

var (
	_ Conn    = (*Stream)(nil)
	_ Aborter = (*Stream)(nil)
)

func newStream(conn net.Conn) *Stream {
	s := &Stream{conn: conn, gone: make(chan struct{})}
	s.readable.L, s.wakeup.L = &s.mu, &s.mu
	return s
}

// attach gives the stream what it stands on. It may be over by then.
func (s *Stream) attach(below *h2.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.below = below
	s.giveBack()
}

// giveBack releases what is below once nobody needs it. The lock is held.
func (s *Stream) giveBack() {
	if s.over && s.closed && s.below != nil {
		s.below.Release()
		s.below = nil
	}
}

// Answer waits for the peer's answer and returns nil once the connection at the
// far end stands, a [*Refused], or why the stream ended before. If there is an
// [*h2.Error] that says Unprocessed in it, the stream may be opened again on
// another session, with what was written to it.
func (s *Stream) Answer(ctx context.Context) error {
	if s.answer != nil {
		select {
		case <-s.answer:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answered {
		return nil
	}
	return s.err
}

// sendHeaders sends a server's answer.
func (s *Stream) sendHeaders(h *h2.Headers, end bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.endSent = s.endSent || end
	return s.below.SendHeaders(h, end)
}

// Read reads what has come. At the end of the peer's side it returns io.EOF, and
// after a reset or the loss of the session an error in which there is an
// [*h2.Error].
func (s *Stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.await(); err != nil {
		return 0, err
	}
	n := s.in.Read(b)
	s.consumed(n)
	return n, nil
}

// await waits until there is something to read. The lock is held.
func (s *Stream) await() error {
	for {
		switch {
		case s.closed:
			return s.opError("read", net.ErrClosed)
		case s.reading.passed:
			return s.opError("read", os.ErrDeadlineExceeded)
		case s.in.Len() > 0:
			return nil
		case s.ended:
			return io.EOF
		case s.err != nil:
			return s.opError("read", s.err)
		}
		s.readable.Wait()
	}
}

// take waits for chunks and appends up to most of them; the caller owns them,
// and says so when it is done with their bytes ([Stream.consumed]).
func (s *Stream) take(chunks []h2.Chunk, most int) ([]h2.Chunk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.await(); err != nil {
		return chunks, err
	}
	for len(chunks) < most {
		chunk, ok := s.in.Pop()
		if !ok {
			break
		}
		chunks = append(chunks, chunk)
	}
	return chunks, nil
}

// taken says that n bytes of chunks have left.
func (s *Stream) taken(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumed(n)
}

func (s *Stream) consumed(n int) {
	if s.below != nil && n > 0 {
		s.below.Consumed(n)
	}
}

// Write queues b, and waits while the peer does not take what was queued before.
func (s *Stream) Write(b []byte) (int, error) {
	written := 0
	for first := true; first || written < len(b); first = false {
		chunk, n := h2.ChunkOf(b[written:])
		if err := s.send(chunk); err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// send queues a chunk, which belongs to the stream whatever is returned.
func (s *Stream) send(chunk h2.Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var err error
		switch {
		case s.closed:
			err = net.ErrClosed
		case s.writing.passed:
			err = os.ErrDeadlineExceeded
		case s.err != nil:
			err = s.err
		case s.endSent:
			err = net.ErrClosed
		}
		if err != nil {
			chunk.Release()
			return s.opError("write", err)
		}
		if chunk.Len() == 0 {
			return nil
		}
		if s.out < outstanding {
			break
		}
		s.wakeup.Wait()
	}
	n := chunk.Len()
	s.out += n
	s.out -= s.below.Send(chunk, false)
	return nil
}

func (s *Stream) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "mux", Source: s.conn.LocalAddr(), Addr: s.conn.RemoteAddr(), Err: err}
}

// CloseWrite says that nothing more will be written; reading goes on.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return s.opError("close", net.ErrClosed)
	case s.err != nil && !s.endSent:
		return s.opError("close", s.err)
	}
	s.sendEnd()
	return nil
}

func (s *Stream) sendEnd() {
	if s.endSent || s.below == nil {
		return
	}
	s.endSent = true
	s.below.Send(h2.Chunk{}, true)
	s.wakeup.Broadcast()
}

// Close ends both sides: what was written still goes out, and what comes is
// nobody's.
func (s *Stream) Close() error {
	s.finish(h2.Cancel)
	return nil
}

// finish closes the stream. If the peer goes on sending, it is told by
// RST_STREAM(code), after everything that was written.
func (s *Stream) finish(code h2.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.shut()
	if s.over {
		s.giveBack()
		return
	}
	s.endSent = true
	s.below.Finish(code)
	if s.out == 0 {
		return
	}
	last := s.out
	s.linger = time.AfterFunc(lingering, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.over && s.out == last {
			s.below.Reset(h2.Cancel)
		} else if !s.over {
			last = s.out
			s.linger.Reset(lingering)
		}
	})
}

// shut wakes who waits, and drops what was received. The lock is held.
func (s *Stream) shut() {
	s.closed = true
	s.consumed(s.in.Len())
	s.in.Clear()
	s.reading.stop()
	s.writing.stop()
	s.readable.Broadcast()
	s.wakeup.Broadcast()
}

// Abort ends the stream so that its peer sees a reset (RFC 9113, section 8.5).
func (s *Stream) Abort() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over && s.below != nil {
		s.below.Reset(h2.ConnectError)
	}
	if !s.closed {
		s.shut()
	}
	s.giveBack()
	return nil
}

// LocalAddr returns the session's local address.
func (s *Stream) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr returns the session's remote address.
func (s *Stream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.set(&s.reading, &s.readable, t) }

// SetWriteDeadline sets the deadline of Write.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.set(&s.writing, &s.wakeup, t) }

func (s *Stream) set(d *deadline, wake *sync.Cond, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.opError("set", net.ErrClosed)
	}
	d.set(&s.mu, wake, t)
	return nil
}

// deadline is when waiting ends. The stream's lock guards it.
type deadline struct {
	passed bool
	timer  *time.Timer
	turn   int // counts what was set, so that a timer which is late is known
}

func (d *deadline) set(mu *sync.Mutex, wake *sync.Cond, t time.Time) {
	d.stop()
	d.passed = false
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		d.passed = true
	default:
		turn := d.turn
		d.timer = time.AfterFunc(wait, func() {
			mu.Lock()
			defer mu.Unlock()
			if d.turn == turn {
				d.passed = true
				wake.Broadcast()
			}
		})
	}
	wake.Broadcast()
}

func (d *deadline) stop() {
	d.turn++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// streamEvents is what the stream below is told. It never blocks.
type streamEvents Stream

// Headers takes the answer. Trailers mean nothing here.
func (e *streamEvents) Headers(below *h2.Stream, h *h2.Headers, end bool) {
	s := (*Stream)(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case h.Kind == h2.Response && h.Status/100 == 2:
		s.answered = true
		close(s.answer)
	case h.Kind == h2.Response:
		s.fail(parseRefused(h))
		close(s.answer)
		below.Reset(h2.Cancel)
		return
	case h.Kind == h2.Informational:
		return
	}
	s.endOfInput(end)
}

func (s *Stream) endOfInput(end bool) {
	if end {
		s.ended = true
		s.readable.Broadcast()
	}
}

// fail notes the first reason. The lock is held.
func (s *Stream) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.readable.Broadcast()
	s.wakeup.Broadcast()
}

// Data queues what has come.
func (e *streamEvents) Data(below *h2.Stream, chunk h2.Chunk, end bool) {
	s := (*Stream)(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.err != nil {
		below.Consumed(chunk.Len())
		chunk.Release()
		s.ended = s.ended || end
		return
	}
	s.in.Push(chunk)
	s.endOfInput(end)
	s.readable.Signal()
}

// Sent lets writers go on.
func (e *streamEvents) Sent(_ *h2.Stream, n int) {
	s := (*Stream)(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out -= n
	s.wakeup.Signal()
}

// Closed ends everything. What came before the peer's end can still be read.
func (e *streamEvents) Closed(_ *h2.Stream, err *h2.Error) {
	s := (*Stream)(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.out = true, 0
	close(s.gone)
	if s.linger != nil {
		s.linger.Stop()
	}
	if err != nil {
		s.fail(err)
		if !s.ended {
			s.in.Clear()
		}
	} else {
		s.readable.Broadcast()
		s.wakeup.Broadcast()
	}
	if s.answer != nil && !s.answered {
		select {
		case <-s.answer:
		default:
			close(s.answer)
		}
	}
	s.giveBack()
}
