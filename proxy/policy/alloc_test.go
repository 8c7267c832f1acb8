//go:build !race

package policy

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func TestCheckAllocatesNothing(t *testing.T) {
	set, err := New(own, []Policy{
		{Name: "no-test", Action: Deny, Rules: []Rule{when(Condition{Values: []string{"test"}})}},
		{Name: "soon", Audit: true, Action: Deny, Rules: []Rule{when(Condition{NotValues: []string{"x"}})}},
		{Name: "carts", Targets: []string{"db"}, Ports: []uint16{5432}, Rules: []Rule{
			from(Source{IDs: []spiffeid.ID{cart}}),
			{From: []Source{{PathPrefixes: []spiffeid.ID{cart}}}, When: []Condition{{Attribute: "env", Values: []string{"prod"}}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Peer: peer(ours+"/x", attribute("prod", tlsctx.Verified)), Target: "db", Port: 5432}
	if got := set.Check(request); got.Denied != nil || got.Audited == nil || got.Policy != "carts" {
		t.Fatalf("got %+v", got)
	}
	if n := testing.AllocsPerRun(1000, func() { _ = set.Check(request) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
