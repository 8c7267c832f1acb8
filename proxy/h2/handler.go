package h2

// Handler is told what happens to a connection, by its reader's goroutine (and
// Changed by its writer's too). It must not block: a call that does stops every
// stream of the connection.
type Handler interface {
	// Ready is called once, when the peer's first SETTINGS have come. Until
	// then a client does not know whether its peer has taken it, and what it
	// sent may have to be sent again elsewhere.
	Ready(c *Conn)

	// Accept is called with each request; h is valid during the call. end says
	// that no data and no trailers follow. It returns who is told of the
	// stream's further events, or nil to refuse it (REFUSED_STREAM: the peer
	// may try elsewhere). It may answer, in part or completely, before it
	// returns, unless it refuses. (Server.)
	Accept(s *Stream, h *Headers, end bool) StreamHandler

	// Changed is called when the connection may take a new stream after it did
	// not, or takes none any more: see [Conn.Available].
	Changed(c *Conn)
}

// Idler is a [Handler] that hands on what it is told in batches.
type Idler interface {
	// Idle is called when everything that one read has brought has been
	// handled, before more is waited for, by the reader's goroutine. Like the
	// other calls it must not block.
	Idle(c *Conn)
}

// StreamHandler is told what happens to one stream. Headers and Data are called
// by the reader's goroutine, one at a time; Sent by the writer's, perhaps at the
// same time; Closed by either, once, after every other call has returned. None
// of them may block. No lock of the connection is held: they may call anything
// of this and other connections.
type StreamHandler interface {
	// Headers is called with each further header block: a client's with
	// informational responses, the response and trailers, a server's with
	// trailers. h is valid during the call. end says that nothing follows.
	Headers(s *Stream, h *Headers, end bool)

	// Data is called with each piece of the body as it comes, which need not
	// be a whole frame. The chunk is the handler's: to be sent, queued or
	// released, and to be reported as [Stream.Consumed] when it has left. It is
	// kept in a [Queue], which does not let a short chunk hold a large buffer.
	// The chunk may be empty if end is set.
	Data(s *Stream, chunk Chunk, end bool)

	// Sent is called when n bytes that [Stream.Send] had queued are on their
	// way.
	Sent(s *Stream, n int)

	// Closed is called when the stream is over, with nil if both sides ended
	// it in order, and otherwise an [Error]. An answer that was complete before
	// the peer sent RST_STREAM(NO_ERROR) is nil too. Nothing is called after
	// it.
	Closed(s *Stream, err *Error)
}
