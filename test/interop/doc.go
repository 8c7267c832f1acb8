// Package interop holds the tests of the handshake against other TLS stacks:
// go-spiffe, OpenSSL, GnuTLS, BoringSSL, curl, nginx and HAProxy, as clients and
// as servers, all of them verifying. None of them knows hallmark tokens, and
// none of them may ever be sent a context certificate, which the tests see on
// the wire.
package interop
