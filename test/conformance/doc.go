// Package conformance holds the binary to the specifications of HTTP, and to the
// programs that people have: suites of others (h2spec, gRPC's interop tests),
// clients of many makes, WebSocket, events, and storms of requests during which
// everything changes and none may be lost. All of it goes through pairs of
// `hallmark run` in their default configuration, with mutual TLS between.
//
// It has nothing but tests. What is put through a pair in parts, and the odd
// messages of files, are tested beside package http.
package conformance
