// Package identity says who this workload is and whom it trusts.
//
// Everything a handshake needs is one immutable [Snapshot]: the X.509-SVID with
// its key, the bundles of the own and the federated trust domains, the
// workload's attributes, and a generation number. Consumers take a [Source],
// which has one method; the packages below this one provide sources (the SPIFFE
// Workload API, rotated PEM files, an embedded issuer) by publishing into a
// [Store].
//
// The package never talks to a network or a file, and never hands out parts of
// two generations at once.
package identity
