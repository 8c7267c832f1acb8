package tlsctx

import (
	"errors"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// TestAuthorizers is the table of each and of their combinations.
func TestAuthorizers(t *testing.T) {
	own := spiffeid.RequireTrustDomainFromString("example.org")
	const web, db, foreign = "spiffe://example.org/ns/shop/sa/web", "spiffe://example.org/ns/db", "spiffe://other.net/ns/shop/sa/web"
	no := func(*Peer) error { return errors.New("no") }
	deny := DenyAttribute(own, "zone", "mars", "moon")
	for _, test := range []struct {
		name      string
		authorize Authorizer
		id        string
		zone      string
		provenace Provenance
		takes     bool
	}{
		{name: "any", authorize: AuthorizeAny(), id: foreign, takes: true},
		{name: "ID", authorize: AuthorizeID(mustID(t, db), mustID(t, web)), id: web, takes: true},
		{name: "another ID", authorize: AuthorizeID(mustID(t, db)), id: web},
		{name: "no ID", authorize: AuthorizeID(), id: web},
		{name: "member", authorize: AuthorizeMemberOf(own), id: web, takes: true},
		{name: "no member", authorize: AuthorizeMemberOf(own), id: foreign},
		{name: "path", authorize: AuthorizePath(own, "/ns/shop"), id: web, takes: true},
		{name: "path with a slash", authorize: AuthorizePath(own, "/ns/shop/"), id: web, takes: true},
		{name: "path itself", authorize: AuthorizePath(own, "/ns/db"), id: db, takes: true},
		{name: "half a segment", authorize: AuthorizePath(own, "/ns/sh"), id: web},
		{name: "root path", authorize: AuthorizePath(own, "/"), id: web, takes: true},
		{name: "foreign path", authorize: AuthorizePath(own, "/ns/shop"), id: foreign},
		{name: "all", authorize: AuthorizeAll(AuthorizeMemberOf(own), AuthorizeAny()), id: web, takes: true},
		{name: "all but one", authorize: AuthorizeAll(AuthorizeAny(), no), id: web},
		{name: "one of", authorize: AuthorizeOneOf(no, AuthorizeAny()), id: web, takes: true},
		{name: "none of", authorize: AuthorizeOneOf(no, no), id: web},
		{name: "one of nothing", authorize: AuthorizeOneOf(), id: web},
		{name: "denied value", authorize: deny, id: web, zone: "moon", provenace: Attested},
		{name: "denied value, asserted", authorize: deny, id: web, zone: "mars", provenace: Asserted},
		{name: "silent under a deny rule", authorize: deny, id: web},
		{name: "another value", authorize: deny, id: web, zone: "earth", provenace: Asserted, takes: true},
		{name: "silent and foreign", authorize: deny, id: foreign, takes: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &Peer{ID: mustID(t, test.id)}
			if test.zone != "" {
				p.Attributes = Attributes{{"zone", test.zone, test.provenace}}
			}
			if err := test.authorize(p); (err == nil) != test.takes {
				t.Errorf("takes %t, want %t: %v", err == nil, test.takes, err)
			} else if err != nil {
				checkText(t, err)
			}
		})
	}
}

// TestProvenanceIsOrderedAndNamed, and values below it do not count.
func TestProvenanceIsOrderedAndNamed(t *testing.T) {
	for p, name := range map[Provenance]string{Asserted: "asserted", Verified: "verified", Attested: "attested", 0: "none", 9: "none"} {
		if p.String() != name {
			t.Errorf("%d is %q", p, p)
		}
		if parsed, ok := ParseProvenance(name); ok != (name != "none") || ok && parsed != p {
			t.Errorf("ParseProvenance(%q) = %v, %t", name, parsed, ok)
		}
	}
	as := Attributes{{"a", "1", Asserted}, {"b", "2", Verified}}
	if as.Value("a", Asserted) != "1" || as.Value("a", Verified) != "" || as.Value("b", Asserted) != "2" || as.Value("c", 0) != "" {
		t.Error("Value")
	}
}

// TestPolicyAuthorizesTheOwnTrustDomainByDefault and with what it is given.
func TestPolicyAuthorizesTheOwnTrustDomainByDefault(t *testing.T) {
	m := newMesh(t)
	asked := 0
	m.server.Policy.Authorize = func(p *Peer) error {
		asked++
		if p.ID.Path() != clientPath || p.Attributes.Value("k8s.pod.name", Asserted) != "web-0" || p.ALPN == "" {
			t.Errorf("asked of %+v", p)
		}
		return errors.New("closed on \x1b[31mSundays\r\nand holidays")
	}
	client, server := m.shake(t)
	e := wantReason(t, server, Unauthorized)
	wantReason(t, client, RefusedByPeer)
	if asked != 1 || e.Claimed.Path() != clientPath {
		t.Errorf("asked %d times, claimed %s", asked, e.Claimed)
	}
}
