package tunnel

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// DefaultAuthority is the :authority of streams of a session that names no
// target.
const DefaultAuthority = "default"

// Info is what differs from stream to stream of one session.
type Info struct {
	// Authority is the session's target, or "" for [DefaultAuthority] if it
	// names none.
	Authority string

	// Client is the address of who opened the connection at the source
	// (Forwarded, RFC 7239), or zero. To a server it is the peer's word.
	Client netip.AddrPort

	// Trace is the trace context of the stream, or zero.
	Trace tlsctx.Traceparent
}

// Config is how a mux session behaves. The zero value works.
type Config struct {
	// H2 is the connection's configuration. Its MaxFrameSize is 64 KiB unless
	// it says something else.
	H2 h2.Config

	// Authority is what a server takes: the target of its session. A stream
	// that asks for another is answered 421. "" means [DefaultAuthority].
	Authority string

	// Drain, when it is closed, makes a server take no new streams and end
	// after the last of those it has. Nil means never.
	Drain <-chan struct{}
}

// h2 returns the connection's configuration: a frame may be as long as what is
// written at once, and is then the buffer into which its data was read.
func (c Config) h2() h2.Config {
	c.H2.MaxFrameSize = cmp.Or(c.H2.MaxFrameSize, 64<<10)
	return c.H2
}

// Refused is how an answer that is not 2xx ends a stream at its source.
type Refused struct {
	// Status is the HTTP status of the answer.
	Status int

	// Reason is the error type of its Proxy-Status field (RFC 9209, section
	// 2.3), lower-case letters and underscores, at most 64 bytes, or "".
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

// The fields of a stream.
const (
	fieldForwarded   = "forwarded"
	fieldTraceparent = "traceparent"
	fieldProxyStatus = "proxy-status"
	proxyStatusError = "hallmark; error="
)

// headers returns the request of a stream.
func (in Info) headers() *h2.Headers {
	h := &h2.Headers{Kind: h2.Request, Method: h2.MethodConnect, Authority: in.Authority}
	if h.Authority == "" {
		h.Authority = DefaultAuthority
	}
	if in.Client.IsValid() {
		h.Fields = append(h.Fields, h2.Field{Name: fieldForwarded, Value: `for="` + in.Client.String() + `"`})
	}
	if !in.Trace.IsZero() {
		h.Fields = append(h.Fields, h2.Field{Name: fieldTraceparent, Value: in.Trace.String()})
	}
	return h
}

// parseInfo reads a request. What is no address or no trace context is as good
// as none: a stream does not fail for it.
func parseInfo(h *h2.Headers) Info {
	in := Info{Authority: h.Authority}
	if value, ok := h.Get(fieldForwarded); ok {
		if address, ok := strings.CutPrefix(value, `for="`); ok {
			if address, ok = strings.CutSuffix(address, `"`); ok {
				if client, err := netip.ParseAddrPort(address); err == nil && client.Addr().Zone() == "" {
					in.Client = client
				}
			}
		}
	}
	if value, ok := h.Get(fieldTraceparent); ok {
		in.Trace, _ = tlsctx.ParseTraceparent(value)
	}
	return in
}

// parseRefused reads an answer.
func parseRefused(h *h2.Headers) *Refused {
	e := &Refused{Status: h.Status}
	value, _ := h.Get(fieldProxyStatus)
	if _, reason, ok := strings.Cut(value, "; error="); ok {
		reason, _, _ = strings.Cut(reason, ";")
		if errorType(reason) {
			e.Reason = reason
		}
	}
	return e
}

// errorType reports whether a reason is of the form of those that RFC 9209
// registers.
func errorType(reason string) bool {
	return reason != "" && len(reason) <= 64 && strings.Trim(reason, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// Session is a client's end of a mux session: an HTTP/2 connection of which each
// stream is a TCP connection. Its methods are safe for concurrent use.
type Session struct {
	conn  *h2.Conn
	ready chan struct{}
	done  chan struct{}
	err   error // how it ended, once done is closed
}

// NewSession starts a session over conn, which belongs to it from then on, and
// waits until the peer has taken it: until its SETTINGS have come. A peer that
// refuses the client by a TLS alert shows here (tlsctx.RefusedByPeer).
func NewSession(ctx context.Context, conn net.Conn, config Config) (*Session, error) {
	s := &Session{ready: make(chan struct{}), done: make(chan struct{})}
	s.conn = h2.New(conn, h2.Client, config.h2(), (*sessionEvents)(s))
	go s.run() //nolint:gosec // G118: the session outlives the context of who opens it
	select {
	case <-s.ready:
		return s, nil
	case <-s.done:
		err := s.err
		if err == nil {
			err = net.ErrClosed
		}
		return nil, fmt.Errorf("tunnel: open session: %w", err)
	case <-ctx.Done():
		_ = conn.Close()
		<-s.done
		return nil, fmt.Errorf("tunnel: open session: %w", context.Cause(ctx))
	}
}

// run speaks HTTP/2 until the session is closed: it outlives who opened it.
func (s *Session) run() {
	defer close(s.done)
	s.err = s.conn.Run(context.Background())
}

// sessionEvents is what the connection of a session is told.
type sessionEvents Session

func (s *sessionEvents) Ready(*h2.Conn)   { close(s.ready) }
func (s *sessionEvents) Changed(*h2.Conn) {}

func (s *sessionEvents) Accept(*h2.Stream, *h2.Headers, bool) h2.StreamHandler { return nil }

// Open opens a stream and does not wait for the answer: bytes may be written at
// once, and reading waits for it. [h2.ErrUnavailable] means that another session
// is needed: this one is full or takes no streams any more.
func (s *Session) Open(ctx context.Context, info Info) (*Stream, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	stream := newStream(s.conn.NetConn())
	stream.answer = make(chan struct{})
	below, err := s.conn.Open(info.headers(), false, (*streamEvents)(stream))
	if err != nil {
		return nil, fmt.Errorf("tunnel: open stream: %w", err)
	}
	stream.attach(below)
	return stream, nil
}

// Available reports whether the session can take a stream now.
func (s *Session) Available() bool { return s.conn.Available() }

// Streams returns how many streams are open.
func (s *Session) Streams() int { return s.conn.Streams() }

// Retire makes the session take no new streams and end after the last of those
// it has.
func (s *Session) Retire() { s.conn.Drain() }

// Close ends the session and resets its streams. It does not wait: see Done.
func (s *Session) Close() error {
	s.conn.Close(h2.NoError)
	return nil
}

// Done is closed when the session has ended, its streams with it, and no
// goroutine of it is left.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns how the session ended, once Done is closed: nil if in order,
// otherwise an [*h2.Error].
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// NetConn returns the connection below.
func (s *Session) NetConn() net.Conn { return s.conn.NetConn() }
