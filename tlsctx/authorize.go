package tlsctx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Authorizer decides whether a verified peer may go on: nil means yes, an error
// says why not. It runs inside the handshake, before the peer has proved that
// it holds its key, so it only decides: it must not record anything under the
// peer's name. It must be safe for concurrent use.
type Authorizer func(*Peer) error

// AuthorizeAny takes every peer whose SVID verifies, of any trust domain whose
// bundle we hold.
func AuthorizeAny() Authorizer { return func(*Peer) error { return nil } }

// AuthorizeID takes exactly the given SPIFFE IDs.
func AuthorizeID(ids ...spiffeid.ID) Authorizer {
	return func(p *Peer) error {
		if slices.Contains(ids, p.ID) {
			return nil
		}
		return fmt.Errorf("%s is not among the expected %v", p.ID, ids)
	}
}

// AuthorizeMemberOf takes every peer of the trust domain.
func AuthorizeMemberOf(td spiffeid.TrustDomain) Authorizer {
	return func(p *Peer) error {
		if p.ID.MemberOf(td) {
			return nil
		}
		return fmt.Errorf("%s is not a member of trust domain %s", p.ID, td)
	}
}

// AuthorizePath takes every peer of the trust domain whose path begins with the
// given one, by whole segments: /ns/db takes /ns/db and /ns/db/sa/x and not
// /ns/dbx.
func AuthorizePath(td spiffeid.TrustDomain, path string) Authorizer {
	prefix := strings.TrimSuffix(path, "/")
	return func(p *Peer) error {
		rest, ok := strings.CutPrefix(p.ID.Path(), prefix)
		if ok && p.ID.MemberOf(td) && (rest == "" || rest[0] == '/') {
			return nil
		}
		return fmt.Errorf("%s is not below %s%s", p.ID, td.IDString(), prefix)
	}
}

// AuthorizeAll takes a peer that every one of the authorizers takes.
func AuthorizeAll(all ...Authorizer) Authorizer {
	return func(p *Peer) error {
		for _, authorize := range all {
			if err := authorize(p); err != nil {
				return err
			}
		}
		return nil
	}
}

// AuthorizeOneOf takes a peer that at least one of the authorizers takes: of
// none, nobody.
func AuthorizeOneOf(some ...Authorizer) Authorizer {
	return func(p *Peer) error {
		refusal := fmt.Errorf("%s is taken by none of %d authorizers", p.ID, len(some))
		for _, authorize := range some {
			err := authorize(p)
			if err == nil {
				return nil
			}
			refusal = fmt.Errorf("%w; %w", refusal, err)
		}
		return refusal
	}
}

// DenyAttribute refuses peers of the trust domain whose attribute has one of
// the values, at any provenance, and those of which the attribute is not known:
// else a peer would only have to stay silent. Peers of other trust domains are
// not its concern. Combine it with [AuthorizeAll].
func DenyAttribute(td spiffeid.TrustDomain, name string, values ...string) Authorizer {
	return func(p *Peer) error {
		if !p.ID.MemberOf(td) {
			return nil
		}
		a, known := p.Attributes.Get(name)
		switch {
		case !known:
			return fmt.Errorf("%s says nothing of %s, on which there is a deny rule", p.ID, name)
		case slices.Contains(values, a.Value):
			return fmt.Errorf("%s is denied by %s=%q (%s)", p.ID, name, a.Value, a.Provenance)
		default:
			return nil
		}
	}
}
