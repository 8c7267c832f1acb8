package http

import (
	"errors"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// Reason says why a request was not answered by whom it was meant for; use it as
// a metric's label. A request that was has the reason [OK].
type Reason string

// The reasons. The table of [Reason.Status], [Reason.GRPC] and [Reason.ProxyError] is
// all that a client is told.
const (
	OK              Reason = ""
	Malformed       Reason = "malformed_request"
	NoRoute         Reason = "no_route"
	Denied          Reason = "denied"
	UpstreamRefused Reason = "upstream_refused"    // no connection could be opened
	UpstreamReset   Reason = "upstream_reset"      // the connection or the stream was lost before the response's head
	UpstreamInvalid Reason = "upstream_malformed"  // the response breaks the protocol
	Incomplete      Reason = "upstream_incomplete" // the response was lost after its head
	Timeout         Reason = "timeout"             // no response began in time
	ConnectTimeout  Reason = "connect_timeout"     // no connection was open in time
	Overload        Reason = "overload"            // too much at once
	Draining        Reason = "draining"            // the proxy is going away
	TooLarge        Reason = "request_too_large"   // a head past its limits
	TargetTooLong   Reason = "target_too_long"     // a request line past that of a head
	BadVersion      Reason = "version_not_supported"
	Expectation     Reason = "expectation_failed" // one that nobody here can meet
	SlowRequest     Reason = "request_timeout"    // the client was too slow
	NotSupported    Reason = "not_supported"      // what the request asks for is not offered here
	HalfOpen        Reason = "half_open_idle"     // a tunnel of which one direction had ended stood still
	ClientGone      Reason = "client_gone"        // the client went away; nobody is told
)

// Failure is why a request failed.
type Failure struct {
	// Reason says what the client is told.
	Reason Reason

	// Err says more, for the log. It may be nil.
	Err error

	// Unprocessed says that upstream has certainly not acted on the request,
	// so that it may be sent again whatever its method.
	Unprocessed bool

	// Unsent says that nothing was sent: the connection had ended, or takes
	// no more, since it was chosen.
	Unsent bool

	// Reused says that the connection had carried requests before: it may
	// have been closing already when the request was sent.
	Reused bool
}

// Error returns the reason and the cause.
func (f *Failure) Error() string {
	if f.Err == nil {
		return string(f.Reason)
	}
	return string(f.Reason) + ": " + f.Err.Error()
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// failureOf makes any error a failure, of the reason given if it has none of its
// own.
func failureOf(err error, otherwise Reason) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	return &Failure{Reason: otherwise, Err: err}
}

// gRPC status codes (github.com/grpc/grpc/blob/master/doc/statuscodes.md).
const (
	grpcDeadlineExceeded  = 4
	grpcPermissionDenied  = 7
	grpcResourceExhausted = 8
	grpcUnimplemented     = 12
	grpcInternal          = 13
	grpcUnavailable       = 14
)

// answer is what a client is told of a failure.
type answer struct {
	status int
	grpc   int
	error  string // of Proxy-Status (RFC 9209, section 2.3)
	text   string // the body and the grpc-message
}

// table is the one table from reasons to answers.
func (r Reason) table() answer {
	switch r {
	case Malformed:
		return answer{400, grpcInternal, "http_request_error", "the request is malformed"}
	case TooLarge:
		return answer{431, grpcResourceExhausted, "http_request_error", "the request's header is too large"}
	case TargetTooLong:
		return answer{414, grpcResourceExhausted, "http_request_error", "the request's target is too long"}
	case BadVersion:
		return answer{505, grpcUnimplemented, "http_request_error", "the request's version of HTTP is not supported"}
	case Expectation:
		return answer{417, grpcUnimplemented, "http_request_error", "what the request expects cannot be promised"}
	case SlowRequest:
		return answer{408, grpcDeadlineExceeded, "http_request_error", "the request did not come in time"}
	case NotSupported:
		return answer{501, grpcUnimplemented, "http_request_error", "what the request asks for is not supported"}
	case NoRoute:
		return answer{404, grpcUnimplemented, "destination_not_found", "there is no route for the request"}
	case Denied:
		return answer{403, grpcPermissionDenied, "http_request_denied", "policy does not allow the request"}
	case UpstreamRefused:
		return answer{503, grpcUnavailable, "connection_refused", "no connection to the destination could be opened"}
	case UpstreamReset:
		return answer{502, grpcUnavailable, "connection_terminated", "the destination closed the connection before it answered"}
	case UpstreamInvalid:
		return answer{502, grpcInternal, "http_protocol_error", "the destination's answer is malformed"}
	case Incomplete:
		return answer{502, grpcUnavailable, "http_response_incomplete", "the destination's answer is incomplete"}
	case Timeout:
		return answer{504, grpcDeadlineExceeded, "http_response_timeout", "the destination did not answer in time"}
	case ConnectTimeout:
		return answer{504, grpcUnavailable, "connection_timeout", "no connection to the destination was open in time"}
	case Overload:
		return answer{503, grpcUnavailable, "connection_limit_reached", "too many requests at once"}
	case Draining:
		return answer{503, grpcUnavailable, "destination_unavailable", "the proxy is going away"}
	default:
		return answer{502, grpcInternal, "proxy_internal_error", "the request could not be relayed"}
	}
}

// Status returns the status code that a client gets.
func (r Reason) Status() int { return r.table().status }

// GRPC returns the grpc-status that a gRPC client gets.
func (r Reason) GRPC() int { return r.table().grpc }

// ProxyError returns the type of error in Proxy-Status (RFC 9209, section 2.3).
func (r Reason) ProxyError() string { return r.table().error }

// ofMessage returns the reason for a request that message refuses.
func ofMessage(err error) Reason {
	e, ok := errors.AsType[*message.Error](err)
	if !ok {
		return Malformed
	}
	switch e.Reason {
	case message.HeadTooLarge, message.TooManyFields, message.TrailerTooLarge:
		return TooLarge
	case message.TargetTooLong:
		return TargetTooLong
	case message.BadVersion:
		return BadVersion
	case message.BadExpectation:
		return Expectation
	case message.BadTransferEncoding:
		return NotSupported
	default:
		return Malformed
	}
}
