// Package message is the neutral model of an HTTP message (RFC 9110), to which
// connections of every version turn what they read and from which they write:
// an ordered list of fields with lower-case names, the pseudo-fields apart, and
// the rules that hold whatever the version, such as which bytes a field may
// hold, which fields belong to one connection only, and what a request's parts
// must look like.
//
// It holds heads and trailers; bodies flow past it in chunks. It never reads or
// writes a connection, and it never repairs: what breaks a rule is an [*Error]
// with a [Reason] for metrics and logs.
package message
