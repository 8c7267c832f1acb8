package main

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// report is what inspect and listen have to say of one handshake.
type report struct {
	Address     string        `json:"address"`
	ID          string        `json:"spiffe_id,omitempty"`
	Aware       bool          `json:"aware"`
	ALPN        string        `json:"alpn,omitempty"`
	Session     string        `json:"session,omitempty"`
	Detected    string        `json:"detected,omitempty"`
	Target      string        `json:"target,omitempty"`
	Traceparent string        `json:"traceparent,omitempty"`
	Attributes  []attribute   `json:"attributes"`
	Chain       []certificate `json:"chain,omitempty"`
	NotAfter    *time.Time    `json:"not_after,omitempty"`
	KeyExchange string        `json:"key_exchange,omitempty"`
	CipherSuite string        `json:"cipher_suite,omitempty"`
	LocalID     string        `json:"local_spiffe_id,omitempty"`
	Error       *failed       `json:"error,omitempty"`
}

type attribute struct {
	Name       string `json:"name"`
	Value      string `json:"value"`
	Provenance string `json:"provenance"`
}

type certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	Key       string    `json:"key"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

type failed struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Claimed string `json:"claimed_spiffe_id,omitempty"`
}

// reportPeer says who was met at the address.
func reportPeer(address string, p *tlsctx.Peer) report {
	notAfter := p.NotAfter()
	r := report{
		Address: address, ID: p.ID.String(), Aware: p.Aware, ALPN: p.ALPN,
		Session: string(p.Session), Detected: string(p.Detected), Target: p.Target,
		Traceparent: p.Trace.String(), Attributes: []attribute{}, NotAfter: &notAfter,
		KeyExchange: p.KeyExchange.String(), CipherSuite: tls.CipherSuiteName(p.CipherSuite),
		LocalID: p.LocalID.String(),
	}
	for _, a := range p.Attributes {
		r.Attributes = append(r.Attributes, attribute{a.Name, a.Value, a.Provenance.String()})
	}
	for _, c := range p.Certificates {
		r.Chain = append(r.Chain, certificate{
			Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: c.SerialNumber.Text(16),
			Key: keyOf(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		})
	}
	return r
}

// keyOf names the type of a certificate's key, such as ECDSA P-256.
func keyOf(c *x509.Certificate) string {
	name := c.PublicKeyAlgorithm.String()
	switch key := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return name + " " + key.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("%s %d", name, key.N.BitLen())
	default:
		return name
	}
}

// reportError says why a handshake failed. The identity in it is only claimed.
func reportError(address string, err error) report {
	f := &failed{Reason: string(tlsctx.ReasonOf(err)), Message: err.Error()}
	if c, ok := errors.AsType[*codedError](err); ok && c.code == exitNoIdentity {
		f.Reason = string(tlsctx.NoIdentity)
	} else if f.Reason == "" {
		f.Reason = "unreachable"
	}
	var e *tlsctx.Error
	if errors.As(err, &e) && !e.Claimed.IsZero() {
		f.Claimed = e.Claimed.String()
	}
	return report{Address: address, Attributes: []attribute{}, Error: f}
}

// write prints the report as one JSON line or as text.
func (r report) write(w io.Writer, output string) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	if r.Error != nil {
		line("address", "%s", r.Address)
		line("failed", "%s", strings.ReplaceAll(r.Error.Reason, "_", " "))
		line("because", "%s", r.Error.Message)
		if r.Error.Claimed != "" {
			line("claimed", "%s (not proved)", r.Error.Claimed)
		}
		return t.Flush()
	}
	line("identity", "%s", r.ID)
	line("address", "%s", r.Address)
	line("expires", "%s (in %s)", r.NotAfter.UTC().Format(time.RFC3339), time.Until(*r.NotAfter).Round(time.Second))
	line("handshake", "%s", r.kind())
	if r.Target != "" {
		line("target", "%s", r.Target)
	}
	if r.Traceparent != "" {
		line("trace", "%s", r.Traceparent)
	}
	line("tls", "TLS 1.3, %s, %s", r.KeyExchange, r.CipherSuite)
	for i, c := range r.Chain {
		line(fmt.Sprintf("chain %d", i), "%s key, until %s, serial %s, issued by %s", c.Key, c.NotAfter.UTC().Format(time.RFC3339), c.Serial, c.Issuer)
	}
	for _, a := range r.Attributes {
		line(a.Name, "%s (%s)", a.Value, a.Provenance)
	}
	line("presented", "%s", r.LocalID)
	return t.Flush()
}

func (r report) kind() string {
	switch {
	case r.Aware:
		return fmt.Sprintf("with context: session %s, detected %s (ALPN %s)", r.Session, r.Detected, r.ALPN)
	case r.ALPN != "":
		return fmt.Sprintf("plain SPIFFE, no context (ALPN %s)", r.ALPN)
	default:
		return "plain SPIFFE, no context (no ALPN)"
	}
}
