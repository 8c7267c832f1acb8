package tlsctx

import (
	"bytes"
	"crypto/x509"
	"slices"
)

// path picks, from what a peer sent, the certificates that lead away from its
// leaf: in the order sent, as RFC 8446, section 4.4.2, has it, each certifying
// the one before. What does not belong is left out, and so is a CA whose name is
// on the path already.
//
// It looks at names and key identifiers alone. Afterwards every certificate has
// at most one issuer among the others, so that verifying costs one signature for
// each, and one more for each authority of the bundle that bears its issuer's
// name. Without it, a peer that sends five CA certificates of one name and one
// key makes crypto/x509 try every order of them, and spend a hundred signatures.
func path(sent []*x509.Certificate) []*x509.Certificate {
	taken := sent[:1:1]
	for _, c := range sent[1:] {
		above := taken[1:]
		if certifies(c, taken[len(taken)-1]) && !slices.ContainsFunc(above, func(a *x509.Certificate) bool { return sameName(a, c) }) {
			taken = append(taken, c)
		}
	}
	return taken
}

// certifies reports whether issuer can have issued c, by their names and, where
// both have one, by the key identifier (RFC 5280, section 4.2.1.1).
func certifies(issuer, c *x509.Certificate) bool {
	if !bytes.Equal(issuer.RawSubject, c.RawIssuer) {
		return false
	}
	return len(issuer.SubjectKeyId) == 0 || len(c.AuthorityKeyId) == 0 || bytes.Equal(issuer.SubjectKeyId, c.AuthorityKeyId)
}

func sameName(a, b *x509.Certificate) bool { return bytes.Equal(a.RawSubject, b.RawSubject) }
