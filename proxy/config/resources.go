package config

import (
	"net/netip"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// APIVersion is the apiVersion of the kinds of this package.
const APIVersion = "hallmark.dev/v1alpha1"

// The kinds.
const (
	KindProxy               = "Proxy"
	KindInbound             = "Inbound"
	KindOutbound            = "Outbound"
	KindAuthorizationPolicy = "AuthorizationPolicy"
)

// Metadata names a resource, in the form of Kubernetes.
type Metadata struct {
	// Name is unique among the resources of its kind and namespace. It is a
	// DNS name (RFC 1123) of at most 253 bytes and appears in metrics and logs.
	Name string `json:"name" check:"required" form:"name"`

	// Namespace is a DNS label (RFC 1123), or empty.
	Namespace string `json:"namespace" form:"label"`

	// Labels are for whoever reads the file; nothing here depends on them.
	Labels map[string]string `json:"labels"`

	// Annotations are for tools that keep notes on a resource. Their values
	// are never shown.
	Annotations map[string]string `json:"annotations" secret:"true"`

	// Origin is where the resource was written, as file:line, or the flag.
	Origin string `json:"-"`
}

// Inbound accepts mutual TLS from peers and forwards to the applications of this
// workload.
type Inbound struct {
	Metadata
	Spec InboundSpec
}

// InboundSpec is the spec of an [Inbound].
type InboundSpec struct {
	// Listen is the TCP address that peers connect to, [IP]:port; without an
	// IP all addresses, with port 0 one that is free.
	Listen string `json:"listen" check:"required" form:"listen"`

	// Peers says whether peers that know SPIFFE but not the handshake context
	// will do.
	Peers Peers `json:"peers" default:"Prefer"`

	// Plaintext says what becomes of connections that are not TLS to us, such
	// as those from outside the mesh. Permissive takes them, as a peer without
	// identity, which authorization rules must name to let in.
	Plaintext Plaintext `json:"plaintext" default:"Deny"`

	// Sessions are the kinds of session to take, in order of preference: Raw is
	// one TLS connection for each stream, Mux many streams on one, H2 HTTP
	// messages, for targets that may speak HTTP. Auto cannot be among them.
	Sessions []Session `json:"sessions" default:"H2,Mux,Raw" check:"required" only:"H2,Mux,Raw"`

	// AcceptProxyProtocol says from whom a PROXY protocol header, version 1 or
	// 2, is expected.
	AcceptProxyProtocol AcceptProxyProtocol `json:"acceptProxyProtocol"`

	// Targets are the applications behind. The first is for peers that name
	// none. What a peer names selects among them and is never dialled.
	Targets []Target `json:"targets" check:"required"`
}

// Target is an application behind an [Inbound].
type Target struct {
	// Name is what peers ask for and rules speak of: 1 to 255 bytes of
	// printable ASCII without spaces.
	Name string `json:"name" check:"required" form:"target"`

	// Address is where the application listens, host:port. A host name is
	// resolved for every connection.
	Address string `json:"address" check:"required" form:"dial"`

	// Protocol is what the application speaks, such as postgres or opaque; see
	// tlsctx/SPEC.md for the names. It overrides what the peer says. Empty
	// means to take the peer's word, or else to detect.
	Protocol tlsctx.Protocol `json:"protocol"`

	// ServerFirst says that the application speaks first, so that it is
	// dialled without waiting for the client's first bytes.
	ServerFirst bool `json:"serverFirst"`

	// ProxyProtocol says whether the application is told of the peer by a
	// PROXY protocol header.
	ProxyProtocol ProxyProtocol `json:"proxyProtocol" default:"None"`
}

// Outbound accepts an application's connections and forwards them to a peer by
// mutual TLS.
type Outbound struct {
	Metadata
	Spec OutboundSpec
}

// OutboundSpec is the spec of an [Outbound].
type OutboundSpec struct {
	// Listen is the TCP address that the application connects to, [IP]:port;
	// without an IP all addresses, with port 0 one that is free. Whoever can
	// connect speaks with this workload's identity: keep it on loopback.
	Listen string `json:"listen" check:"required" form:"listen"`

	// To is the peer's address, host:port. A host name is resolved again when
	// its TTL ends.
	To string `json:"to" check:"required" form:"dial"`

	// Target is what the peer is asked for: the name of one of its targets. It
	// may be empty for the peer's first.
	Target string `json:"target" form:"target"`

	// Expect are the identities that the peer may have; one of them must
	// match. There is no default: a proxy that takes any identity
	// authenticates nobody.
	Expect []Expectation `json:"expect" check:"required"`

	// Protocol is what the application speaks, such as postgres or opaque.
	// Empty means to detect it.
	Protocol tlsctx.Protocol `json:"protocol"`

	// ServerFirst says that the server speaks first, so that it is dialled
	// without waiting for the client's first bytes.
	ServerFirst bool `json:"serverFirst"`

	// Session is the kind of session. Empty means what the Proxy resource
	// says.
	Session Session `json:"session"`

	// Peers says whether a server that knows SPIFFE but not the handshake
	// context will do.
	Peers Peers `json:"peers" default:"Prefer"`

	// SNI is sent as TLS server name, in clear. Empty sends none.
	SNI string `json:"sni" form:"sni"`

	// AcceptProxyProtocol says from whom a PROXY protocol header, version 1 or
	// 2, is expected.
	AcceptProxyProtocol AcceptProxyProtocol `json:"acceptProxyProtocol"`
}

// Expectation is an identity that the other side may have. Exactly one field is set.
type Expectation struct {
	// ID is a whole SPIFFE ID.
	ID spiffeid.ID `json:"id"`

	// PathPrefix is a SPIFFE ID with a path that the other's has or begins
	// with, by whole segments: spiffe://example.org/ns/db takes
	// spiffe://example.org/ns/db/sa/x and not spiffe://example.org/ns/dbx.
	PathPrefix spiffeid.ID `json:"pathPrefix"`

	// TrustDomain takes every identity of a trust domain. It is rarely what
	// is wanted, and gives a warning: any workload is then taken.
	TrustDomain spiffeid.TrustDomain `json:"trustDomain"`
}

// AcceptProxyProtocol says from whom a PROXY protocol header is expected.
type AcceptProxyProtocol struct {
	// From are networks, such as 10.0.0.0/8. Every connection from them must
	// start with a header, whose addresses are believed. Others are taken as
	// they are.
	From []netip.Prefix `json:"from"`
}

// AuthorizationPolicy says which peers may reach the targets of an [Inbound].
type AuthorizationPolicy struct {
	Metadata
	Spec AuthorizationPolicySpec
}

// AuthorizationPolicySpec is the spec of an [AuthorizationPolicy].
type AuthorizationPolicySpec struct {
	// Action says whether the rules allow or deny. Denials come first. Where
	// any ALLOW policy applies, only what one of them allows may pass.
	Action Action `json:"action" default:"ALLOW"`

	// Enforcement says whether the policy takes effect, or only logs and
	// counts what it would have refused.
	Enforcement Enforcement `json:"enforcement" default:"Enforce"`

	// Targets are the names of the inbound targets that the policy is for. Left
	// out it is for all.
	Targets []string `json:"targets" check:"nonempty" form:"target"`

	// Ports are the applications' ports, as in the address of a target, that
	// the policy is for, 1 to 65535. Left out it is for all.
	Ports []uint16 `json:"ports" check:"nonempty"`

	// Rules say whom the policy is about: peers that any of them matches. An
	// ALLOW policy without rules allows nobody.
	Rules []PolicyRule `json:"rules"`
}

// PolicyRule matches a peer that one of From matches and all of When hold for.
type PolicyRule struct {
	// From says who the peer is: one of these. Left out it is, for ALLOW, any
	// peer of the own trust domain, or of the one that the conditions name;
	// for DENY, any peer, plaintext ones as well.
	From []PolicySource `json:"from" check:"nonempty"`

	// When are conditions on the peer's attributes, all of which must hold.
	// Left out there are none.
	When []PolicyCondition `json:"when" check:"nonempty"`
}

// PolicySource matches peers that any of its fields matches.
type PolicySource struct {
	// IDs are whole SPIFFE IDs.
	IDs []spiffeid.ID `json:"ids" check:"nonempty"`

	// PathPrefixes are SPIFFE IDs with a path that the peer's has or begins
	// with, by whole segments.
	PathPrefixes []spiffeid.ID `json:"pathPrefixes" check:"nonempty"`

	// TrustDomains take every peer of a trust domain.
	TrustDomains []spiffeid.TrustDomain `json:"trustDomains" check:"nonempty"`

	// Plaintext takes peers without identity, on listeners that take them.
	Plaintext bool `json:"plaintext"`
}

// PolicyCondition is a condition on an attribute of the peer. At least one of
// Values and NotValues is given.
type PolicyCondition struct {
	// Attribute is the attribute's name, such as k8s.namespace.name.
	Attribute string `json:"attribute" check:"required" form:"attribute"`

	// Values are those that the attribute must have one of. In a DENY rule, a
	// peer of which the attribute is not known matches too: else it would only
	// have to stay silent.
	Values []string `json:"values" check:"nonempty" form:"value"`

	// NotValues are those that the attribute must not have. In an ALLOW rule,
	// a peer of which the attribute is not known does not match.
	NotValues []string `json:"notValues" check:"nonempty" form:"value"`

	// MinProvenance says how far the attribute must be believed to count as
	// known: asserted, verified or attested. Empty means verified in an ALLOW
	// rule and asserted in a DENY rule, which always matches a denied value,
	// whoever says so.
	MinProvenance tlsctx.Provenance `json:"minProvenance"`

	// TrustDomain is the trust domain whose attributes these are. Empty means
	// the own. Attributes of another one never match.
	TrustDomain spiffeid.TrustDomain `json:"trustDomain"`
}
