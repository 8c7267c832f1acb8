package observability

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// The labels by which Kiali's graph groups (graph/telemetry/istio/istio.go, and the
// appenders beside it).
const (
	ends = "source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision," +
		"destination_cluster,destination_service_namespace,destination_service,destination_service_name," +
		"destination_workload_namespace,destination_workload,destination_canonical_service,destination_canonical_revision"
	byRequest  = ends + ",request_protocol,response_code,grpc_response_status,response_flags"
	byTCP      = "app," + ends + ",response_flags"
	bySecurity = "source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision,source_principal," +
		"destination_cluster,destination_service_namespace,destination_service_name,destination_workload_namespace,destination_workload," +
		"destination_canonical_service,destination_canonical_revision,destination_principal,connection_security_policy"
)

// edge is an edge of the graph.
type edge struct{ from, to, protocol, code, flags string }

// edgeOf turns a sample into an edge by Kiali's rules, unless they drop it: what
// lacks a label, what is said to be in no known cluster, what comes from or goes to
// nobody.
func edgeOf(metric string, l map[string]string) (edge, bool) {
	for name := range strings.SplitSeq(ends, ",") {
		if _, given := l[name]; !given && !strings.HasSuffix(name, "_cluster") {
			return edge{}, false
		}
	}
	known := func(name string) bool { return l[name] != "" && l[name] != "unknown" }
	for namespace, cluster := range map[string]string{"source_workload_namespace": "source_cluster", "destination_service_namespace": "destination_cluster"} {
		if _, given := l[cluster]; known(namespace) && given && !known(cluster) {
			return edge{}, false
		}
	}
	if !known("source_workload") || !known("destination_service") && !known("destination_service_name") && !known("destination_workload") {
		return edge{}, false
	}
	e := edge{
		from: l["source_workload"] + "." + l["source_workload_namespace"], to: l["destination_workload"] + "." + l["destination_workload_namespace"],
		protocol: l["request_protocol"], code: l["response_code"], flags: l["response_flags"],
	}
	switch status, given := l["grpc_response_status"]; {
	case strings.HasPrefix(metric, "istio_tcp"):
		e.protocol = "tcp"
	case strings.Contains(metric, "_messages_"):
		e.protocol = "grpc"
	case e.code == "0":
		e.code = "-"
	case e.protocol == "grpc" && given && !strings.HasPrefix(e.code, "4") && !strings.HasPrefix(e.code, "5"):
		e.code = status
	}
	return e, true
}

// graphQueries are those that Kiali sends for the traffic of one namespace.
func graphQueries(metric, by, namespace string) []string {
	app := ""
	if strings.HasPrefix(metric, "istio_tcp") {
		app = `app!="ztunnel",`
	}
	query := func(selector string) string {
		return fmt.Sprintf(`round(sum(rate(%s{%s%s} [10s])) by (%s) > 0,0.001)`, metric, app, selector, by)
	}
	return []string{
		query(fmt.Sprintf(`reporter="source",source_workload_namespace!="%s",destination_workload_namespace="unknown",destination_workload="unknown",destination_service=~"^.+\\.%s\\..+$"`, namespace, namespace)),
		query(fmt.Sprintf(`reporter="destination",destination_workload_namespace="%s"`, namespace)),
		query(fmt.Sprintf(`reporter="source",source_workload_namespace="%s"`, namespace)),
	}
}

