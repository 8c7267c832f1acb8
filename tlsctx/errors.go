package tlsctx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"unicode"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Reason says why a handshake failed. It is an error itself, so that
// errors.Is(err, tlsctx.Untrusted) asks for it, and its text is stable: use it
// as a metric's label.
type Reason string

// The reasons.
const (
	// NoIdentity: our own source has no SVID to offer yet.
	NoIdentity Reason = "no_identity"

	// NoOverlap: no ALPN identifier in common (alert 120).
	NoOverlap Reason = "no_overlap"

	// NoALPN: the peer negotiated no ALPN identifier, and a hallmark token is
	// required.
	NoALPN Reason = "no_alpn"

	// MalformedALPN: a hallmark token that is none, or two detected protocols
	// in one ClientHello. Also our own configuration, where it names a session
	// or protocol that is none.
	MalformedALPN Reason = "malformed_alpn"

	// InvalidSVID: the peer sent no certificate, or its leaf is no X.509-SVID:
	// no or several URI SANs, a CA certificate, a CA's key usage.
	InvalidSVID Reason = "invalid_svid"

	// Untrusted: the peer's SVID does not verify against the bundle of its
	// trust domain, or there is no such bundle.
	Untrusted Reason = "untrusted_identity"

	// Expired: the peer's SVID, or one of its chain, is outside its validity
	// period by our clock.
	Expired Reason = "expired"

	// Unauthorized: the peer is who it says and may not do this.
	Unauthorized Reason = "unauthorized_identity"

	// MissingContext: a hallmark token was negotiated and the peer sent no
	// context certificate, or did not ask for ours.
	MissingContext Reason = "missing_context"

	// UnexpectedContext: a context certificate where none was asked for, more
	// than one, or one of our extensions in the place of the other.
	UnexpectedContext Reason = "unexpected_context"

	// MalformedContext: the context certificate or an extension is not of the
	// form that SPEC.md gives. Also our own configuration, where its target or
	// trace context is none.
	MalformedContext Reason = "malformed_context"

	// ContradictingContext: SPIFFE ID, attested attributes and context do not
	// agree, or the context belongs to another leaf.
	ContradictingContext Reason = "contradicting_context"

	// TooLarge: more certificates, bytes or ALPN identifiers than allowed. Also
	// our own context, where it discloses more than fits.
	TooLarge Reason = "too_large"

	// RefusedByPeer: the peer sent a TLS alert. A client may learn of it only
	// on its first read.
	RefusedByPeer Reason = "refused_by_peer"

	// ClosedByPeer: the connection ended or was reset in the handshake.
	ClosedByPeer Reason = "closed_by_peer"

	// TimedOut: the handshake's time was over.
	TimedOut Reason = "timed_out"

	// Canceled: the caller gave up.
	Canceled Reason = "canceled"

	// ProtocolFailure: the peer does not speak TLS 1.3 as we need it.
	ProtocolFailure Reason = "protocol_failure"
)

// Error returns the reason's text.
func (r Reason) Error() string { return string(r) }

// Error is what every failed handshake returns.
type Error struct {
	// Reason is the kind of failure.
	Reason Reason

	// Claimed is the SPIFFE ID in the peer's leaf, if it got that far. The
	// peer has not proved it: never count or log it as the peer's identity,
	// only as claimed.
	Claimed spiffeid.ID

	// Err says more.
	Err error
}

// Error says what failed and why, on one line of printable characters and at
// most about 2 KiB, whatever the peer sent.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("tlsctx: handshake: ")
	b.WriteString(strings.ReplaceAll(string(e.Reason), "_", " "))
	if !e.Claimed.IsZero() {
		fmt.Fprintf(&b, " (claimed %s)", e.Claimed)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(strings.TrimPrefix(e.Err.Error(), "tlsctx: "))
	}
	return printable(b.String())
}

// maxErrorText bounds an error's text, in bytes.
const maxErrorText = 2 << 10

// printable makes text from below fit for a log, whatever a peer may have got
// into it: one line, bounded, without control or format characters.
func printable(text string) string {
	text = strings.ReplaceAll(text, "\n", "; ") // of errors.Join
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + " …"
	}
	return text
}

// Unwrap gives errors.Is the reason and the cause.
func (e *Error) Unwrap() []error { return []error{e.Reason, e.Err} }

// ReasonOf returns the reason of an error that this package returned, or "".
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

func failure(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// alertNoApplicationProtocol is the alert of RFC 7301, section 3.2.
const alertNoApplicationProtocol = 120

// noClientCertificate is how crypto/tls says that a client answered the request
// for a certificate with none; it has no type for it.
const noClientCertificate = "tls: client didn't provide a certificate"

// classify gives the error of a handshake its reason.
func classify(ctx context.Context, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	reason := ProtocolFailure
	alert, alerted := remoteAlert(err)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		reason = TimedOut
	case ctx.Err() != nil:
		reason = Canceled
	case alerted && alert == alertNoApplicationProtocol:
		reason = NoOverlap
	case alerted:
		reason = RefusedByPeer
	case err.Error() == noClientCertificate:
		reason = InvalidSVID
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		reason = ClosedByPeer
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok { // it carries the connection and the peer's bytes
		err = errors.New("first record does not look like a TLS handshake")
	}
	return &Error{Reason: reason, Err: err}
}

// remoteAlert returns the TLS alert that the peer sent, if err is one. The type
// that crypto/tls uses for it over TCP is not exported.
func remoteAlert(err error) (uint8, bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true
}

// untrusted tells an expired chain from one that was never good.
func untrusted(err error) Reason {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return Expired
	}
	return Untrusted
}
