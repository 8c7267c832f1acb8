package tlsctx

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
)

// ServerConfig is how a server shakes hands. Source is required; the rest has
// zero values that work. It may be shared by any number of handshakes, and must
// not be changed meanwhile.
type ServerConfig struct {
	// Source gives the identity to present and the bundles to trust.
	Source identity.Source

	// Policy judges the clients.
	Policy Policy

	// Disclosure says what clients are told of us.
	Disclosure Disclosure

	// Sessions are the kinds to take, in order of preference. Nil means Raw.
	Sessions []Session

	// Registered are the ALPN identifiers to take from clients that offer no
	// hallmark token we take, in order of preference, such as h2.
	Registered []string

	// Awareness says whether plain SPIFFE clients will do.
	Awareness Awareness

	// Select, if not nil, decides instead of Sessions, Registered and
	// Awareness which of the offered identifiers to select: "" for none. It
	// is asked before the client has proved anything. An error refuses the
	// handshake; an identifier that was not offered does so with alert 120.
	Select func(Offer) (string, error)

	// Timeout bounds the handshake; 0 means [DefaultTimeout].
	Timeout time.Duration
}

// Server runs the server's side of the handshake over conn. On failure it
// closes conn and returns an *[Error].
func Server(ctx context.Context, conn net.Conn, config *ServerConfig) (*Conn, error) {
	h := &serverHandshake{config: config}
	outer := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetConfigForClient:     h.configForClient,
		SessionTicketsDisabled: true,
	}
	secured, err := handshake(ctx, conn, tls.Server, outer, config.Timeout, h)
	if err != nil && h.refusal != nil {
		return nil, h.refusal
	}
	return secured, err
}

// TLS returns a tls.Config for any number of connections, for those who run
// crypto/tls or QUIC themselves. When Handshake has returned nil,
// [Verifier.Verify] on the connection's state says who the client is.
func (c *ServerConfig) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return (&serverHandshake{config: c}).configForClient(hello)
		},
		SessionTicketsDisabled: true,
	}
}

// serverHandshake is the state of one handshake.
type serverHandshake struct {
	config   *ServerConfig
	snapshot *identity.Snapshot

	// refusal is why no ALPN identifier was selected: crypto/tls sends the
	// alert, and its own error would quote what the client offered.
	refusal *Error

	// peer is set by verify, before the client has proved its key. It is
	// published only after Handshake.
	peer *Peer
}

// noOverlap makes crypto/tls refuse with alert 120: no offer can hold it, since
// ALPN has no empty identifiers (RFC 7301, section 3.1).
var noOverlap = []string{""}

// configForClient reads the offer, selects, and prepares the one snapshot's
// certificates.
func (h *serverHandshake) configForClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	snapshot, err := snapshotOf(h.config.Source)
	if err != nil {
		return nil, err
	}
	h.snapshot = snapshot
	selected, err := h.selectALPN(hello.SupportedProtos)
	if err != nil {
		return h.refuseALPN(err)
	}
	cert, err := h.certificate(selected)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		Certificates:                []tls.Certificate{*cert},
		ClientAuth:                  tls.RequireAnyClientCert,
		VerifyConnection:            h.verify,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		Time:                        h.config.Policy.Time,
	}
	if selected != "" {
		config.NextProtos = []string{selected}
	}
	return config, nil
}

func (h *serverHandshake) selectALPN(offered []string) (string, error) {
	o, err := ParseOffer(offered)
	if err != nil {
		return "", err
	}
	if h.config.Select != nil {
		return chosen(h.config.Select, o, offered)
	}
	sessions := h.config.Sessions
	if sessions == nil {
		sessions = []Session{Raw}
	}
	return selection(o, sessions, h.config.Registered, h.config.Awareness)
}

// chosen asks choose and holds it to what was offered: crypto/tls answers an
// offer of nothing by selecting nothing, and a client that selected nothing must
// not be sent a context.
func chosen(choose func(Offer) (string, error), o Offer, offered []string) (string, error) {
	selected, err := choose(o)
	if err == nil && selected != "" && !slices.Contains(offered, selected) {
		return "", failure(NoOverlap, "%.80q is to be selected, and the client does not offer it", selected)
	}
	return selected, err
}

// refuseALPN remembers why, and where there is nothing in common answers so by
// alert 120; every other refusal is an internal_error to the client.
func (h *serverHandshake) refuseALPN(err error) (*tls.Config, error) {
	h.refusal = classify(context.Background(), err)
	if h.refusal.Reason != NoOverlap {
		return nil, h.refusal
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: noOverlap, SessionTicketsDisabled: true}, nil
}

// certificate returns our own, with a context if a token was selected. The
// client has not authenticated: whoever can connect reads it.
func (h *serverHandshake) certificate(selected string) (*tls.Certificate, error) {
	if !isAware(selected) {
		return certificate(h.snapshot, nil)
	}
	attributes, err := disclose(h.snapshot, h.config.Policy.Templates, h.config.Disclosure, nil)
	if err != nil {
		return nil, err
	}
	return certificate(h.snapshot, &Context{Attributes: attributes})
}

func (h *serverHandshake) claimed() *Peer { return h.peer }

func (h *serverHandshake) publish() (*Peer, error) {
	if h.peer == nil {
		return nil, failure(ProtocolFailure, "handshake ended without the client's certificate")
	}
	return h.peer, nil
}

// verify decides about the client.
func (h *serverHandshake) verify(cs tls.ConnectionState) error {
	v := Verifier{Snapshot: h.snapshot, Policy: h.config.Policy}
	peer, err := v.Verify(cs)
	h.peer = peer
	return err
}