// graph is what Kiali makes of the traffic of all namespaces.
func (m *mesh) graph(t *testing.T, metric, by string) map[edge]bool {
	t.Helper()
	found := make(map[edge]bool)
	for _, namespace := range []string{"shop", "jobs", "data"} {
		for _, query := range graphQueries(metric, by, namespace) {
			samples, err := m.prometheus.Query(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range samples {
				if e, ok := edgeOf(metric, s.Labels); ok {
					found[e] = true
				}
			}
		}
	}
	return found
}

// kiali sends the queries of Kiali's graph and wants the edges of what happens.
func kiali(t *testing.T, m *mesh) {
	const w, b, c, r = "web.shop", "batch.jobs", "cart.shop", "redis.data"
	for _, test := range []struct {
		metric, by string
		want       []edge
	}{
		{"istio_requests_total", byRequest, []edge{
			{w, c, "http", "200", "-"},
			{w, c, "http", "500", "-"},
			{b, c, "http", "200", "-"},
			{w, c, "grpc", "0", "-"},
			{w, c, "grpc", "12", "-"},
			{w, "unknown.unknown", "http", "503", "UF"},
			{w, "unknown.unknown", "http", "400", "DPE"},
		}},
		{"istio_request_messages_total", ends, []edge{{w, c, "grpc", "", ""}}},
		{"istio_response_messages_total", ends, []edge{{w, c, "grpc", "", ""}}},
		{"istio_tcp_sent_bytes_total", byTCP, []edge{{c, r, "tcp", "", "-"}, {w, r, "tcp", "", "-"}}},
		{"istio_tcp_received_bytes_total", byTCP, []edge{{c, r, "tcp", "", "-"}}},
	} {
		var got map[edge]bool
		e2e.Eventually(t, "the graph of "+test.metric+" is complete", func() error {
			got = m.graph(t, test.metric, test.by)
			for _, e := range test.want {
				if !got[e] {
					return fmt.Errorf("no edge %+v: %v", e, got)
				}
			}
			return nil
		})
		for _, e := range test.want {
			delete(got, e)
		}
		for e := range maps.Keys(got) {
			if e.flags != "DC" && e.protocol != "tcp" { // bytes of what was broken may come or not
				t.Errorf("%s: an edge %+v", test.metric, e)
			}
		}
	}
	kialiTimes(t, m)
	kialiSecurity(t, m)
}

// kialiTimes asks how long requests on the edges take, as Kiali does of classic
// buckets, and the same of native ones.
func kialiTimes(t *testing.T, m *mesh) {
	for _, selector := range []string{`reporter=~"destination|waypoint",destination_service_namespace="shop"`, `reporter=~"source|waypoint",source_workload_namespace="shop"`} {
		for name, query := range map[string]string{
			"average": fmt.Sprintf(`sum(rate(istio_request_duration_milliseconds_sum{%[1]s}[10s])) by (%[2]s,request_protocol) / sum(rate(istio_request_duration_milliseconds_count{%[1]s}[10s])) by (%[2]s,request_protocol) > 0`, selector, ends),
			"classic": fmt.Sprintf(`histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{%s}[10s])) by (le,%s,request_protocol)) > 0`, selector, ends),
			"native":  fmt.Sprintf(`histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds{%s}[10s])) by (%s,request_protocol)) > 0`, selector, ends),
		} {
			samples := m.prometheus.Await(t, query, func(s []apps.Sample) bool { return len(s) >= 2 })
			edges := make(map[edge]bool)
			for _, s := range samples {
				if e, ok := edgeOf("", s.Labels); ok && s.Value != "NaN" {
					edges[e] = true
				}
			}
			for _, protocol := range []string{"http", "grpc"} {
				if !edges[edge{"web.shop", "cart.shop", protocol, "", ""}] {
					t.Errorf("%s of %s: no edge of %s: %v", name, selector, protocol, edges)
				}
			}
		}
	}
}

// kialiSecurity asks which edges are secured, and between whom.
func kialiSecurity(t *testing.T, m *mesh) {
	const id = "spiffe://example.org"
	for metric, want := range map[string][2]string{
		"istio_requests_total":       {id + batch, id + cart},
		"istio_tcp_sent_bytes_total": {id + cart, id + redis},
	} {
		namespace := map[string]string{"istio_requests_total": "shop", "istio_tcp_sent_bytes_total": "data"}[metric]
		query := fmt.Sprintf(`(sum(rate(%s{reporter="destination",source_workload_namespace!="%s",destination_service_namespace="%s"}[10s])) by (%s) > 0)`, metric, namespace, namespace, bySecurity)
		m.prometheus.Await(t, query, func(samples []apps.Sample) bool {
			return slices.ContainsFunc(samples, func(s apps.Sample) bool {
				return s.Labels["source_principal"] == want[0] && s.Labels["destination_principal"] == want[1] && s.Labels["connection_security_policy"] == "mutual_tls"
			})
		})
	}
}

// istioDashboards sends the queries of Istio's mesh, service and workload
// dashboards for Grafana, and wants each to find something.
func istioDashboards(t *testing.T, m *mesh) {
	const (
		to     = `destination_workload_namespace=~"shop",destination_workload=~"cart"`
		from   = `source_workload_namespace=~"shop",source_workload=~"web"`
		anyone = `source_workload=~".*",source_workload_namespace=~".*"`
		mutual = `connection_security_policy="mutual_tls",`
	)
	queries := []string{
		`sum(istio_requests_total) by (destination_workload_namespace) or sum(istio_tcp_sent_bytes_total) by (destination_workload_namespace)`,
		`round(sum(rate(istio_requests_total{reporter=~"source|waypoint"}[10s])), 0.01)`,
		`sum(rate(istio_requests_total{reporter=~"source|waypoint",response_code!~"5.."}[10s])) / sum(rate(istio_requests_total{reporter=~"source|waypoint"}[10s]))`,
		`round(sum(rate(istio_requests_total{reporter=~"source|waypoint",response_code=~"5.."}[10s])), 0.01)`,
		`label_join(sum by (destination_workload,destination_workload_namespace,destination_service) (rate(istio_requests_total{reporter=~"source|waypoint"}[10s])), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")`,
		`label_join(sum by (destination_workload,destination_workload_namespace,destination_service) (rate(istio_tcp_received_bytes_total{reporter=~"source|waypoint"}[10s])), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")`,
		`round(sum(irate(istio_requests_total{reporter=~"destination",destination_service=~"cart"}[5m])), 0.001)`,
		`sum(irate(istio_requests_total{reporter=~"destination",destination_service=~"cart",response_code!~"5.*"}[5m])) / sum(irate(istio_requests_total{reporter=~"destination",destination_service=~"cart"}[5m]))`,
		`sum(irate(istio_tcp_received_bytes_total{reporter=~"destination",destination_service=~"redis"}[1m]))`,
		`round(sum(irate(istio_requests_total{reporter=~"destination",` + to + `}[5m])), 0.001)`,
		`round(sum(irate(istio_requests_total{` + mutual + to + `,reporter=~"destination",` + anyone + `}[5m])) by (source_workload, source_workload_namespace, response_code), 0.001)`,
		`sum(irate(istio_requests_total{reporter=~"destination",` + mutual + to + `,response_code!~"5.*",` + anyone + `}[5m])) by (source_workload, source_workload_namespace) / sum(irate(istio_requests_total{reporter=~"destination",` + mutual + to + `,` + anyone + `}[5m])) by (source_workload, source_workload_namespace)`,
		`round(sum(irate(istio_requests_total{` + from + `,reporter="source",destination_service=~".*"}[5m])) by (destination_service, response_code), 0.001)`,
		`round(sum(irate(istio_tcp_received_bytes_total{reporter=~"destination",` + mutual + `destination_workload_namespace=~"data",destination_workload=~"redis",` + anyone + `}[1m])) by (source_workload, source_workload_namespace), 0.001)`,
		`round(sum(irate(istio_tcp_sent_bytes_total{` + mutual + `reporter="source",source_workload_namespace=~"shop",source_workload=~"cart",destination_service=~".*"}[1m])) by (destination_service), 0.001)`,
	}
	for _, histogram := range []string{"istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"} {
		for _, quantile := range []string{"0.50", "0.90", "0.95", "0.99"} {
			queries = append(queries, fmt.Sprintf(`histogram_quantile(%s, sum(irate(%s_bucket{reporter=~"destination",%s%s,%s}[1m])) by (source_workload, source_workload_namespace, le))`, quantile, histogram, mutual, to, anyone))
		}
	}
	for _, query := range queries {
		m.prometheus.Await(t, query, hasValues)
	}
}

// hasValues reports whether there is a number among the samples.
func hasValues(samples []apps.Sample) bool {
	return slices.ContainsFunc(samples, func(s apps.Sample) bool { return s.Value != "NaN" })
}
