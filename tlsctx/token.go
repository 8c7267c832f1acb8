package tlsctx

import (
	"fmt"
	"slices"
	"strings"
)

// tokenPrefix starts every ALPN token of this version; familyPrefix starts
// those of any version.
const (
	familyPrefix = "hallmark/"
	tokenPrefix  = familyPrefix + "1/"
)

// Bounds on what a ClientHello may offer. A browser offers two identifiers, a
// hallmark client at most four.
const (
	maxOffered      = 64   // ALPN identifiers
	maxOfferedBytes = 4096 // their bytes together
)

// Token is a parsed ALPN token of version 1,
// hallmark/1/<session>/<detected>. The zero value stands for a peer that did
// not negotiate one.
type Token struct {
	Session  Session
	Detected Protocol
}

// String returns the ALPN identifier of the token.
func (t Token) String() string { return tokenPrefix + string(t.Session) + "/" + string(t.Detected) }

// IsZero reports whether t is no token.
func (t Token) IsZero() bool { return t == Token{} }

// ParseToken parses an ALPN identifier of version 1. Unknown sessions and
// protocols are accepted if they have the right form: both sets are open.
func ParseToken(alpn string) (Token, error) {
	rest, ok := strings.CutPrefix(alpn, tokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("tlsctx: %.80q is no ALPN token of this version: want %s<session>/<detected>", alpn, tokenPrefix)
	}
	session, detected, ok := strings.Cut(rest, "/")
	t := Token{Session: Session(session), Detected: Protocol(detected)}
	if !ok || !t.Session.Valid() || !t.Detected.Valid() {
		return Token{}, fmt.Errorf("tlsctx: %.80q is a malformed ALPN token: want %s<session>/<detected>", alpn, tokenPrefix)
	}
	return t, nil
}

// isAware reports whether alpn is a token of this version, of whatever form.
func isAware(alpn string) bool { return strings.HasPrefix(alpn, tokenPrefix) }

// Offer is what a ClientHello offers by ALPN (RFC 7301). It comes from a peer
// that has not proved anything yet.
type Offer struct {
	// Tokens are the hallmark tokens of this version, in the client's order.
	// All of them carry the same detected protocol.
	Tokens []Token

	// Other are the remaining identifiers, in the client's order: registered
	// ones such as h2, those of later versions, and anything else. They are
	// raw peer bytes.
	Other []string
}

// Aware reports whether the client speaks this version.
func (o Offer) Aware() bool { return len(o.Tokens) > 0 }

// Empty reports whether the client offered no identifier at all.
func (o Offer) Empty() bool { return len(o.Tokens) == 0 && len(o.Other) == 0 }

// Detected returns what the client detected, or "" if it is not aware.
func (o Offer) Detected() Protocol {
	if !o.Aware() {
		return ""
	}
	return o.Tokens[0].Detected
}

// ParseOffer reads the ALPN identifiers of a ClientHello, strictly and within
// bounds. Its errors carry the reason [MalformedALPN] or [TooLarge].
func ParseOffer(alpn []string) (Offer, error) {
	if len(alpn) > maxOffered {
		return Offer{}, failure(TooLarge, "client offers %d ALPN identifiers, more than %d", len(alpn), maxOffered)
	}
	var o Offer
	bytes := 0
	for _, id := range alpn {
		if bytes += len(id); bytes > maxOfferedBytes {
			return Offer{}, failure(TooLarge, "client offers more than %d bytes of ALPN identifiers", maxOfferedBytes)
		}
		if !isAware(id) {
			o.Other = append(o.Other, id)
			continue
		}
		t, err := ParseToken(id)
		if err != nil {
			return Offer{}, &Error{Reason: MalformedALPN, Err: err}
		}
		if o.Aware() && t.Detected != o.Detected() {
			return Offer{}, failure(MalformedALPN, "client offers two detected protocols, %s and %s", o.Detected(), t.Detected)
		}
		o.Tokens = append(o.Tokens, t)
	}
	return o, nil
}

// Awareness says what becomes of a peer that does not know hallmark tokens.
type Awareness int

const (
	// Prefer takes plain SPIFFE peers as well.
	Prefer Awareness = iota

	// Require refuses a peer with which no hallmark token was negotiated.
	Require
)

// offer returns the identifiers that a client sends: its tokens in order of
// preference, then, unless awareness is required, the registered identifier of
// the detected protocol.
func offer(sessions []Session, detected Protocol, awareness Awareness) ([]string, error) {
	if !detected.Valid() {
		return nil, fmt.Errorf("%.80q is no protocol: want 1 to %d bytes of [a-z0-9_-] that start with a letter", detected, maxProtocol)
	}
	ids := make([]string, 0, len(sessions)+1)
	for _, s := range sessions {
		if !s.Valid() {
			return nil, fmt.Errorf("%.80q is no session: want 1 to %d bytes of [a-z0-9_-] that start with a letter", s, maxProtocol)
		}
		ids = append(ids, Token{s, detected}.String())
	}
	if fallback := detected.Registered(); fallback != "" && awareness == Prefer {
		ids = append(ids, fallback)
	}
	return ids, nil
}

// selection is what a server answers to an offer by default: the first of its
// own sessions that the client offers, else the first of its own registered
// identifiers, else nothing to a client that offered nothing.
func selection(o Offer, sessions []Session, registered []string, awareness Awareness) (string, error) {
	for _, s := range sessions {
		for _, t := range o.Tokens {
			if t.Session == s {
				return t.String(), nil
			}
		}
	}
	switch {
	case awareness == Require && o.Empty():
		return "", failure(NoALPN, "client offers no ALPN identifier, and a hallmark token is required")
	case awareness == Require:
		return "", failure(NoOverlap, "client offers no hallmark token of sessions %v", sessions)
	case o.Empty():
		return "", nil
	}
	for _, id := range registered {
		if slices.Contains(o.Other, id) {
			return id, nil
		}
	}
	return "", failure(NoOverlap, "client offers none of the sessions %v and none of the ALPN identifiers %q", sessions, registered)
}
