// Package http relays HTTP messages between connections of any version: each
// request that comes on one connection, HTTP/1 or HTTP/2, is opened upstream on
// another, and what it is answered goes back, with bodies, trailers,
// informational responses, upgrades and cancellation passing through as they
// come. The versions meet in the neutral model of package message; HTTP/1 is read
// and written by package h1, HTTP/2 by proxy/h2.
//
//	connection ── server role ──▶ exchange ──▶ client role ── connection
//	              h1 │ h2          (Open)       h1 │ h2
//
// A [Relay] is one use of it: outbound the application's connection is the server
// side and an HTTP/2 session to a peer the upstream; inbound it is the reverse,
// and the peer's verified identity is told to the application. Where a request
// goes is asked of one function value, per request and per attempt; what became
// of it is told to another, once.
//
// # Goroutines
//
// One reads each connection. It parses a message and hands it to the other side
// itself, where it is appended to what is pending and written without waiting.
// The reader of an HTTP/1 connection may block, for its connection is not shared;
// that of an HTTP/2 connection never does: what would block it parks the exchange
// in a goroutine of its own.
//
// # What it never does
//
// It opens no connection to a peer and accepts none, decides neither policy nor
// route, and keeps no metrics: it is given functions for all of that. It repairs
// no malformed message, and believes nothing that a client says about identity.
package http
