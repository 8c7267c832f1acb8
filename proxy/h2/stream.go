package h2

// Stream is one stream of a connection. Its methods are safe for concurrent use
// and do not block; on a stream that is closed they do nothing.
type Stream struct{ conn *Conn }

// ID returns the stream's identifier.
func (s *Stream) ID() uint32 { return 0 }

// Conn returns the stream's connection.
func (s *Stream) Conn() *Conn { return s.conn }

// SendHeaders sends a header block: a server's informational responses, its
// response, or either side's trailers, which end the stream. Trailers wait for
// queued data; h and its fields may be reused on return.
func (s *Stream) SendHeaders(h *Headers, end bool) error { return ErrEnded }

// Send queues a chunk, which belongs to the stream from then on, whatever is
// returned, and with end says that nothing follows; the chunk may be empty
// then. It returns how many bytes need no further thought: they are on their
// way, or the stream is over. The handler's Sent tells of the others. Nothing
// bounds the queue but the caller: what is not sent must not be asked for
// (return no credit, read no more).
func (s *Stream) Send(chunk Chunk, end bool) int { chunk.Release(); return 0 }

// Queued returns how many bytes wait in the stream's queue.
func (s *Stream) Queued() int { return 0 }

// Consumed says that n bytes of received data have left the process, and gives
// the peer the right to send as many more.
func (s *Stream) Consumed(n int) {}

// Reset ends the stream at once by RST_STREAM(code), dropping what is queued.
// The handler's Closed is called soon, never from within.
func (s *Stream) Reset(code Code) {}

// Release gives the stream's memory back for reuse. It may be called once, when
// Closed has been called and nobody uses the stream any more; it need not be.
func (s *Stream) Release() {}
