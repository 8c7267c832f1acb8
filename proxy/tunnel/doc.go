// Package tunnel moves the bytes of a TCP stream both ways between two
// connections, and nothing else: half-close stays half-close, a reset arrives
// as a reset, and no byte is lost, added or looked at.
//
// A stream has a TLS connection of its own (a raw session), or shares one with
// others (a mux session: one HTTP/2 CONNECT stream each, see [Session]).
package tunnel
