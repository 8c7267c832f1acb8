// Package accesslog writes one line for every connection, and for every request:
// who called whom, what is known of either and how far that is to be believed,
// what was spoken or asked, how much was carried, and how it ended.
//
// A [Log] is a sink of package metrics. Its lines go through a [Writer], which
// holds a bounded number of bytes and writes from a goroutine of its own: a disk
// that is full or a pipe that nobody reads costs lines, which are counted, and
// never holds up or fails a connection. When there is room again, logging goes
// on.
//
// What a peer has said is in fields of its own for each provenance, and escaped.
// Neither a request's query nor its header nor its body is ever written.
package accesslog
