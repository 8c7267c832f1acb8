package h2

import (
	"errors"
	"fmt"
)

// Code is an error code of RFC 9113, section 7.
type Code uint32

// The codes.
const (
	NoError            Code = 0x0
	ProtocolError      Code = 0x1
	InternalError      Code = 0x2
	FlowControlError   Code = 0x3
	SettingsTimeout    Code = 0x4
	StreamClosed       Code = 0x5
	FrameSizeError     Code = 0x6
	RefusedStream      Code = 0x7
	Cancel             Code = 0x8
	CompressionError   Code = 0x9
	ConnectError       Code = 0xa
	EnhanceYourCalm    Code = 0xb
	InadequateSecurity Code = 0xc
	HTTP11Required     Code = 0xd
)

var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
	"STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
	"CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String returns the code's name in the RFC, or its number.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("0x%x", uint32(c))
}

// Reason says why a connection or a stream was ended by this side. It is an
// error itself, so that errors.Is(err, h2.ReasonResets) asks for it, and its
// text is stable: use it as a metric's label.
type Reason string

// The reasons. Those of abuse are limits of [Config] and [Limits].
const (
	// The peer broke the protocol.
	ReasonPreface     Reason = "bad_preface"     // not the client's preface, or no SETTINGS first
	ReasonFrame       Reason = "bad_frame"       // a frame that RFC 9113, section 6, forbids
	ReasonStreamState Reason = "bad_state"       // a frame on a stream that is not open for it
	ReasonFlowControl Reason = "flow_control"    // more data than was allowed, or a window past its maximum
	ReasonCompression Reason = "compression"     // a header block that is none
	ReasonFields      Reason = "malformed"       // a message that RFC 9113, section 8, forbids
	ReasonLength      Reason = "content_length"  // content-length and data disagree
	ReasonNoSettings  Reason = "settings_unread" // our SETTINGS were not acknowledged in time

	// The peer did too much of something.
	ReasonStreams       Reason = "too_many_streams"    // more streams than allowed at once
	ReasonResets        Reason = "reset_flood"         // rapid reset and MadeYouReset
	ReasonHeaderBytes   Reason = "header_bytes"        // a header list too large (431)
	ReasonHeaderFields  Reason = "header_fields"       // too many fields
	ReasonContinuations Reason = "continuation_flood"  // too many frames in a header block
	ReasonEmptyFrames   Reason = "empty_frame_flood"   // DATA and CONTINUATION without content
	ReasonTinyData      Reason = "tiny_data_flood"     // too many pieces of data waiting
	ReasonSlowHeaders   Reason = "slow_headers"        // a header block that takes too long
	ReasonPings         Reason = "ping_flood"          // PING
	ReasonSettings      Reason = "settings_flood"      // SETTINGS
	ReasonWindowUpdates Reason = "window_update_flood" // WINDOW_UPDATE without data sent
	ReasonPriorities    Reason = "priority_flood"      // PRIORITY
	ReasonUnknownFrames Reason = "unknown_frame_flood" // frames of unknown types
	ReasonControlQueue  Reason = "control_queue"       // answers that it does not read
	ReasonPending       Reason = "pending_bytes"       // HEADERS that it does not read
	ReasonBudget        Reason = "memory_budget"       // the process buffers too much
	ReasonWriteTimeout  Reason = "write_timeout"       // it reads nothing
	ReasonPingTimeout   Reason = "ping_timeout"        // it does not answer
	ReasonRefused       Reason = "refused"             // the handler took no new stream
	ReasonClosed        Reason = "closed"              // Close was called
	ReasonReset         Reason = "reset"               // Reset was called
	ReasonPeerReset     Reason = "reset_by_peer"       // RST_STREAM came
	ReasonPeerGoAway    Reason = "goaway_by_peer"      // GOAWAY came, with an error or above its last stream
	ReasonLost          Reason = "connection_lost"     // it ended without GOAWAY, or broke
)

// Error returns the reason's text.
func (r Reason) Error() string { return string(r) }

// Error is how a connection or a stream ended other than in order.
type Error struct {
	// Stream is the stream's identifier, or 0 for the connection.
	Stream uint32

	// Code is what was sent to the peer, or came from it.
	Code Code

	// Reason says why.
	Reason Reason

	// Unprocessed says that the peer has certainly not acted on the stream
	// (RFC 9113, section 8.7): it may be opened again on another connection.
	Unprocessed bool

	// Err says more, or is nil. For a connection that was lost it is what
	// reading or writing returned.
	Err error
}

// Error says what ended and why, without a byte of the peer's.
func (e *Error) Error() string {
	text := "h2: connection: "
	if e.Stream != 0 {
		text = fmt.Sprintf("h2: stream %d: ", e.Stream)
	}
	text += string(e.Reason) + " (" + e.Code.String() + ")"
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives errors.Is the reason and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}

// What Open and the methods of a stream return when nothing is wrong with the
// connection.
var (
	// ErrUnavailable: the connection takes no new stream now, or ever.
	ErrUnavailable = errors.New("h2: connection takes no new stream")

	// ErrEnded: this side of the stream has ended or the stream is closed.
	ErrEnded = errors.New("h2: stream has ended")
)
