package tlsctx

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// TestDisclosureOfAServerIsPublic: what a client that nobody knows is told.
func TestDisclosureOfAServerIsPublic(t *testing.T) {
	implied := []string{"k8s.namespace.name", "k8s.service_account.name"}
	for _, test := range []struct {
		public, want []string
	}{
		{nil, implied},
		{[]string{"service.version"}, append([]string{"service.version"}, implied...)},
		{[]string{"not.mine"}, implied},
		{[]string{AllAttributes}, append([]string{"service.version", "k8s.pod.name"}, implied...)},
	} {
		t.Run(fmt.Sprint(test.public), func(t *testing.T) {
			m := newMesh(t)
			m.server.Disclosure.Public = test.public
			m.client.Disclosure.Public = []string{AllAttributes} // a server's list, of no effect here
			server, _ := m.peers(t)
			checkNames(t, server, test.want)
		})
	}
}

// TestDisclosureOfAClientDependsOnTheServersTrustDomain: the own one is told
// everything, others what is listed for them.
func TestDisclosureOfAClientDependsOnTheServersTrustDomain(t *testing.T) {
	own, foreign := spiffeid.RequireTrustDomainFromString("example.org"), spiffeid.RequireTrustDomainFromString("other.net")
	all := []string{"k8s.namespace.name", "k8s.service_account.name", "k8s.pod.name", "service.version"}
	for _, test := range []struct {
		name   string
		server string
		to     map[spiffeid.TrustDomain][]string
		want   []string
	}{
		{"own by default", "example.org", nil, all},
		{"own with a list", "example.org", map[spiffeid.TrustDomain][]string{own: {"k8s.pod.name"}}, []string{"k8s.namespace.name", "k8s.service_account.name", "k8s.pod.name"}},
		{"own with an empty list", "example.org", map[spiffeid.TrustDomain][]string{own: nil}, []string{"k8s.namespace.name", "k8s.service_account.name"}},
		{"foreign by default", "other.net", nil, []string{"k8s.namespace.name", "k8s.service_account.name"}},
		{"foreign with a list", "other.net", map[spiffeid.TrustDomain][]string{foreign: {"service.version"}}, []string{"k8s.namespace.name", "k8s.service_account.name", "service.version"}},
		{"a list for another", "other.net", map[spiffeid.TrustDomain][]string{own: {AllAttributes}}, []string{"k8s.namespace.name", "k8s.service_account.name"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMesh(t)
			other := ca.New(t, "other.net")
			ca.Federate(m.domain, other)
			client := snapshotIn(t, m.client.Source)
			client.Bundles = m.domain.Bundles()
			if test.server == "other.net" {
				m.server.Source = static(other.Snapshot(t, serverPath, identity.Attributes{}))
			}
			m.client.Policy.Authorize, m.server.Policy.Authorize = AuthorizeAny(), AuthorizeAny()
			m.client.Disclosure = Disclosure{To: test.to}
			_, seen := m.peers(t)
			checkNames(t, seen, test.want)
		})
	}
}

func checkNames(t *testing.T, p *Peer, want []string) {
	t.Helper()
	got := slices.Sorted(maps.Keys(attributesOf(p)))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("attributes %q, want %q", got, want)
	}
}

// TestDiscloseNeverStatesWhatAPeerWouldRefuse: the ID and the CA overrule what
// the workload believes, and what a template governs is stated only as the ID
// has it. Receivers of every policy take the result.
func TestDiscloseNeverStatesWhatAPeerWouldRefuse(t *testing.T) {
	domain := ca.New(t, "example.org")
	ext, err := AttestedExtension(ca.Attributes(t, "cloud.availability_zone", "eu-1a", "k8s.namespace.name", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	mistaken := ca.Attributes(t, "cloud.availability_zone", "mars-1", "k8s.namespace.name", "admin", "host.name", "h1")
	kubernetes := Templates{domain.TrustDomain(): {KubernetesTemplate()}}
	for path, want := range map[string]map[string]string{
		clientPath:      {"k8s.namespace.name": "shop", "k8s.service_account.name": "web", "cloud.availability_zone": "eu-1a", "host.name": "h1"},
		"/no/such/form": {"cloud.availability_zone": "eu-1a", "host.name": "h1"},
	} {
		s := domain.Snapshot(t, path, mistaken, ca.WithExtension(ext))
		got, err := disclose(s, kubernetes, Disclosure{Public: []string{AllAttributes}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		stated := map[string]string{}
		for a := range got.All() {
			stated[a.Name] = a.Value
		}
		if !maps.Equal(stated, want) {
			t.Errorf("%s states %v, want %v", path, stated, want)
		}
		for _, policy := range []Policy{
			{},
			{Templates: kubernetes},
			{Attested: []spiffeid.TrustDomain{domain.TrustDomain()}},
			{Templates: kubernetes, Attested: []spiffeid.TrustDomain{domain.TrustDomain()}},
		} {
			cert, err := certificate(s, &Context{Attributes: got})
			if err != nil {
				t.Fatal(err)
			}
			v := Verifier{Snapshot: s, Policy: policy}
			if _, err := v.Verify(stateOf(t, "hallmark/1/raw/unknown", cert.Certificate...)); err != nil {
				t.Errorf("%s: policy %+v: %v", path, policy, err)
			}
		}
	}
}

// TestDiscloseRefusesMoreThanFits as too large, on the side whose it is.
func TestDiscloseRefusesMoreThanFits(t *testing.T) {
	long, many := []identity.Attribute{}, []identity.Attribute{}
	for i := range identity.MaxAttributes {
		many = append(many, identity.Attribute{Name: fmt.Sprintf("a%d", i), Value: "v"})
		if i < 20 {
			long = append(long, identity.Attribute{Name: fmt.Sprintf("a%d", i), Value: fmt.Sprintf("%0250d", i)})
		}
	}
	for name, list := range map[string][]identity.Attribute{"bytes": long, "number": many} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			attributes, err := identity.NewAttributes(list...)
			if err != nil {
				t.Fatal(err)
			}
			m.client.Source = static(m.domain.Snapshot(t, clientPath, attributes))
			client, server := m.shake(t)
			wantReason(t, client, TooLarge)
			if server.err == nil {
				t.Error("the server's handshake succeeded")
			}
			m.client.Disclosure.To = map[spiffeid.TrustDomain][]string{m.domain.TrustDomain(): {"a1"}}
			m.server.Source, m.client.Source = m.client.Source, static(m.domain.Snapshot(t, clientPath, attributes))
			m.server.Disclosure.Public = []string{AllAttributes}
			client, server = m.shake(t)
			wantReason(t, server, TooLarge)
			wantReason(t, client, RefusedByPeer)
		})
	}
}

// TestMintRefusesAKeyThatDoesNotFit, whatever its kind.
func TestMintRefusesAKeyThatDoesNotFit(t *testing.T) {
	_, err := Mint(&x509.Certificate{RawSubjectPublicKeyInfo: make([]byte, 1<<20)}, Context{})
	wantReason(t, outcome{err: err}, TooLarge)
}
