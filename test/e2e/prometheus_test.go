package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/e2e"
	"github.com/hallmark-mesh/hallmark/test/spire"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestPrometheus has a real Prometheus scrape the sidecars of two callers and of
// what they call, with identities of real SPIRE, and asks it who called.
func TestPrometheus(t *testing.T) {
	domain := spire.Run(t, e2e.TrustDomain, spire.Options{})
	w := build.SPIRE(t, domain, "/ns/shop/sa/cart", "/ns/billing/sa/invoices", "/ns/db/sa/redis")
	redis := apps.StartRedis(t)
	between := components.FreeAddr(t)
	inbound := e2e.Run(t, e2e.Options{Workload: w[2], Inbound: []string{between + "=" + redis.Addr}, Name: "inbound"})
	calls := map[string]int{"cart": 2, "invoices": 5}
	jobs := map[string][]string{"destination": {inbound.Metrics}}
	for _, client := range w[:2] {
		front := components.FreeAddr(t)
		// What a workload says of itself is only its own word.
		outbound := e2e.Run(t, e2e.Options{
			Workload: client, Outbound: []string{front + "=" + between}, Expect: []string{w[2].ID}, Name: "outbound",
			Args: []string{"--attribute", "service.name=liar", "--attribute", "k8s.deployment.name=liar", "--attribute", "k8s.pod.name=liar-0"},
		})
		jobs["source"] = append(jobs["source"], outbound.Metrics)
		for range calls[name(client)] {
			if got := redis.Via(front).Do(t, "PING"); got != "PONG" {
				t.Errorf("PING: %q", got)
			}
		}
	}
	if log := inbound.Output(); !strings.Contains(log, `"liar"`) || !strings.Contains(log, `"liar-0"`) {
		t.Errorf("the destination was not told what must not show:\n%s", log)
	}
	prometheus := apps.StartPrometheus(t, jobs)
	prometheus.AwaitScraped(t)

	for _, reporter := range []string{"source", "destination"} {
		query := fmt.Sprintf(`sum by (source_workload, source_workload_namespace, source_principal) (istio_tcp_connections_opened_total{reporter=%q})`, reporter)
		got := map[string]string{}
		for _, s := range prometheus.Await(t, query, func(s []apps.Sample) bool { return len(s) == 2 }) {
			got[s.Labels["source_workload_namespace"]+"/"+s.Labels["source_workload"]+" "+s.Labels["source_principal"]] = s.Value
		}
		for label, want := range map[string]string{"shop/cart " + w[0].ID: "2", "billing/invoices " + w[1].ID: "5"} {
			if got[label] != want {
				t.Errorf("%s: %q called %q times, want %s; all: %v", reporter, label, got[label], want, got)
			}
		}
	}
	series, err := prometheus.Series(t.Context(), `{job="destination"}`)
	if err != nil || len(series) == 0 {
		t.Fatalf("%d series, %v", len(series), err)
	}
	for _, s := range series {
		for label, value := range s {
			if strings.Contains(value, "liar") {
				t.Errorf("an attribute that is only asserted shows as %s=%q of %s", label, value, s["__name__"])
			}
		}
	}
}

// name is the last part of a workload's SPIFFE ID.
func name(w e2e.Workload) string { return w.ID[strings.LastIndexByte(w.ID, '/')+1:] }

// TestContradictionIsRefused has a caller whose context contradicts its SPIFFE
// ID: it does not get through, and nothing is counted under what it claims. The
// binary does not lie, so this caller is one of our own.
func TestContradictionIsRefused(t *testing.T) {
	issuer := build.Issuer(t, e2e.IssuerOptions{Workloads: map[string]map[string]string{"/ns/shop/sa/cart": nil, "/ns/db/sa/redis": nil}})
	redis := apps.StartRedis(t)
	between := components.FreeAddr(t)
	inbound := e2e.Run(t, e2e.Options{Workload: issuer.Workload(t, "/ns/db/sa/redis"), Inbound: []string{between + "=" + redis.Addr}})
	for _, namespace := range []string{"", "treasury"} {
		reply, err := pingAs(t, issuer.Workload(t, "/ns/shop/sa/cart"), between, namespace)
		switch {
		case namespace == "" && reply != "+PONG\r\n":
			t.Errorf("a caller that tells the truth got %q, %v", reply, err)
		case namespace != "" && err == nil:
			t.Errorf("a caller that lies got %q", reply)
		}
	}
	e2e.Eventually(t, "both connections are counted", func() error {
		if opened, failed := inbound.Sum(t, "istio_tcp_connections_opened_total"), inbound.Sum(t, "hallmark_handshake_failures_total", "reason", "contradicting_context"); opened != 1 || failed != 1 {
			return fmt.Errorf("%v opened, %v contradictions", opened, failed)
		}
		return nil
	})
	families, err := inbound.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(families); strings.Contains(text, "treasury") {
		t.Errorf("what is contradicted shows in the metrics:\n%s", text)
	}
}

// pingAs has Redis pinged by a caller that says which namespace it is in, if it
// says anything.
func pingAs(t *testing.T, w e2e.Workload, address, namespace string) (reply string, err error) {
	t.Helper()
	var says tlsctx.Context
	if namespace != "" {
		says.Attributes = ca.Attributes(t, "k8s.namespace.name", namespace)
	}
	conn, err := shakeSaying(t, w, address, "hallmark/1/raw/redis", says)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return "", err
	}
	buffer := make([]byte, 100)
	n, err := conn.Read(buffer)
	return string(buffer[:n]), err
}

// TestAttestedShows has a caller with attributes that the authority attests, and
// a destination that believes them.
func TestAttestedShows(t *testing.T) {
	issuer := build.Issuer(t, e2e.IssuerOptions{Workloads: map[string]map[string]string{
		"/ns/shop/sa/cart": {"k8s.deployment.name": "cart-canary", "service.version": "7"}, "/ns/db/sa/redis": nil,
	}})
	redis := apps.StartRedis(t)
	pair := e2e.RunPair(t, e2e.Ways{
		Client: issuer.Workload(t, "/ns/shop/sa/cart"), Server: issuer.Workload(t, "/ns/db/sa/redis"), Backends: []string{redis.Addr},
		InboundArgs: []string{"--attested", e2e.TrustDomain},
	})
	if got := redis.Via(pair.Addr(0)).Do(t, "PING"); got != "PONG" {
		t.Errorf("PING: %q", got)
	}
	if n := pair.Inbound.Sum(t, "istio_tcp_connections_opened_total", "source_workload", "cart-canary", "source_workload_namespace", "shop", "source_canonical_revision", "7"); n != 1 {
		t.Errorf("%v connections of the attested workload, want 1", n)
	}
}
