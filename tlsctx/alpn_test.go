package tlsctx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestALPNSelection is the table of sessions, awareness and protocols: what the
// server takes, what each side sees, or why it fails.
func TestALPNSelection(t *testing.T) {
	none := []Session{}
	for _, test := range []struct {
		name                string
		clientSessions      []Session
		detected            Protocol
		clientAware         Awareness
		serverSessions      []Session
		registered          []string
		serverAware         Awareness
		alpn                string // selected
		session             Session
		seen                Protocol
		serverErr, refusing Reason // the server's and the client's
	}{
		{name: "defaults", alpn: "hallmark/1/raw/unknown", session: Raw, seen: Unknown},
		{name: "detected", detected: MySQL, alpn: "hallmark/1/raw/mysql", session: Raw, seen: MySQL},
		{name: "open set", detected: "x-my_proto2", alpn: "hallmark/1/raw/x-my_proto2", session: Raw, seen: "x-my_proto2"},
		{name: "an open session", clientSessions: []Session{"later"}, serverSessions: []Session{"later"}, alpn: "hallmark/1/later/unknown", session: "later", seen: Unknown},
		{
			name: "the server's order counts", clientSessions: []Session{Raw, Mux, H2}, serverSessions: []Session{H2, Mux, Raw}, detected: HTTP1,
			alpn: "hallmark/1/h2/http1", session: H2, seen: HTTP1,
		},
		{
			name: "first in common", clientSessions: []Session{H2, Raw}, serverSessions: []Session{Mux, Raw}, detected: Kafka,
			alpn: "hallmark/1/raw/kafka", session: Raw, seen: Kafka,
		},
		{name: "require both", clientAware: Require, serverAware: Require, alpn: "hallmark/1/raw/unknown", session: Raw, seen: Unknown},
		{name: "no session in common", clientSessions: []Session{H2}, serverSessions: []Session{Mux}, serverErr: NoOverlap, refusing: NoOverlap},
		{
			name: "no session in common and require", clientSessions: []Session{H2}, serverSessions: []Session{Mux}, serverAware: Require,
			serverErr: NoOverlap, refusing: NoOverlap,
		},
		{
			name: "no session in common and a registered identifier", clientSessions: []Session{H2}, detected: HTTP2,
			serverSessions: []Session{Mux}, registered: []string{"http/1.1", "h2"}, alpn: "h2", session: H2, seen: HTTP2,
		},
		{
			name: "the token before the registered identifier", clientSessions: []Session{Raw}, detected: HTTP1,
			registered: []string{"http/1.1"}, alpn: "hallmark/1/raw/http1", session: Raw, seen: HTTP1,
		},
		{
			name: "unaware client with a registered identifier", clientSessions: none, detected: HTTP1,
			registered: []string{"h2", "http/1.1"}, alpn: "http/1.1", session: Raw, seen: HTTP1,
		},
		{name: "unaware client with nothing", clientSessions: none, session: Raw, seen: Unknown},
		{name: "unaware client with nothing to a server with registered ones", clientSessions: none, registered: []string{"h2"}, session: Raw, seen: Unknown},
		{name: "unaware client to one that requires", clientSessions: none, serverAware: Require, serverErr: NoALPN, refusing: RefusedByPeer},
		{
			name: "unaware client with h2 to one that requires", clientSessions: none, detected: HTTP2, registered: []string{"h2"}, serverAware: Require,
			serverErr: NoOverlap, refusing: NoOverlap,
		},
		{name: "unaware server and a client that requires", clientAware: Require, serverSessions: none, serverErr: NoOverlap, refusing: NoOverlap},
		{
			name: "a client that requires offers no registered identifier", clientAware: Require, detected: HTTP2, serverSessions: none, registered: []string{"h2"},
			serverErr: NoOverlap, refusing: NoOverlap,
		},
		{name: "http1 is not h2", clientSessions: none, detected: HTTP1, registered: []string{"h2"}, serverErr: NoOverlap, refusing: NoOverlap},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMesh(t)
			m.client.Sessions, m.client.Detected, m.client.Awareness = test.clientSessions, test.detected, test.clientAware
			m.server.Sessions, m.server.Registered, m.server.Awareness = test.serverSessions, test.registered, test.serverAware
			client, server := m.shake(t)
			if test.serverErr != "" {
				wantReason(t, server, test.serverErr)
				wantReason(t, client, test.refusing)
				return
			}
			if client.err != nil || server.err != nil {
				t.Fatalf("client: %v\nserver: %v", client.err, server.err)
			}
			for _, p := range []*Peer{client.conn.Peer(), server.conn.Peer()} {
				if p.ALPN != test.alpn || p.Session != test.session || p.Detected != test.seen || p.Aware != isAware(test.alpn) {
					t.Errorf("ALPN %q, session %s, detected %s, aware %t", p.ALPN, p.Session, p.Detected, p.Aware)
				}
			}
		})
	}
}

