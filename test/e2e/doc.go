// Package e2e runs the binary as its users do: pairs of `hallmark run`, with
// identities of real SPIRE or of `hallmark issuer`, between real applications
// and their clients, and takes away what they depend on.
//
// The binary is built once for a run of the tests, with the race detector if the
// tests have it. What this package has outside its tests is how such a pair is
// put together.
package e2e
