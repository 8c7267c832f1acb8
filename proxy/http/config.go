package http

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/h1"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Config is how a [Relay] works. Open is required; the zero value of the rest
// works.
type Config struct {
	// Open says where a request goes, once an attempt. It may block, and may
	// change the request, whose Fields it must not keep. An error that is a
	// [*Failure] says what the client is told; any other is
	// [UpstreamRefused]. The context ends when nobody waits for the answer any
	// more.
	Open func(ctx context.Context, ask *Ask) (Choice, error)

	// Ready answers like Open where that takes no waiting, and reports false
	// where it would. Nil means that Open may always block; then every request
	// on an HTTP/2 connection costs a goroutine.
	Ready func(ask *Ask) (Choice, bool)

	// Identity says what the application is told of who called it. Nil tells
	// nothing, and leaves what the client says of the kind alone: only for
	// requests that come from the application itself.
	Identity *Identity

	// Record is told of each request, once, when it is over. It must not
	// block and must not keep the record. Nil ignores it.
	Record func(*Record)

	// InFlight counts the requests that have begun and are not over, up and
	// down. Nil counts none. Relays may share it.
	InFlight *atomic.Int64

	// Trace returns what trace a request belongs to, and its span if it is
	// followed, else nil: once, when its head has been read and stripped of
	// what is not for clients to say. It may change the request's fields, and
	// must not block. Nil means to go by traceparent and to follow none.
	Trace func(r *message.Request, source *Source, start time.Time) (tlsctx.Traceparent, Span)

	// Messages is told of the messages of a gRPC request that goes on: of its
	// labels ([Choice.Labels]), and how many have come through since it was
	// told last, about once a second if there are any. What it is told of is
	// not in the record. It must not block. Nil ignores it.
	Messages func(labels any, requests, responses uint64)

	// Count is told of each message that was refused and each limit that was
	// met, with a stable text: use it as a metric's label. It must not block.
	// Nil ignores it.
	Count func(reason string)

	// Name is how the proxy calls itself in Proxy-Status (RFC 9209): a token.
	// "" means hallmark.
	Name string

	// Via adds a Via field to requests (RFC 9110, section 7.6.3).
	Via bool

	// Timeouts and Limits bound what a client may take. H2 is how HTTP/2
	// connections from clients behave.
	Timeouts Timeouts
	Limits   Limits
	H2       h2.Config
}

// Timeouts of a [Relay]. The zero value of each means its default, a negative
// one none.
type Timeouts struct {
	// Header is how long a head may take from its first byte (10 s). (HTTP/1.)
	Header time.Duration

	// Idle is how long a connection is kept without a request (5 min); one of
	// HTTP/2 up to twice as long.
	Idle time.Duration

	// Body is how long a body may stand still that is expected from a client
	// (5 min), and the time over which [Limits.BodyRate] is taken. What waits
	// for upstream does not stand still; over HTTP/2 what follows the beginning
	// of the response may, and so may streams of gRPC.
	Body time.Duration

	// Write is how long writing 64 KiB may take (30 s).
	Write time.Duration

	// HalfOpen is how long a tunnel is kept of which one direction has ended
	// and the other stands still (5 min).
	HalfOpen time.Duration

	// Request is how long a request may take until its response begins,
	// attempts included, and Try how long one attempt may (none).
	Request, Try time.Duration
}

// Limits of a [Relay]. The zero value of each means its default.
type Limits struct {
	// H1 bounds messages of HTTP/1.
	H1 h1.Limits

	// Interim is how many informational responses may come before the final
	// one (32).
	Interim int

	// Replay is how many bytes of a body are kept for another attempt
	// (64 KiB).
	Replay int

	// BodyRate is how many bytes of a body of a stated length have to come
	// each second, on the average of [Timeouts.Body] (100; negative: any).
	BodyRate int

	// Attempts is how often a request is sent at the most (3).
	Attempts int
}

// Span is a request that is followed.
type Span interface {
	// Resend is told that an attempt has failed, and why, before the request
	// is sent again. It may change the fields.
	Resend(r *message.Request, why Reason)
}

// Ask is what [Config.Open] is asked.
type Ask struct {
	// Request is the head of the request. A further attempt finds in it what
	// an earlier one has changed.
	Request *message.Request

	// Source is where it comes from.
	Source *Source

	// Attempt is 1 for the first.
	Attempt int
}

