// Package h1 reads and writes HTTP/1.1 (RFC 9112) and HTTP/1.0, as a server and
// as a client, in terms of the neutral message model: parsers and serialisers of
// heads, bodies and trailers on bytes that somebody else has read, and sockets
// that neither hold a buffer while idle nor block their reader in a write.
//
// It is strict where two readers of the same bytes could differ: what is
// ambiguous is refused with a reason, never repaired. It knows nothing of routes,
// of HTTP/2, or of the relay.
package h1
