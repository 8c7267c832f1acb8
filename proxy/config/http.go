package config

import (
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// HTTP says how requests are relayed.
type HTTP struct {
	// Timeouts bound how long parts of a request may take.
	Timeouts HTTPTimeouts `json:"timeouts"`

	// Limits bound what a request may hold.
	Limits HTTPLimits `json:"limits"`

	// Via adds a Via field to requests (RFC 9110, section 7.6.3). Some servers
	// compress nothing for those that have one.
	Via bool `json:"via" default:"false"`

	// Identity says what applications are told of who called them, beside
	// x-forwarded-client-cert, which they always are.
	Identity HTTPIdentity `json:"identity"`
}

// HTTPTimeouts bound how long parts of a request may take. 0 means no bound.
type HTTPTimeouts struct {
	// Header is how long a request's head may take from its first byte.
	Header time.Duration `json:"header" default:"10s"`

	// Body is how long a request's body may stand still, unless upstream holds
	// it up, the response has begun, or it is a stream of gRPC.
	Body time.Duration `json:"body" default:"5m"`

	// Idle is how long a client's connection is kept without a request.
	Idle time.Duration `json:"idle" default:"5m"`

	// Request is how long a request may take until its response begins, all
	// attempts together.
	Request time.Duration `json:"request" default:"0s"`

	// Try is how long one attempt may take until its response begins.
	Try time.Duration `json:"try" default:"0s"`
}

// HTTPLimits bound what a request may hold.
type HTTPLimits struct {
	// HeadBytes bounds a head, request line and fields together. A request
	// with a larger one is answered 431.
	HeadBytes Quantity `json:"headBytes" default:"64Ki" check:"positive"`

	// Fields bounds the number of fields of a head.
	Fields int `json:"fields" default:"128" check:"positive"`

	// Attempts is how often a request is sent at the most: again only where
	// that is safe, when its connection was lost before it was acted on.
	Attempts int `json:"attempts" default:"3" check:"positive"`

	// BodyRate is how many bytes of a body of a stated length have to come each
	// second, on the average of the body's timeout. 0 means no bound.
	BodyRate Quantity `json:"bodyRate" default:"100"`

	// Replay is how much of a body is kept for another attempt.
	Replay Quantity `json:"replay" default:"64Ki" check:"positive"`
}

// HTTPIdentity says what applications are told of who called them.
type HTTPIdentity struct {
	// MinProvenance is the provenance from which on an attribute is told in
	// x-hallmark-source: asserted, verified or attested.
	MinProvenance tlsctx.Provenance `json:"minProvenance" default:"asserted"`

	// Forwarded sets the field Forwarded (RFC 7239).
	Forwarded bool `json:"forwarded" default:"false"`

	// XForwarded sets x-forwarded-for, x-forwarded-host and x-forwarded-proto.
	XForwarded bool `json:"xForwarded" default:"true"`

	// TrustForwarded lets through what clients say in these fields, and
	// appends to it. For clients that are gateways.
	TrustForwarded bool `json:"trustForwarded" default:"false"`
}