// TestSelectDecidesFromWhatWasOffered: the hook's word counts, within the offer.
func TestSelectDecidesFromWhatWasOffered(t *testing.T) {
	ownReason := errors.New("not on this port")
	for _, test := range []struct {
		name           string
		clientSessions []Session
		choose         func(Offer) (string, error)
		alpn           string
		server, client Reason
	}{
		{"a token", []Session{Raw, Mux}, func(o Offer) (string, error) { return o.Tokens[1].String(), nil }, "hallmark/1/mux/h2", "", ""},
		{"a registered identifier", nil, func(o Offer) (string, error) { return o.Other[0], nil }, "h2", "", ""},
		{"nothing", nil, func(Offer) (string, error) { return "", nil }, "", "", ""},
		{"what was not offered", nil, func(Offer) (string, error) { return "hallmark/1/raw/redis", nil }, "", NoOverlap, NoOverlap},
		{"a token where the client offered none", []Session{}, func(Offer) (string, error) { return "hallmark/1/raw/h2", nil }, "", NoOverlap, NoOverlap},
		{"an error", nil, func(Offer) (string, error) { return "", ownReason }, "", ProtocolFailure, RefusedByPeer},
		{"a reason", nil, func(Offer) (string, error) { return "", failure(NoOverlap, "closed") }, "", NoOverlap, NoOverlap},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMesh(t)
			m.client.Sessions, m.client.Detected, m.server.Select = test.clientSessions, HTTP2, test.choose
			client, server := m.shake(t)
			if test.server == "" {
				if client.err != nil || server.err != nil || client.conn.Peer().ALPN != test.alpn {
					t.Fatalf("client: %v\nserver: %v", client.err, server.err)
				}
				return
			}
			e := wantReason(t, server, test.server)
			wantReason(t, client, test.client)
			if test.server == ProtocolFailure && !errors.Is(e, ownReason) {
				t.Errorf("%v does not wrap the hook's error", e)
			}
		})
	}
}

// TestSelectOfATokenNotOfferedSendsNoContext: a client without ALPN is sent
// nothing that it would not understand, whatever the hook says.
func TestSelectOfATokenNotOfferedSendsNoContext(t *testing.T) {
	m := newMesh(t)
	m.server.Select = func(Offer) (string, error) { return "hallmark/1/raw/unknown", nil }
	chain, key := chainOf(snapshotIn(t, m.client.Source))
	attacker := peerOf(chain, key)
	var received int
	attacker.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		received = len(raw)
		return nil
	}
	server, _ := m.againstServer(t, attacker)
	wantReason(t, server, NoOverlap)
	if received != 0 {
		t.Errorf("the client was sent %d certificates", received)
	}
}

// TestClientRefusesServerWithoutALPNIfRequired: and takes it otherwise.
func TestClientRefusesServerWithoutALPNIfRequired(t *testing.T) {
	m := newMesh(t)
	m.client.Awareness = Require
	chain, key := chainOf(snapshotIn(t, m.server.Source))
	client, _ := m.againstClient(t, peerOf(chain, key))
	wantReason(t, client, NoALPN)
}

// TestClientRefusesAnIdentifierItDidNotOffer: crypto/tls does, and so do we for
// stacks that do not.
func TestClientRefusesAnIdentifierItDidNotOffer(t *testing.T) {
	m := newMesh(t)
	h := &clientHandshake{config: &m.client}
	if _, err := h.tls(); err != nil {
		t.Fatal(err)
	}
	err := h.verify(tls.ConnectionState{Version: tls.VersionTLS13, NegotiatedProtocol: "hallmark/1/mux/\x1b[31m"})
	wantReason(t, outcome{err: err}, MalformedALPN)
	v := Verifier{Snapshot: snapshotIn(t, m.client.Source)}
	_, err = v.Verify(tls.ConnectionState{
		Version: tls.VersionTLS13, NegotiatedProtocol: "hallmark/1/raw/!",
		PeerCertificates: snapshotIn(t, m.server.Source).SVID.Certificates,
	})
	wantReason(t, outcome{err: err}, MalformedALPN)
}

// TestClientRefusesItsOwnMistakes before anything is sent.
func TestClientRefusesItsOwnMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*ClientConfig)
		want   Reason
	}{
		"detected":        {func(c *ClientConfig) { c.Detected = "HTTP 1" }, MalformedALPN},
		"session":         {func(c *ClientConfig) { c.Sessions = []Session{"raw/x"} }, MalformedALPN},
		"target":          {func(c *ClientConfig) { c.Target = "two words" }, MalformedContext},
		"long target":     {func(c *ClientConfig) { c.Target = strings.Repeat("x", MaxTarget+1) }, MalformedContext},
		"half a trace":    {func(c *ClientConfig) { c.Trace.TraceID[0] = 1 }, MalformedContext},
		"flags of no one": {func(c *ClientConfig) { c.Trace.Flags = 1 }, MalformedContext},
		"no identity":     {func(c *ClientConfig) { c.Source = static(nil) }, NoIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			test.change(&m.client)
			near, far := tcpPair(t)
			defer far.Close()
			conn, err := Client(t.Context(), near, &m.client)
			wantReason(t, outcome{conn, err}, test.want)
			if n, err := far.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("something was sent: %d, %v", n, err)
			}
		})
	}
}

