// Package announce tells an application who its client is, in a PROXY protocol
// header of version 2 before the client's first byte: the client's address, what
// it speaks, and its authenticated identity and attributes.
//
// It never says of a peer what the handshake has not established.
package announce
