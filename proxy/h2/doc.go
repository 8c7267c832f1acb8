// Package h2 is HTTP/2 (RFC 9113) below its messages: frames, header blocks,
// stream states, flow control, one batching writer a connection, and limits on
// what a peer can make it do. The role, client or server, is independent of who
// dialled. A tunnel and an HTTP engine stand on it; it knows neither, opens no
// connection, and never looks at what a field or a body means beyond what the
// protocol asks.
//
// # Events
//
// A connection has one goroutine, the caller's, in [Conn.Run]: it reads and
// calls a [Handler] for the connection and a [StreamHandler] for each stream,
// which must not block. Whatever a call writes is appended to what is pending; a
// writer goroutine, which lives only while something is pending, yields once and
// writes all of it at once, so that many streams share a system call. Data
// arrives and is sent as a [Chunk]: a piece of a pooled, reference-counted
// buffer. There is no goroutine a stream.
//
// # Flow control
//
// The connection's credit goes back as data arrives, a stream's as the handler
// says that it is done with it ([Stream.Consumed]): a stream that nobody reads
// stops itself and nobody else. A stream's window starts small and grows while
// its data leaves as fast as it comes, within a [Budget] for the whole process.
//
// # Why its own frames
//
// The Framer of golang.org/x/net/http2 hands out a frame only when all of it is
// in a buffer of its own, and copies on the way out: here data is passed on, and
// reaches the next connection, in the buffer into which it was read, in pieces
// as it comes, and a frame may be longer than any buffer. Abuse is also told
// apart at this level: by the frame header, before there is anything to hold.
// Header compression is its own for the sake of allocations: one string a block,
// and a table that only what repeats gets into. The Huffman code and the
// reference that tests compare with are hpack's of golang.org/x/net.
//
// # What may hold a reader up
//
// Over crypto/tls, Read answers a peer's KeyUpdate and waits for a write under
// way to end; [Config.WriteTimeout] bounds that.
package h2
