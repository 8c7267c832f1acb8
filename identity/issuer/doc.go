// Package issuer is a small SPIFFE authority for one machine: it signs
// short-lived X.509-SVIDs and serves them through the SPIFFE Workload API on
// Unix sockets, so that any go-spiffe program and spire-agent's own client can
// use it as they would use SPIRE.
//
// [New] opens the authority, in memory or in a directory; [Issuer.Serve] listens
// and rotates until its context ends. The life of a request reads:
//
//	accept   who is at the other end of the socket   caller_linux.go
//	admit    within the limits of its uid             limits.go
//	select   which registrations match it             select.go
//	mint     one SVID per registration, at half-life   mint.go
//	stream   and again whenever something changed      workloadapi.go
//
// Behind it stand the authority and its rotation (authority.go, rotate.go), its
// directory (directory.go), and the bundles of federated trust domains
// (federation.go).
//
// The package never hands an SVID to a process that no registration names, never
// signs for another trust domain, never signs with an authority that the bundle
// has not held before, and issues no JWT-SVIDs.
//
// # Sockets
//
// A workload is recognised in one of two ways. On the shared socket
// ([Config.Socket], mode 0777: everybody may ask) the kernel's word on the peer
// decides: its uid, its gid, and its executable. On a socket of its own
// ([Workload.Socket], mode 0600 unless set otherwise, owned by the uid and gid
// that the selectors name) everything that can open the socket is that workload.
package issuer
