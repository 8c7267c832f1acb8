// Package tlsctx is the handshake context: a mutual TLS 1.3 handshake between
// two SPIFFE workloads after which each holds the other's authenticated SPIFFE
// identity, its attributes with their provenance, and the negotiated session
// and detected protocol. Nothing but the handshake is sent, and no round trip
// is added.
//
// Two carriers take the context across, both described byte by byte in SPEC.md:
// an ALPN token (version, session, detected protocol) and one extra certificate
// at the end of the sender's Certificate message (attributes, target, trace
// context), which the SVID's own CertificateVerify authenticates.
//
// A program uses it in one of these ways:
//
//   - [Client] and [Server] run a handshake over any net.Conn;
//   - [Dialer] and [Listener] do so for connections they open and accept;
//   - [ClientConfig.TLS] and [ServerConfig.TLS] give a tls.Config, and
//     [Verifier] judges a tls.ConnectionState, for those who bring their own
//     TLS or QUIC stack;
//   - packages httpctx and grpccreds below this one are for net/http and for
//     grpc-go.
//
// [Plain] is the handshake that is none, so that code above need not care.
//
// The package never believes anything before it is verified, publishes nothing
// about a peer before Handshake has returned nil, resumes no session, and sends
// a context to nobody who did not ask for one.
package tlsctx
