// Package proxy assembles the stages of a connection into a sidecar.
//
// A [Proxy] has listeners, inbound and outbound. Both are one thing, a side, and
// differ only in what stands at either end (mutual TLS below and the application
// above, or the reverse), in their table and in their policy. The life of a
// connection is one way down, in flow.go:
//
//	accept -> handshake -> context -> authorize -> detect -> route -> open -> forward -> record
//
//	accept     proxy/accept: a connection, within limits
//	handshake  tlsctx: who is at the other end (for an application: nobody, in plaintext)
//	context    tlsctx: what it says of itself, and how far that is to be believed
//	authorize  proxy/policy: may it reach this target
//	detect     proxy/detect: what is spoken, unless the peer said; overlaps with open
//	route      the side's own table: which backend
//	open       proxy/discovery, proxy/dial, proxy/pool, tlsctx: a connection to it, or a
//	           stream of a session that is there
//	forward    proxy/tunnel: bytes both ways; proxy/http: messages, see relay.go
//	record     metrics: what happened, once
//
// A mux session is one handshake for many streams: after the context each of its
// streams goes the rest of the way by itself. HTTP goes as messages: from detect
// on, each request goes the rest of the way by itself, and opens upstream as a
// stream does, by a session that is there or a connection kept for it.
//
// Everything that was configured is one immutable plan (plan.go), swapped whole.
// What lives long is asked again when trust or policy changes (live.go). Errors
// become outcomes at one place, by one table (outcome.go). Only this package
// knows the order of the stages; it parses no bytes of its own.
package proxy
