package http

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

const (
	// ClientCert is the field that tells the application the caller's verified
	// SPIFFE ID, in Envoy's format: By (our own ID), Hash (SHA-256 of the
	// caller's certificate, in hexadecimal) and URI (the caller's ID).
	ClientCert = "x-forwarded-client-cert"

	// SourceAttributes is the field that tells the application the caller's
	// attributes, in the syntax of W3C Baggage: name=value;provenance=how,
	// values percent-encoded, comma-separated, sorted by name.
	SourceAttributes = "x-hallmark-source"
)

// Identity says what the application is told of who called it, in fields that
// replace whatever the client sent of the kind: [ClientCert], [SourceAttributes],
// Forwarded and X-Forwarded-*, in whatever spelling an application might take for
// one of them, in the header and in trailers. Where Envoy and Linkerd say it
// (x-envoy-peer-metadata, x-envoy-peer-metadata-id, l5d-client-id) is not for
// clients to fill in either, and stripped.
type Identity struct {
	// Least is the provenance that an attribute needs to be told; 0 means
	// [tlsctx.Asserted]: all of them.
	Least tlsctx.Provenance

	// Forwarded sets the field of RFC 7239, XForwarded sets x-forwarded-for,
	// -host and -proto.
	Forwarded, XForwarded bool

	// TrustForwarded lets through what the client says in Forwarded and
	// X-Forwarded-* beside x-forwarded-client-cert, and what is set here is
	// appended. For clients that are gateways.
	TrustForwarded bool
}

// identityFields strips and sets.
type identityFields struct{ config *Identity }

func newIdentityFields(config *Identity) identityFields { return identityFields{config} }

// told are the fields of one source: they are made once for a connection.
type told struct {
	fields    []message.Field
	forwarded string // for=…;by=…, for Forwarded
	client    string
}

// of makes the fields of a source.
func (f identityFields) of(source *Source) *told {
	t := &told{}
	if f.config == nil {
		return t
	}
	if peer := source.Peer; peer != nil && peer.Secured() {
		t.fields = append(t.fields, message.Field{Name: ClientCert, Value: clientCert(peer)})
		least := max(f.config.Least, tlsctx.Asserted)
		if attributes := baggage(peer.Attributes, least); attributes != "" {
			t.fields = append(t.fields, message.Field{Name: SourceAttributes, Value: attributes})
		}
	}
	if source.Client.IsValid() {
		t.client = source.Client.Addr().Unmap().String()
		t.forwarded = "for=" + node(source.Client.Addr())
	}
	return t
}

func clientCert(peer *tlsctx.Peer) string {
	var b strings.Builder
	if !peer.LocalID.IsZero() {
		b.WriteString("By=" + quoteCert(peer.LocalID.String()) + ";")
	}
	if len(peer.Certificates) > 0 {
		hash := sha256.Sum256(peer.Certificates[0].Raw)
		b.WriteString("Hash=" + hex.EncodeToString(hash[:]) + ";")
	}
	b.WriteString("URI=" + quoteCert(peer.ID.String()))
	return b.String()
}

// quoteCert quotes a value that holds one of Envoy's separators. SPIFFE IDs hold
// none.
func quoteCert(v string) string {
	if !strings.ContainsAny(v, `,;="`) {
		return v
	}
	return `"` + strings.ReplaceAll(v, `"`, `\"`) + `"`
}

// baggage writes attributes in the syntax of W3C Baggage, section 3.3.1.
func baggage(attributes tlsctx.Attributes, least tlsctx.Provenance) string {
	var b strings.Builder
	for _, a := range attributes {
		if a.Provenance < least {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(a.Name)
		b.WriteByte('=')
		escapeBaggage(&b, a.Value)
		b.WriteString(";provenance=")
		b.WriteString(a.Provenance.String())
	}
	return b.String()
}

// escapeBaggage percent-encodes what is no baggage-octet, and the percent sign.
func escapeBaggage(b *strings.Builder, v string) {
	const digits = "0123456789ABCDEF"
	for i := range len(v) {
		c := v[i]
		if c <= ' ' || c > '~' || strings.IndexByte(`",;\%`, c) >= 0 {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
			continue
		}
		b.WriteByte(c)
	}
}

// node writes an address as RFC 7239, section 6, wants it.
func node(a netip.Addr) string {
	a = a.Unmap()
	if a.Is4() {
		return a.String()
	}
	return `"[` + a.String() + `]"`
}

// strip removes, in place, what speaks of identity.
func (f identityFields) strip(fields []message.Field) []message.Field {
	if f.config == nil {
		return fields
	}
	for i := range fields {
		if !f.speaksOfIdentity(fields[i].Name) {
			continue
		}
		kept := i
		for j := i + 1; j < len(fields); j++ {
			if !f.speaksOfIdentity(fields[j].Name) {
				fields[kept] = fields[j]
				kept++
			}
		}
		clear(fields[kept:])
		return fields[:kept]
	}
	return fields
}

// speaksOfIdentity reports whether an application might take a field of that
// name for one of ours, or for another mesh's: some turn every byte that is no
// letter and no digit into the same one.
func (f identityFields) speaksOfIdentity(name string) bool {
	if name[0] != 'x' && name[0] != 'f' && name[0] != 'l' {
		return false
	}
	switch {
	case alike(name, ClientCert), alike(name, SourceAttributes),
		alike(name, "x-envoy-peer-metadata"), alike(name, "x-envoy-peer-metadata-id"), alike(name, "l5d-client-id"):
		return true
	case f.config.TrustForwarded:
		return false
	}
	const prefix = "x-forwarded-"
	return alike(name, "forwarded") || len(name) >= len(prefix) && alike(name[:len(prefix)], prefix) || alike(name, "x-forwarded")
}

// alike reports whether name is ours, but for what stands between the words.
func alike(name, ours string) bool {
	if len(name) != len(ours) {
		return false
	}
	for i := range len(name) {
		if name[i] != ours[i] && (ours[i] != '-' || isAlphanumeric(name[i])) {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// set appends what the application is told.
func (f identityFields) set(r *message.Request, t *told) {
	if f.config == nil {
		return
	}
	r.Fields = append(r.Fields, t.fields...)
	if f.config.XForwarded && t.client != "" {
		r.Fields = append(r.Fields,
			message.Field{Name: "x-forwarded-for", Value: t.client},
			message.Field{Name: "x-forwarded-proto", Value: r.Scheme})
		if r.Authority != "" {
			r.Fields = append(r.Fields, message.Field{Name: "x-forwarded-host", Value: r.Authority})
		}
	}
	if f.config.Forwarded && t.forwarded != "" {
		value := t.forwarded + ";proto=" + r.Scheme
		if r.Authority != "" {
			value += `;host="` + r.Authority + `"`
		}
		r.Fields = append(r.Fields, message.Field{Name: "forwarded", Value: value})
	}
}
