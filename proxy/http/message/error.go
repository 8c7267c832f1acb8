package message

import "fmt"

// Reason says which rule a message breaks; use it as a metric's label. The set
// is closed.
type Reason string

// The reasons. Each is a message that is refused, not repaired.
const (
	BadRequestLine      Reason = "bad_request_line"
	BadStatusLine       Reason = "bad_status_line"
	BadVersion          Reason = "bad_version"
	BadMethod           Reason = "bad_method"
	BadTarget           Reason = "bad_target"
	BadScheme           Reason = "bad_scheme"
	BadHost             Reason = "bad_host" // missing, repeated, malformed, or against :authority
	BadStatus           Reason = "bad_status"
	BadFieldName        Reason = "bad_field_name"
	BadFieldValue       Reason = "bad_field_value"
	BareLF              Reason = "bare_lf"
	BareCR              Reason = "bare_cr"
	NUL                 Reason = "nul"
	ObsoleteFold        Reason = "obsolete_fold"
	SpaceBeforeColon    Reason = "space_before_colon"
	BadContentLength    Reason = "bad_content_length"
	RepeatedLength      Reason = "repeated_content_length"
	LengthAndCoding     Reason = "content_length_with_transfer_encoding"
	BadTransferEncoding Reason = "bad_transfer_encoding"
	BadConnection       Reason = "bad_connection" // names a field that frames or routes the message
	ConnectionSpecific  Reason = "connection_specific"
	BadPseudo           Reason = "bad_pseudo_field"
	BadUpgrade          Reason = "bad_upgrade"
	BadExpectation      Reason = "bad_expectation" // another than 100-continue
	BadChunk            Reason = "bad_chunk"
	BadTrailer          Reason = "bad_trailer"
	LengthMismatch      Reason = "length_mismatch" // the body is not as long as it said
	Truncated           Reason = "truncated"
	UnexpectedBytes     Reason = "unexpected_bytes" // where no message may begin

	// Limits.
	HeadTooLarge    Reason = "head_too_large"
	TargetTooLong   Reason = "target_too_long" // a request line as long as a head may be
	TooManyFields   Reason = "too_many_fields"
	TrailerTooLarge Reason = "trailer_too_large"
	ChunkOverhead   Reason = "chunk_overhead"
	TooManyInterim  Reason = "too_many_informational"
)

// Error is a message that breaks a rule. Its text quotes what came from the
// peer, in part.
type Error struct {
	Reason Reason
	Detail string
}

// Error returns "malformed message: <reason>: <detail>".
func (e *Error) Error() string {
	if e.Detail == "" {
		return "malformed message: " + string(e.Reason)
	}
	return "malformed message: " + string(e.Reason) + ": " + e.Detail
}

// Refuse returns an error of the reason with a formatted detail. Bytes from a
// peer belong under %q, with a bound such as %.40q.
func Refuse(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
