package tunnel

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
)

// Serve takes the streams of a client's session over conn until it has ended,
// and returns nil if it ended in order. Each is given to handle in a goroutine of
// its own, which decides by [Incoming.Accept] or [Incoming.Reject]; the context
// of handle is ctx. When ctx ends, so does the session, and its streams are
// reset. Serve returns when every handle has.
func Serve(ctx context.Context, conn net.Conn, config Config, handle func(context.Context, *Incoming)) error {
	if config.Authority == "" {
		config.Authority = DefaultAuthority
	}
	s := &server{ctx: ctx, authority: config.Authority, handle: handle}
	below := h2.New(conn, h2.Server, config.h2(), s)
	if config.Drain != nil {
		s.work.Go(func() {
			select {
			case <-config.Drain:
				below.Drain()
			case <-below.Done():
			}
		})
	}
	err := below.Run(ctx)
	s.work.Wait()
	if err != nil {
		return fmt.Errorf("tunnel: serve session: %w", err)
	}
	return nil
}

// Statuses of answers (RFC 9110, section 15).
const (
	statusOK          = 200
	statusNotAllowed  = 405
	statusMisdirected = 421
	statusInternal    = 500
)

// server is the server's end of a session.
type server struct {
	ctx       context.Context //nolint:containedctx // it is Serve's, as long as Serve runs
	authority string
	handle    func(context.Context, *Incoming)
	work      sync.WaitGroup
}

func (s *server) Ready(*h2.Conn)   {}
func (s *server) Changed(*h2.Conn) {}

// Accept looks at a request and hands it on.
func (s *server) Accept(below *h2.Stream, h *h2.Headers, end bool) h2.StreamHandler {
	stream := newStream(below.Conn().NetConn())
	stream.attach(below)
	stream.ended = end
	in := &Incoming{Info: parseInfo(h), stream: stream}
	switch {
	case h.Method != h2.MethodConnect || h.Protocol != "":
		in.answer(statusNotAllowed, "http_request_error")
	case h.Authority != s.authority:
		in.answer(statusMisdirected, "destination_not_found")
	default:
		s.work.Go(func() {
			defer in.abandon()
			s.handle(s.ctx, in)
		})
	}
	return (*streamEvents)(stream)
}

// Incoming is a stream that a client asks for. What the client sends before it
// is accepted waits within the stream's window. It is for one goroutine.
type Incoming struct {
	// Info is what the client said of it. Its Authority is that of the session.
	Info Info

	stream  *Stream
	decided bool
}

// Accept answers 200 and returns the stream. It fails if the client has given up.
func (in *Incoming) Accept() (*Stream, error) {
	in.decided = true
	if err := in.stream.sendHeaders(&h2.Headers{Kind: h2.Response, Status: statusOK}, false); err != nil {
		return nil, fmt.Errorf("tunnel: accept stream: %w", err)
	}
	return in.stream, nil
}

// Reject answers with an HTTP status of 400 to 599 and, as Proxy-Status, an
// error type of RFC 9209, section 2.3, such as connection_refused, or "".
func (in *Incoming) Reject(status int, reason string) error {
	if status < 400 || status > 599 || reason != "" && !errorType(reason) {
		return fmt.Errorf("tunnel: reject stream: status %d with reason %q is none", status, reason)
	}
	if !in.decided {
		in.answer(status, reason)
	}
	return nil
}

// Gone is closed when the stream is over, however that came: a client that gave
// up while the connection for it was being opened shows here.
func (in *Incoming) Gone() <-chan struct{} { return in.stream.gone }

func (in *Incoming) answer(status int, reason string) {
	in.decided = true
	h := &h2.Headers{Kind: h2.Response, Status: status}
	if reason != "" {
		h.Fields = []h2.Field{{Name: fieldProxyStatus, Value: proxyStatusError + reason}}
	}
	_ = in.stream.sendHeaders(h, true)
	in.stream.finish(h2.NoError)
}

// abandon answers what handle left without an answer.
func (in *Incoming) abandon() {
	if !in.decided {
		in.answer(statusInternal, "proxy_internal_error")
	}
}