// TestParseToken accepts the form, all of it, and nothing else.
func TestParseToken(t *testing.T) {
	long := strings.Repeat("a", 32)
	for id, want := range map[string]Token{
		"hallmark/1/raw/unknown":            {Raw, Unknown},
		"hallmark/1/h2/http1":               {H2, HTTP1},
		"hallmark/1/quic-9/a_b-c0":          {"quic-9", "a_b-c0"},
		"hallmark/1/" + long + "/" + long:   {Session(long), Protocol(long)},
		"hallmark/1/raw/unknown/":           {},
		"hallmark/1/raw":                    {},
		"hallmark/1/raw/":                   {},
		"hallmark/1//unknown":               {},
		"hallmark/1/" + long + "a/unknown":  {},
		"hallmark/1/raw/" + long + "a":      {},
		"hallmark/1/RAW/unknown":            {},
		"hallmark/1/raw/Unknown":            {},
		"hallmark/1/raw/9p":                 {},
		"hallmark/1/raw/un known":           {},
		"hallmark/1/raw/unknown\n":          {},
		"hallmark/1/raw/unkn\x00wn":         {},
		"hallmark/1/raw/p\u200bostgres":     {},
		"hallmark/1/raw/ро":                 {}, // Cyrillic
		"hallmark/2/raw/unknown":            {},
		"Hallmark/1/raw/unknown":            {},
		"hallmark/01/raw/unknown":           {},
		"hallmark/1":                        {},
		"":                                  {},
		"h2":                                {},
		" hallmark/1/raw/unknown":           {},
		strings.Repeat("hallmark/1/raw", 9): {},
	} {
		got, err := ParseToken(id)
		if got != want || (err == nil) == want.IsZero() {
			t.Errorf("ParseToken(%q) = %v, %v, want %v", id, got, err, want)
		}
		if err == nil && got.String() != id {
			t.Errorf("String of %v = %q, want %q", got, got, id)
		}
		if err != nil {
			checkText(t, err)
		}
	}
}

// TestParseOffer sorts tokens from the rest, within bounds.
func TestParseOffer(t *testing.T) {
	hundred := make([]string, 100)
	for i := range hundred {
		hundred[i] = fmt.Sprintf("x%03d", i)
	}
	for _, test := range []struct {
		name          string
		offered       []string
		tokens, other int
		want          Reason
	}{
		{name: "nothing"},
		{name: "ours and theirs", offered: []string{"hallmark/1/mux/redis", "h2", "hallmark/1/raw/redis"}, tokens: 2, other: 1},
		{name: "a later version", offered: []string{"hallmark/2/raw/redis", "hallmark/1/raw/redis"}, tokens: 1, other: 1},
		{name: "a later version alone", offered: []string{"hallmark/2/raw/!"}, other: 1},
		{name: "two detected protocols", offered: []string{"hallmark/1/raw/redis", "hallmark/1/mux/mysql"}, want: MalformedALPN},
		{name: "malformed", offered: []string{"h2", "hallmark/1/raw/"}, want: MalformedALPN},
		{name: "64", offered: hundred[:64], other: 64},
		{name: "65", offered: hundred[:65], want: TooLarge},
		{name: "4096 bytes", offered: slices.Repeat([]string{strings.Repeat("x", 128)}, 32), other: 32},
		{name: "4097 bytes", offered: append(slices.Repeat([]string{strings.Repeat("x", 128)}, 32), "x"), want: TooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, err := ParseOffer(test.offered)
			if ReasonOf(err) != test.want {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if len(o.Tokens) != test.tokens || len(o.Other) != test.other || o.Empty() != (test.tokens+test.other == 0) || o.Aware() != (test.tokens > 0) {
				t.Errorf("offer %+v", o)
			}
			if o.Aware() && o.Detected() != Redis || !o.Aware() && o.Detected() != "" {
				t.Errorf("detected %q", o.Detected())
			}
		})
	}
}

// TestProtocolKnowsItsRegisteredIdentifier and back.
func TestProtocolKnowsItsRegisteredIdentifier(t *testing.T) {
	for p, id := range map[Protocol]string{HTTP1: "http/1.1", HTTP2: "h2", PostgreSQL: "", Unknown: "", Opaque: ""} {
		if p.Registered() != id || id != "" && (ofRegistered(id) != p || !p.IsHTTP()) {
			t.Errorf("%s: %q, and back %s", p, p.Registered(), ofRegistered(id))
		}
	}
	if Kafka.IsHTTP() || ofRegistered("spdy/1") != Unknown {
		t.Error("something else is taken for HTTP")
	}
}
