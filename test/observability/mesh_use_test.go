package observability

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// TestMesh has one mesh be looked at by all who look at one.
func TestMesh(t *testing.T) {
	m := startMesh(t)
	t.Run("Kiali", func(t *testing.T) { kiali(t, m) })
	t.Run("Istio's dashboards", func(t *testing.T) { istioDashboards(t, m) })
	t.Run("dashboards", func(t *testing.T) { dashboards(t, m) })
	t.Run("rules", func(t *testing.T) { recorded(t, m) })
	t.Run("access log", func(t *testing.T) { logged(t, m) })
	t.Run("lies", func(t *testing.T) { lies(t, m) })
}

// recorded wants each recording rule to record something, and the alerts that have
// a reason to be on their way: what they say of it is rendered without an error.
func recorded(t *testing.T, m *mesh) {
	for _, r := range rules(t) {
		if r.Record != "" {
			m.prometheus.Await(t, r.Record, func(s []apps.Sample) bool { return len(s) > 0 })
		}
	}
	for _, alert := range []string{
		"HallmarkRequestsFailing", "HallmarkConnectionsBreaking", "HallmarkHandshakeFailures", "HallmarkAuthorizationDenials", "HallmarkLimitMet",
	} {
		m.prometheus.Await(t, fmt.Sprintf("ALERTS{alertname=%q}", alert), func(s []apps.Sample) bool { return len(s) > 0 })
	}
	var answer struct {
		Data struct {
			Alerts []struct{ Annotations map[string]string }
		}
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + m.prometheus.Addr + "/api/v1/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || len(answer.Data.Alerts) < 5 {
		t.Fatalf("%d alerts, %v", len(answer.Data.Alerts), err)
	}
	for _, a := range answer.Data.Alerts {
		if text := fmt.Sprint(a.Annotations); strings.Contains(text, "<error") || strings.Contains(text, "<no value>") {
			t.Errorf("an alert says %s", text)
		}
	}
}

// logged wants lines of requests in the form that is configured, and no secret.
func logged(t *testing.T, m *mesh) {
	const ends = "spiffe://example.org/ns/shop/sa/web spiffe://example.org/ns/shop/sa/cart"
	for path, lines := range map[string][]string{
		web:  {"LINE source GET / 200 " + ends, "LINE source GET /fail 500 " + ends},
		cart: {"LINE destination GET / 200 " + ends, "LINE destination POST /grpc.testing.TestService/EmptyCall 200 " + ends},
	} {
		for _, line := range lines {
			e2e.Eventually(t, "there is a line "+line, func() error {
				if text := m.sidecars[path].Output(); !strings.Contains(text, line+"\n") {
					return fmt.Errorf("in %.3000s", text)
				}
				return nil
			})
		}
		if text := m.sidecars[path].Output(); strings.Contains(text, "secret") || strings.Contains(text, "liar") {
			t.Errorf("%s logs what it should not", path)
		}
	}
}

// lies wants nothing of what clients say of themselves in any label.
func lies(t *testing.T, m *mesh) {
	series, err := m.prometheus.Series(t.Context(), `{job="hallmark"}`)
	if err != nil || len(series) == 0 {
		t.Fatalf("%d series, %v", len(series), err)
	}
	for _, s := range series {
		for label, value := range s {
			if strings.Contains(value, "liar") || strings.Contains(value, "/fail") {
				t.Errorf("%s=%q of %s", label, value, s["__name__"])
			}
		}
	}
}
