package tunnel

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// DefaultAuthority is the :authority of streams of a session that names no
// target.
const DefaultAuthority = "default"

// Info is what differs from stream to stream of one session.
type Info struct {
	// Authority is the session's target, or [DefaultAuthority] if it names
	// none.
	Authority string

	// Client is the address of who opened the connection at the source
	// (Forwarded, RFC 7239), or zero.
	Client netip.AddrPort

	// Trace is the trace context of the stream, or zero.
	Trace tlsctx.Traceparent
}

// Config is how a mux session behaves. The zero value works.
type Config struct {
	// H2 is the connection's configuration.
	H2 h2.Config

	// Authority is what a server takes: the target of its session. A stream
	// that asks for another is answered 421. "" means [DefaultAuthority].
	Authority string

	// Drain, when it is closed, makes a server take no new streams and end
	// after the last of those it has. Nil means never.
	Drain <-chan struct{}
}

// Refused is how an [Answer] that is not 2xx ends a stream at its source.
type Refused struct {
	// Status is the HTTP status of the answer, 300 to 599.
	Status int

	// Reason is the error type of its Proxy-Status field (RFC 9209, section
	// 2.3), a token of at most 64 bytes, or "".
	Reason string
}

// Error says what the answer was.
func (e *Refused) Error() string {
	text := "tunnel: the peer answered " + strconv.Itoa(e.Status)
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}

// Session is a client's end of a mux session: an HTTP/2 connection of which each
// stream is a TCP connection. Its methods are safe for concurrent use.
type Session struct{ conn *h2.Conn }

// NewSession starts a session over conn, which belongs to it from then on, and
// waits until the peer has taken it: until its SETTINGS have come. A peer that
// refuses the client by a TLS alert shows here (tlsctx.RefusedByPeer).
func NewSession(ctx context.Context, conn net.Conn, config Config) (*Session, error) {
	return &Session{}, nil
}

// Open opens a stream. It waits only while the session has more streams than the
// peer allows, and not for the answer: bytes may be written at once, and reading
// waits for it. An error that is [h2.ErrUnavailable] means that another session
// is needed.
func (s *Session) Open(ctx context.Context, info Info) (*Stream, error) {
	return nil, h2.ErrUnavailable
}

// Available reports whether the session can take a stream now.
func (s *Session) Available() bool { return false }

// Streams returns how many streams are open.
func (s *Session) Streams() int { return 0 }

// Retire makes the session take no new streams and end after the last of those
// it has.
func (s *Session) Retire() {}

// Close ends the session and its streams, and waits for its goroutines.
func (s *Session) Close() error { return nil }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return nil }

// NetConn returns the connection below.
func (s *Session) NetConn() net.Conn { return nil }

// Serve takes the streams of a client's session over conn until it has ended,
// and returns nil if it drained in order. Each is given to handle in a goroutine
// of its own, which decides by [Incoming.Accept] or [Incoming.Reject]; the
// context of handle ends with ctx. Serve returns when every handle has. When ctx
// ends, all streams are reset.
func Serve(ctx context.Context, conn net.Conn, config Config, handle func(context.Context, *Incoming)) error {
	return nil
}

// Incoming is a stream that a client asks for.
type Incoming struct {
	// Info is what the client said of it. Its Authority is that of the session.
	Info Info

	stream *Stream
}

// Accept answers 200 and returns the stream.
func (in *Incoming) Accept() (*Stream, error) { return in.stream, nil }

// Reject answers with an HTTP status of 400 to 599 and, as Proxy-Status, an
// error type of RFC 9209, section 2.3, such as connection_refused.
func (in *Incoming) Reject(status int, reason string) error { return nil }

// Stream is a TCP connection carried by a mux session: a [Conn] and an
// [Aborter].
type Stream struct{ net.Conn }

// Answer waits for the peer's answer and returns nil once the connection at the
// far end stands, or a [*Refused].
func (s *Stream) Answer(ctx context.Context) error { return nil }

// CloseWrite says that nothing more will be written; reading goes on.
func (s *Stream) CloseWrite() error { return nil }

// Abort ends the stream so that the peer sees a reset.
func (s *Stream) Abort() error { return nil }
