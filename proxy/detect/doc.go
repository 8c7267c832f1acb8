// Package detect says which protocol the first bytes of a connection speak, and
// settles who speaks first without ever waiting for a timeout.
//
// It never consumes a byte: what it has read it gives back, in order, through
// the connections it returns.
package detect
