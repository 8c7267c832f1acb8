package policy

import (
	"math/rand/v2"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func reasonOf(d *Denial) Reason {
	if d == nil {
		return ""
	}
	return d.Reason
}

// checkProperties compares with the reference, and what must hold of any
// policies.
func checkProperties(t *testing.T, c choices) (denied, audited Reason) {
	t.Helper()
	own := spiffeid.RequireTrustDomainFromString("own.test")
	policies, request := c.policies(own), c.request()
	set, err := New(own, policies)
	if err != nil {
		t.Fatal(err)
	}
	got := set.Check(request)
	denied, audited = reference{own, policies}.check(request)
	if reasonOf(got.Denied) != denied || reasonOf(got.Audited) != audited {
		t.Fatalf("got denied %q, audited %q; want %q, %q\npolicies %+v\nrequest %+v of %+v",
			reasonOf(got.Denied), reasonOf(got.Audited), denied, audited, policies, request, request.Peer)
	}
	if (got.Err() == nil) != (denied == "") {
		t.Fatalf("Err is %v and Denied %v", got.Err(), got.Denied)
	}

	var inForce []Policy
	for _, p := range policies {
		if !p.Audit {
			inForce = append(inForce, p)
		}
	}
	set, _ = New(own, inForce)
	if without := set.Check(request); reasonOf(without.Denied) != denied || without.Audited != nil {
		t.Fatalf("policies in audit mode make a difference: %v without them, %v with", without, got)
	}
	if extra := c.policy(); extra.Action == Deny {
		set, err := New(own, append(policies, extra))
		if err == nil && got.Denied != nil && set.Check(request).Denied == nil {
			t.Fatalf("a Deny policy more allows more: %+v", extra)
		}
	}
	return denied, audited
}

func TestAsTheReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	seen := make(map[Reason]int)
	for range 10_000 {
		denied, audited := checkProperties(t, choices{random.IntN})
		seen[denied]++
		seen["audited "+audited]++
	}
	for _, reason := range []Reason{"", DeniedByRule, NoAllowingRule, ForeignTrustDomain, PlaintextPeer, "audited ", "audited denied_by_rule", "audited no_allowing_rule"} {
		if seen[reason] < 20 {
			t.Errorf("%q came up %d times: the world is too small to say much", reason, seen[reason])
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3, 0, 1, 2, 1, 1, 0, 0, 2, 1, 1, 0, 3, 2, 1, 0, 4, 3, 2, 1})
	f.Add([]byte("\x03\x01\x00\x01\x00\x00\x02\x01\x01\x00\x02\x01\x00\x01\x00\x01\x00\x02\x00\x00\x01\x03\x02\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkProperties(t, choices{func(n int) int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b) % n
		}})
	})
}
