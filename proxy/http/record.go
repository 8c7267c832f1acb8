package http

import (
	"net/netip"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Record is what is known of a request when it is over. It and what it points to
// are valid during the call only; strings may be kept.
type Record struct {
	// Source is where it came from.
	Source *Source

	// Method, Authority and Path are the request's, from the client: to be
	// escaped for each sink. They are empty for one that could not be parsed.
	Method, Authority, Path string

	// Protocol is that of an upgrade or extended CONNECT.
	Protocol string

	// Status is the status code that the client got, or 0 if none. That of an
	// upgrade is 101 where the client or the server speaks HTTP/1.1, whatever
	// it is for the other, and 200 between two that speak HTTP/2.
	Status int

	// GRPC is the grpc-status that the client got, or -1 if none.
	GRPC int

	// IsGRPC says that the request was gRPC's.
	IsGRPC bool

	// RequestBytes and ResponseBytes are those of the bodies.
	RequestBytes, ResponseBytes int64

	// RequestMessages and ResponseMessages are those of a gRPC request that
	// came through whole, each with its length before it: those that
	// [Config.Messages] has not been told of.
	RequestMessages, ResponseMessages uint64

	// Start is when the head had been read; Duration is from then to the end,
	// and FirstByte from then to the response's head, or 0.
	Start               time.Time
	Duration, FirstByte time.Duration

	// Upstream is the address that it was sent to last, or zero.
	Upstream netip.AddrPort

	// Trace is its trace context, and Span its span: see [Config.Trace].
	Trace tlsctx.Traceparent
	Span  Span

	// Attempts says how often it was sent, or was to be.
	Attempts int

	// Reason says why it was not answered as it should be; [OK] if it was.
	Reason Reason

	// Err says more, or is nil.
	Err error

	// Labels are those of the last [Choice].
	Labels any
}
