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
	// Header is how long a request's head may take from its first byte. Over HTTP/2,
	// where it holds up a whole connection, 0 means 10 seconds.
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

// HTTP2Limits bound what the peer of an HTTP/2 connection may do to keep us busy,
// between sidecars and with applications. What goes past one ends the connection
// (TinyData: the stream), and is counted.
type HTTP2Limits struct {
	// Resets is how many of the peer's streams may end by reset from either side,
	// all at once (rapid reset, MadeYouReset). 0 means 1,000 and as many as may
	// be open.
	Resets int `json:"resets" default:"0"`

	// ResetsPerSecond is how many more each second.
	ResetsPerSecond int `json:"resetsPerSecond" default:"200" check:"positive"`

	// Pings is how many PING may come at once beyond those that the data sent
	// to the peer pays for.
	Pings int `json:"pings" default:"100" check:"positive"`

	// PingsPerSecond is how many more each second.
	PingsPerSecond int `json:"pingsPerSecond" default:"10" check:"positive"`

	// Settings is how many SETTINGS may come at once.
	Settings int `json:"settings" default:"50" check:"positive"`

	// SettingsPerSecond is how many more each second.
	SettingsPerSecond int `json:"settingsPerSecond" default:"1" check:"positive"`

	// EmptyFrames is how many frames without content and without an end may
	// come at once.
	EmptyFrames int `json:"emptyFrames" default:"100" check:"positive"`

	// EmptyFramesPerSecond is how many more each second.
	EmptyFramesPerSecond int `json:"emptyFramesPerSecond" default:"10" check:"positive"`

	// Continuations is how many frames a header block may have.
	Continuations int `json:"continuations" default:"32" check:"positive"`

	// WindowUpdates is how many WINDOW_UPDATE may come beyond those that
	// streams and data explain.
	WindowUpdates int `json:"windowUpdates" default:"1000" check:"positive"`

	// Priorities is how many PRIORITY may come beyond ten for each stream.
	Priorities int `json:"priorities" default:"1000" check:"positive"`

	// UnknownFrames is how many frames of unknown types may come at once.
	UnknownFrames int `json:"unknownFrames" default:"1000" check:"positive"`

	// UnknownFramesPerSecond is how many more each second.
	UnknownFramesPerSecond int `json:"unknownFramesPerSecond" default:"100" check:"positive"`

	// ControlQueue is how many answers may wait to be written.
	ControlQueue int `json:"controlQueue" default:"1000" check:"positive"`

	// TinyData is how many pieces of data shorter than 256 bytes may wait to be
	// consumed.
	TinyData int `json:"tinyData" default:"100000" check:"positive"`
}
