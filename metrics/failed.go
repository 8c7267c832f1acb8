package metrics

import "net/http"

// Failed reports whether a request failed: the proxy answered it itself, or the
// application says that it is to blame. A client's mistake, such as one that is
// answered by 404 or NOT_FOUND, is not a failure.
func (r *Request) Failed() bool {
	return r.Outcome.Reason != "" && r.Outcome.Reason != ReasonOK || blames(r.Status, r.IsGRPC, r.GRPC)
}

// blames reports whether the status says that the server is to blame. The gRPC
// statuses are those that OpenTelemetry's conventions call errors of a server.
func blames(status int, isGRPC bool, grpc int) bool {
	if status >= http.StatusInternalServerError {
		return true
	}
	const unknownStatus, deadlineExceeded, unimplemented, internal, unavailable, dataLoss = 2, 4, 12, 13, 14, 15
	if !isGRPC {
		return false
	}
	switch grpc {
	case unknownStatus, deadlineExceeded, unimplemented, internal, unavailable, dataLoss:
		return true
	default:
		return false
	}
}

// failed reports whether requests that were answered so have failed, as
// [Request.Failed] does: what the proxy answers itself has a flag.
func (a answer) failed() bool {
	if a.coarse {
		return a.code >= 5 || a.code == 0
	}
	return a.flag != FlagNone || blames(int(a.code), a.grpc >= 0, int(a.grpc))
}
