package tlsctx

import (
	"crypto/tls"
	"slices"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// AllAttributes in a disclosure list stands for every attribute.
const AllAttributes = "*"

// Disclosure says which of the workload's own attributes a peer is told. What
// the own SPIFFE ID implies by a template is told to every aware peer: the ID
// says it anyway.
type Disclosure struct {
	// Public lists the names that a server tells whoever can connect: its
	// certificate precedes the client's.
	Public []string

	// To lists, by the server's trust domain, the names that a client tells a
	// server that it has authenticated and authorised. The own trust domain
	// is told everything unless it is listed; others nothing.
	To map[spiffeid.TrustDomain][]string
}

// names returns the list for a peer: the public one for a client, of which
// nothing is known yet.
func (d Disclosure) names(own spiffeid.TrustDomain, peer *Peer) []string {
	if peer == nil {
		return d.Public
	}
	td := peer.ID.TrustDomain()
	if names, listed := d.To[td]; listed || td != own {
		return names
	}
	return []string{AllAttributes}
}

// disclose returns the attributes to state to a peer, nil for one not known
// yet. What the SPIFFE ID implies and the CA attests overrules what the
// workload believes of itself, and what a template governs and the ID does not
// say is left out: a peer would refuse either.
func disclose(s *identity.Snapshot, templates Templates, d Disclosure, peer *Peer) (identity.Attributes, error) {
	td := s.ID().TrustDomain()
	names, governing := d.names(td, peer), templates[td]
	listed := func(name string) bool {
		return slices.Contains(names, name) || slices.Contains(names, AllAttributes)
	}
	attested, err := readAttested(s.SVID.Certificates[0])
	if err != nil {
		return identity.Attributes{}, &Error{Reason: NoIdentity, Err: err}
	}
	stated := derive(governing, s.ID())
	stated = slices.Grow(stated, attested.Attributes.Len()+s.Attributes.Len())
	known := func(name string) bool {
		return slices.ContainsFunc(stated, func(a identity.Attribute) bool { return a.Name == name })
	}
	for a := range attested.Attributes.All() {
		if !known(a.Name) && listed(a.Name) && !governs(governing, a.Name) {
			stated = append(stated, a)
		}
	}
	for a := range s.Attributes.All() {
		_, isAttested := attested.Attributes.Get(a.Name)
		if !known(a.Name) && !isAttested && listed(a.Name) && !governs(governing, a.Name) {
			stated = append(stated, a)
		}
	}
	set, err := identity.NewAttributes(stated...)
	if err != nil {
		return set, failure(TooLarge, "own attributes: %w", err)
	}
	return set, nil
}

// certificate returns what one side sends in its Certificate message: the
// SVID's chain and, to an aware peer, the context certificate, last.
func certificate(s *identity.Snapshot, c *Context) (*tls.Certificate, error) {
	svid := s.SVID
	cert := &tls.Certificate{
		Certificate: make([][]byte, 0, len(svid.Certificates)+1),
		PrivateKey:  svid.PrivateKey,
		Leaf:        svid.Certificates[0],
	}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	if c == nil {
		return cert, nil
	}
	der, err := Mint(cert.Leaf, *c)
	if err != nil {
		return nil, err
	}
	cert.Certificate = append(cert.Certificate, der)
	return cert, nil
}
