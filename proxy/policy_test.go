package proxy

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
)

// authorization is a policy for the app.
func authorization(action, enforcement, rules string) string {
	return fmt.Sprintf(`
---
apiVersion: hallmark.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: who}
spec: {action: %s, enforcement: %s, targets: [app], rules: %s}
`, action, enforcement, rules)
}

const (
	onlyShop  = `[{when: [{attribute: k8s.namespace.name, values: [shop]}]}]`
	onlyOther = `[{when: [{attribute: k8s.namespace.name, values: [other]}]}]`
)

// TestPolicyDecides: what a rule refuses sees an end, and the application nothing
// of it; what is only audited passes, and is counted.
func TestPolicyDecides(t *testing.T) {
	for _, kind := range kinds() {
		for _, c := range []struct {
			name, policy string
			passes       bool
			counted      string
		}{
			{"allowed", authorization("ALLOW", "Enforce", onlyShop), true, `decision="allowed",reason="none",rule="who"`},
			{"not allowed", authorization("ALLOW", "Enforce", onlyOther), false, `decision="denied",reason="no_allowing_rule",rule="who"`},
			{"denied", authorization("DENY", "Enforce", onlyShop), false, `decision="denied",reason="denied_by_rule",rule="who"`},
			{"audited", authorization("ALLOW", "Audit", onlyOther), true, `decision="audited",reason="no_allowing_rule",rule="who"`},
		} {
			t.Run(kind+"/"+c.name, func(t *testing.T) {
				p := newPair(t, echo(t), []string{"  session: " + kind}, []string{c.policy})
				_, err := ask(p.address, "hello\n")
				if (err == nil) != c.passes {
					t.Errorf("error is %v", err)
				}
				eventually(t, "the decision is counted", func() bool {
					return p.server.metric(`hallmark_authorizations_total\{`+c.counted) > 0
				})
			})
		}
	}
}

// TestChangeOfPolicyEndsSessions that are refused now, and no others.
func TestChangeOfPolicyEndsSessions(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			app := echo(t)
			p := newPair(t, app, []string{"  session: " + kind}, nil)
			conn := connect(t, p.address)
			say(t, conn, "before")
			p.server.apply(inboundYAML(app, authorization("ALLOW", "Enforce", onlyShop)))
			if got := say(t, conn, "between"); got != "between" {
				t.Errorf("got %q", got)
			}
			p.server.apply(inboundYAML(app, authorization("DENY", "Enforce", onlyShop)))
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the stream ends with %v", err)
			}
			eventually(t, "the end is counted", func() bool {
				return p.server.metric(`hallmark_sessions_closed_total\{.*reason="trust_changed"`) == 1
			})
		})
	}
}

// TestLostTrustEndsSessions: a bundle replaced by one that does not know the
// peer's authority.
func TestLostTrustEndsSessions(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			p := newPair(t, echo(t), []string{"  session: " + kind}, nil)
			conn := connect(t, p.address)
			say(t, conn, "before")
			stranger := ca.New(t, "example.org")
			if err := p.server.store.Publish(stranger.Snapshot(t, "/ns/data/sa/db", ca.Attributes(t))); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the stream ends with %v", err)
			}
		})
	}
}

// TestTargetsSelectAmongWhatIsConfigured: a peer that names none gets the first,
// and one that is not there is refused.
func TestTargetsSelectAmongWhatIsConfigured(t *testing.T) {
	domain := ca.New(t, "example.org")
	server := newWorkload(t, domain, "/ns/data/sa/db")
	first := serve(t, sayAndEnd("first"))
	second := serve(t, sayAndEnd("second"))
	server.apply(inboundYAML(first, "  - {name: other, address: \""+second+"\"}"))
	for target, want := range map[string]string{"": "first", "app": "first", "other": "second", "127.0.0.1:22": ""} {
		t.Run(target, func(t *testing.T) {
			client := newWorkload(t, domain, "/ns/shop/sa/cart")
			client.apply(outboundYAML(server.address("127.0.0.1:0"), "spiffe://example.org/ns/data/sa/db", "  target: \""+target+"\""))
			got, err := ask(client.address("127.0.0.1:0"), "")
			if got != want || (err == nil) != (want != "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestUnexpectedServerIsRefused: another workload at the address gets nothing of
// the application's bytes.
func TestUnexpectedServerIsRefused(t *testing.T) {
	domain := ca.New(t, "example.org")
	server := newWorkload(t, domain, "/ns/evil/sa/db")
	server.apply(inboundYAML(echo(t)))
	client := newWorkload(t, domain, "/ns/shop/sa/cart")
	client.apply(outboundYAML(server.address("127.0.0.1:0"), "spiffe://example.org/ns/data/sa/db"))
	if got, err := ask(client.address("127.0.0.1:0"), "secret\n"); err == nil {
		t.Errorf("an unexpected server answered %q", got)
	}
	eventually(t, "the failure is recorded", func() bool { return len(client.events.all()) == 1 })
	e := client.events.all()[0]
	if e.Outcome.Reason != "unauthorized_identity" || e.Peer != nil {
		t.Errorf("recorded %+v of %v", e.Outcome, e.Peer)
	}
	if n := len(server.events.all()); n != 0 {
		t.Errorf("the other workload was handed %d streams", n)
	}
}
