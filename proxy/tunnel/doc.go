// Package tunnel moves the bytes of a TCP stream both ways between two
// connections, and nothing else: half-close stays half-close, a reset arrives
// as a reset, and no byte is lost, added or looked at.
//
// A stream has a TLS connection of its own (a raw session), or shares one with
// others (a mux session: one HTTP/2 CONNECT stream each, see [Session] and
// [Serve]; the specification beside package tlsctx says what is on the wire).
// FIN is END_STREAM, a TCP reset is RST_STREAM(CONNECT_ERROR), and a session that
// ends without a goodbye resets its streams. A stream's window is its TCP
// connection's back-pressure: credit goes back as bytes are delivered, so that
// one that is slow holds up no other.
//
// Bytes are read from a socket into the buffer that becomes the frame, and
// written to one from the buffers into which frames were read. Direction of
// dialling means nothing here: either end may be the client.
package tunnel
