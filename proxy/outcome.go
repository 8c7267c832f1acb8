package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/proxy/dial"
	"github.com/hallmark-mesh/hallmark/proxy/http"
	"github.com/hallmark-mesh/hallmark/proxy/policy"
	"github.com/hallmark-mesh/hallmark/proxy/tunnel"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// What the stages' errors do not say.
var (
	errNoTarget    = errors.New("the peer asks for a target that is not configured")
	errNoEndpoint  = errors.New("no address is known to connect to")
	errNotMessages = errors.New("the peer's session is for HTTP messages, and what it carries to the target is not HTTP")
	errExpired     = errors.New("a certificate of the session has expired: it takes no new streams")
)

// outcome is what an error becomes, wherever it is told of.
type outcome struct {
	flag   metrics.Flag
	reason string // for metrics and the log
	status int    // for a stream of a mux session: its HTTP status
	proxy  string // and its Proxy-Status (RFC 9209, section 2.3)
}

// explain finds the row of an error. This is the one table of outcomes.
func explain(err error) outcome {
	var (
		denied   *policy.Denial
		refused  *tunnel.Refused
		broken   *tunnel.Error
		failed   *tlsctx.Error
		dialling *dial.Error
	)
	switch {
	case errors.Is(err, errUntrusted):
		return outcome{metrics.FlagLocalReset, "trust_changed", 403, "connection_terminated"}
	case errors.Is(err, errDrained):
		return outcome{metrics.FlagLocalReset, "drained", 503, "connection_terminated"}
	case errors.Is(err, errExpired):
		return outcome{metrics.FlagLocalReset, "expired", 503, "connection_terminated"}
	case errors.Is(err, tunnel.ErrHalfOpen), errors.Is(err, tunnel.ErrIdle):
		return outcome{metrics.FlagIdleTimeout, "idle", 504, "connection_timeout"}
	case errors.As(err, &denied):
		return outcome{metrics.FlagDenied, string(denied.Reason), 403, "http_request_denied"}
	case errors.Is(err, errNoTarget):
		return outcome{metrics.FlagNoRoute, "no_target", 404, "destination_not_found"}
	case errors.Is(err, errNotMessages):
		return outcome{metrics.FlagDownstreamProtocol, "not_http", 501, "http_protocol_error"}
	case errors.Is(err, errNoEndpoint):
		return outcome{metrics.FlagNoHealthyUpstream, "no_endpoint", 503, "destination_unavailable"}
	case errors.As(err, &refused):
		return explainAnswer(refused)
	case errors.As(err, &broken):
		return explainBroken(broken)
	case errors.As(err, &failed):
		return explainHandshake(failed)
	case errors.As(err, &dialling):
		return explainDial(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return outcome{metrics.FlagTimeout, "timeout", 504, "connection_timeout"}
	case gone(err):
		return outcome{metrics.FlagDownstreamTermination, "client_gone", 500, "connection_terminated"}
	default:
		return outcome{metrics.FlagUpstreamFailure, "failed", 502, "proxy_internal_error"}
	}
}

// explainAnswer explains what the proxy at the far end answered.
func explainAnswer(r *tunnel.Refused) outcome {
	switch r.Status {
	case 403:
		return outcome{metrics.FlagRefused, "refused_by_peer", 502, "destination_unavailable"}
	case 504:
		return outcome{metrics.FlagTimeout, "peer_upstream_timeout", 504, "connection_timeout"}
	default:
		return outcome{metrics.FlagUpstreamFailure, "peer_upstream_failed", 502, "connection_refused"}
	}
}

func explainBroken(e *tunnel.Error) outcome {
	var failed *tlsctx.Error
	var refused *tunnel.Refused
	switch {
	case e.Side == tunnel.Downstream:
		return outcome{metrics.FlagDownstreamTermination, "downstream_reset", 500, "connection_terminated"}
	case errors.As(e.Err, &refused):
		return explainAnswer(refused)
	case errors.As(e.Err, &failed):
		return explainHandshake(failed)
	default:
		return outcome{metrics.FlagUpstreamTermination, "upstream_reset", 502, "connection_terminated"}
	}
}

func explainHandshake(e *tlsctx.Error) outcome {
	o := outcome{metrics.FlagUpstreamFailure, string(e.Reason), 502, "tls_certificate_error"}
	switch e.Reason {
	case tlsctx.RefusedByPeer:
		o.flag, o.proxy = metrics.FlagRefused, "tls_alert_received"
	case tlsctx.TimedOut:
		o.flag, o.status, o.proxy = metrics.FlagTimeout, 504, "connection_timeout"
	case tlsctx.NoIdentity:
		o.flag, o.status, o.proxy = metrics.FlagNoHealthyUpstream, 503, "proxy_internal_error"
	default: // the reason says it all
	}
	return o
}

func explainDial(err error) outcome {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return outcome{metrics.FlagUpstreamFailure, "connection_refused", 502, "connection_refused"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return outcome{metrics.FlagTimeout, "connection_timeout", 504, "connection_timeout"}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return outcome{metrics.FlagUpstreamFailure, "unreachable", 502, "destination_ip_unroutable"}
	default:
		return outcome{metrics.FlagUpstreamFailure, "connect_failed", 502, "destination_unavailable"}
	}
}

// gone reports whether the error is that of a connection whose other end, or our
// own, has ended it.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// outcomeOf is what metrics and the log are told of a stream's end. Where the
// context ended it, the context says why.
func outcomeOf(ctx context.Context, err error) metrics.Outcome {
	if err == nil {
		return metrics.Outcome{}
	}
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.Canceled) {
			cause = errDrained
		}
		err = errors.Join(cause, err)
	}
	o := explain(err)
	return metrics.Outcome{Flag: o.flag, Reason: o.reason, Err: err}
}

// answerOf is what the source of a mux stream is told that is not carried.
func answerOf(err error) (status int, proxyStatus string) {
	o := explain(err)
	return o.status, o.proxy
}

// outcomeOfRequest is what metrics and the log are told of a request.
func outcomeOfRequest(r *http.Record) metrics.Outcome {
	if r.Reason == http.OK {
		return metrics.Outcome{}
	}
	return metrics.Outcome{Flag: flagOfRequest(r.Reason), Reason: string(r.Reason), Err: r.Err}
}

func flagOfRequest(r http.Reason) metrics.Flag {
	switch r {
	case http.Malformed, http.TooLarge, http.TargetTooLong, http.BadVersion, http.Expectation, http.NotSupported, http.SlowRequest:
		return metrics.FlagDownstreamProtocol
	case http.NoRoute:
		return metrics.FlagNoRoute
	case http.Denied:
		return metrics.FlagDenied
	case http.UpstreamReset, http.Incomplete:
		return metrics.FlagUpstreamTermination
	case http.UpstreamInvalid:
		return metrics.FlagUpstreamProtocol
	case http.Timeout:
		return metrics.FlagTimeout
	case http.Overload:
		return metrics.FlagOverflow
	case http.Draining:
		return metrics.FlagLocalReset
	case http.ClientGone:
		return metrics.FlagDownstreamTermination
	default:
		return metrics.FlagUpstreamFailure
	}
}