// Choice is an answer to an [Ask].
type Choice struct {
	// Upstream is where the request goes: a [*Session] or a [*Plain].
	Upstream Upstream

	// Done is told when the attempt is over, with nil if a response came to
	// its end. Nil ignores it.
	Done func(*Failure)

	// Request and Try replace the timeouts of that name unless they are 0.
	Request, Try time.Duration

	// Labels is handed through to [Record.Labels].
	Labels any
}

// Upstream is what requests are sent to. [Session] and [Plain] are.
type Upstream interface {
	// attempt returns an attempt to send a request there, without blocking.
	attempt(x *exchange) attempt
}

// Source is where requests come from. It is immutable, and shared by all
// requests of a connection.
type Source struct {
	// Peer is who has been authenticated at the other end; nil or one without
	// an ID means nobody.
	Peer *tlsctx.Peer

	// Client and Local are the ends of the connection.
	Client, Local netip.AddrPort

	// Owner is whatever the caller knows it by. Nothing here looks at it.
	Owner any
}

// Connection is a connection from a client.
type Connection struct {
	// Conn is the connection. The relay closes it.
	Conn net.Conn

	// Peeked are bytes that have been read from it already.
	Peeked []byte

	// Protocol is what it speaks: [tlsctx.HTTP1] or [tlsctx.HTTP2].
	Protocol tlsctx.Protocol

	// Source is who is at its other end. Required.
	Source *Source

	// Drain ends when the connection is to take no new requests and to end
	// after those it has. Nil means never.
	Drain context.Context
}

// Relay relays requests. Make one with [New]; it is safe for concurrent use.
type Relay struct {
	config Config
	fields identityFields
	clock  clock

	// What requests of each version are told in Via.
	via struct{ http10, http11, http2 string }
}

// New returns a relay.
func New(config Config) *Relay {
	t := &config.Timeouts
	t.Header = orDefault(t.Header, 10*time.Second)
	t.Idle = orDefault(t.Idle, 5*time.Minute)
	t.Body = orDefault(t.Body, 5*time.Minute)
	t.HalfOpen = orDefault(t.HalfOpen, 5*time.Minute)
	t.Write = orDefault(t.Write, h1.DefaultWriteTimeout)
	t.Request, t.Try = max(t.Request, 0), max(t.Try, 0)

	l := &config.Limits
	l.H1 = l.H1.Defaults()
	l.Interim = orDefault(l.Interim, 32)
	l.Replay = orDefault(l.Replay, 64<<10)
	l.BodyRate = orDefault(l.BodyRate, 100)
	l.Attempts = orDefault(l.Attempts, 3)
	if config.Name == "" {
		config.Name = "hallmark"
	}
	r := &Relay{config: config}
	r.fields = newIdentityFields(config.Identity)
	r.via.http10, r.via.http11, r.via.http2 = "1.0 "+config.Name, "1.1 "+config.Name, "2.0 "+config.Name
	return r
}

// longFrame is the longest frame that is taken from servers and from peers of our
// own kind, which make one of a large chunk without a copy.
const longFrame = 64 << 10

// orDefault returns the default for 0, and 0 for what is negative.
func orDefault[T ~int | ~int64](value, otherwise T) T {
	switch {
	case value == 0:
		return otherwise
	case value < 0:
		return 0
	}
	return value
}

// Serve relays the requests of one connection and returns when it has ended: nil
// if it ended in order, or why not. When ctx ends, so do the connection and its
// requests. No goroutine of the connection is left on return.
func (r *Relay) Serve(ctx context.Context, c Connection) error {
	if c.Drain == nil {
		c.Drain = context.Background()
	}
	if c.Protocol == tlsctx.HTTP2 {
		return r.serveH2(ctx, &c)
	}
	return r.serveH1(ctx, &c)
}

// flying adds to the requests that are not over.
func (r *Relay) flying(n int64) {
	if r.config.InFlight != nil {
		r.config.InFlight.Add(n)
	}
}

// count tells of a refusal or a limit.
func (r *Relay) count(reason string) {
	if r.config.Count != nil {
		r.config.Count(reason)
	}
}
