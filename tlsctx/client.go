package tlsctx

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
)

// DefaultTimeout is how long a handshake may take when neither the
// configuration nor the context says otherwise.
const DefaultTimeout = 10 * time.Second

// ClientConfig is how a client shakes hands. Source is required; the rest has
// zero values that work. It may be shared by any number of handshakes, and must
// not be changed meanwhile.
type ClientConfig struct {
	// Source gives the identity to present and the bundles to trust.
	Source identity.Source

	// Policy judges the server.
	Policy Policy

	// Disclosure says what the server is told of us.
	Disclosure Disclosure

	// Sessions are the kinds to offer, in order of preference. Nil means Raw.
	Sessions []Session

	// Detected is what the application speaks; "" means Unknown.
	Detected Protocol

	// Target is what the server is asked for, or "": one of the names that it
	// has configured.
	Target string

	// Trace is the trace context of the connection, or zero.
	Trace Traceparent

	// Awareness says whether a plain SPIFFE server will do.
	Awareness Awareness

	// ServerName is sent as SNI, in clear. Empty sends none.
	ServerName string

	// Timeout bounds the handshake; 0 means [DefaultTimeout].
	Timeout time.Duration
}

// Client runs the client's side of the handshake over conn. On failure it
// closes conn and returns an *[Error]. On success the server has been
// authenticated and authorised; whether the server takes us shows on the first
// Read, as [RefusedByPeer].
func Client(ctx context.Context, conn net.Conn, config *ClientConfig) (*Conn, error) {
	h := &clientHandshake{config: config}
	cfg, err := h.tls()
	if err != nil {
		_ = conn.Close()
		return nil, classify(ctx, err)
	}
	return handshake(ctx, conn, tls.Client, cfg, config.Timeout, h)
}

// TLS returns a tls.Config for one connection, for those who run crypto/tls or
// QUIC themselves. It holds one snapshot: ask for a new one for every
// connection. When Handshake has returned nil, [Verifier.Verify] on the
// connection's state says who the server is. What only [Client] can find out is
// whether an aware server asked for our certificate at all, as it has to.
func (c *ClientConfig) TLS() (*tls.Config, error) {
	return (&clientHandshake{config: c}).tls()
}

// clientHandshake is the state of one handshake.
type clientHandshake struct {
	config   *ClientConfig
	snapshot *identity.Snapshot
	offered  []string
	asked    bool // the server asked for our certificate

	// peer is set by verify, before the server has proved its key. It is
	// published only after Handshake.
	peer *Peer
}

func (h *clientHandshake) tls() (*tls.Config, error) {
	snapshot, err := snapshotOf(h.config.Source)
	if err != nil {
		return nil, err
	}
	stated := Context{Target: h.config.Target, Trace: h.config.Trace}
	if err := stated.validate(); err != nil {
		return nil, &Error{Reason: MalformedContext, Err: err}
	}
	h.snapshot = snapshot
	if h.offered, err = h.config.offer(); err != nil {
		return nil, &Error{Reason: MalformedALPN, Err: err}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: h.offered,
		ServerName: h.config.ServerName,
		// SPIFFE identities are URIs: verify checks the chain and the ID.
		InsecureSkipVerify:     true, //nolint:gosec // G402: verify does all of it, by SPIFFE ID instead of by DNS name
		VerifyConnection:       h.verify,
		GetClientCertificate:   h.certificate,
		SessionTicketsDisabled: true,
		// Small first records help a browser over a long way, not a proxy.
		DynamicRecordSizingDisabled: true,
		Time:                        h.config.Policy.Time,
	}, nil
}

// offer returns the ALPN identifiers to offer.
func (c *ClientConfig) offer() ([]string, error) {
	detected := c.Detected
	if detected == "" {
		detected = Unknown
	}
	sessions := c.Sessions
	if sessions == nil {
		sessions = []Session{Raw}
	}
	return offer(sessions, detected, c.Awareness)
}

// verify decides about the server. The negotiated protocol is known by now.
func (h *clientHandshake) verify(cs tls.ConnectionState) error {
	switch {
	case cs.NegotiatedProtocol == "" && h.config.Awareness == Require:
		return failure(NoALPN, "server negotiated no ALPN identifier, and a hallmark token is required")
	case cs.NegotiatedProtocol != "" && !slices.Contains(h.offered, cs.NegotiatedProtocol):
		return failure(MalformedALPN, "server selected %.80q, which was not offered", cs.NegotiatedProtocol)
	}
	v := Verifier{Snapshot: h.snapshot, Policy: h.config.Policy}
	peer, err := v.Verify(cs)
	if err != nil {
		return err
	}
	h.peer = peer
	if peer.Target != "" || !peer.Trace.IsZero() {
		return failure(MalformedContext, "server's context holds a target or traceparent, which only a client's may")
	}
	return nil
}

func (h *clientHandshake) claimed() *Peer { return h.peer }

// publish refuses an aware server that did not ask for our context: the exchange
// is mutual or it is none.
func (h *clientHandshake) publish() (*Peer, error) {
	switch {
	case h.peer == nil:
		return nil, failure(ProtocolFailure, "handshake ended without the server's certificate")
	case h.peer.Aware && !h.asked:
		return nil, failure(MissingContext, "server selected a hallmark token and did not ask for our certificate")
	default:
		return h.peer, nil
	}
}

// certificate is asked for after the server has proved its key, and only if it
// wants a certificate at all.
func (h *clientHandshake) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	h.asked = true
	if h.peer == nil || !h.peer.Aware {
		return certificate(h.snapshot, nil)
	}
	attributes, err := disclose(h.snapshot, h.config.Policy.Templates, h.config.Disclosure, h.peer)
	if err != nil {
		return nil, err
	}
	return certificate(h.snapshot, &Context{Attributes: attributes, Target: h.config.Target, Trace: h.config.Trace})
}

func snapshotOf(source identity.Source) (*identity.Snapshot, error) {
	snapshot, err := source.Snapshot()
	if err != nil {
		return nil, &Error{Reason: NoIdentity, Err: err}
	}
	return snapshot, nil
}
