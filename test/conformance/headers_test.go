package conformance_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// claim is what a client says of itself where others would believe it.
const claim = "intruder"

// claims are the fields by which meshes say who somebody is, in the spellings that
// applications take for one another.
var claims = []string{
	"x-envoy-peer-metadata", "x-envoy-peer-metadata-id", "x-forwarded-client-cert", "l5d-client-id", "x-hallmark-source",
	"X-Forwarded-Client-Cert", "X_Forwarded_Client_Cert", "x_forwarded_client_cert", "x-forwarded_client-cert",
	"X_Hallmark_Source", "x_hallmark_source", "x-hallmark_source", "L5d_Client_Id", "l5d_client_id",
	"x_envoy_peer_metadata", "x.forwarded.client.cert", "x.hallmark.source",
}

// TestClaims: what a client claims of itself, in fields, in trailers, and named in
// Connection so that somebody might drop what we say, changes nothing in what the
// application is told, in labels and in logs.
func TestClaims(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP/%d", version), func(t *testing.T) {
			m := through(t, web(t, tell))
			honest := told(t, m, version, nil, nil)
			requests := 1
			before := labels(t, m, requests)
			if len(honest["X-Forwarded-Client-Cert"]) != 1 || !strings.HasSuffix(honest["X-Forwarded-Client-Cert"][0], "URI=spiffe://example.org"+client) || len(honest["X-Hallmark-Source"]) != 1 {
				t.Fatalf("the application is told %q", honest)
			}
			for _, name := range claims {
				value := []string{"URI=spiffe://example.org/" + claim + ";k8s.namespace.name=" + claim}
				lies := http.Header{name: value, "Cookie": {"a=b"}}
				check(t, name+" as a field", told(t, m, version, lies, nil), honest)
				check(t, name+" as a trailer", told(t, m, version, nil, lies), honest)
				check(t, name+" as both", told(t, m, version, lies, lies), honest)
				requests += 3
				if version == 1 { // HTTP/2 has no such field
					named := http.Header{"Connection": {"keep-alive, x-forwarded-client-cert, x-hallmark-source, " + strings.ToLower(name)}}
					check(t, name+" in Connection", told(t, m, version, named, nil), honest)
					named[name] = value
					check(t, name+" as a field that Connection names", told(t, m, version, named, nil), honest)
					requests += 2
				}
			}
			if after := labels(t, m, requests); !slices.Equal(after, before) {
				t.Errorf("labels were\n%s\nand are\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			for _, s := range []*e2e.Sidecar{m.Inbound, m.Outbound} {
				if strings.Contains(s.Output(), claim) || strings.Contains(s.Page(t, "/peers"), claim) {
					t.Errorf("the log or the page of peers has what the client claims")
				}
			}
		})
	}
}

// tell answers with the fields and the trailers of the request.
func tell(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	for name, values := range r.Trailer {
		r.Header["trailer "+name] = values
	}
	_ = json.NewEncoder(w).Encode(r.Header)
}

// told returns what the application sees of a request with the fields and the
// trailers.
func told(t *testing.T, m *mesh, version int, header, trailer http.Header) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+m.Addr(0), io.MultiReader(strings.NewReader("content")))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	req.Trailer = trailer
	res, err := browser(t, version).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got := http.Header{}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", res.Status, err)
	}
	return got
}

// check wants the application to have been told of its client as always, once,
// and not what was claimed in a field of ours.
func check(t *testing.T, what string, got, honest http.Header) {
	t.Helper()
	for _, name := range []string{"X-Forwarded-Client-Cert", "X-Hallmark-Source"} {
		if !slices.Equal(got[name], honest[name]) {
			t.Errorf("%s: the application is told %q of %s, want %q", what, got[name], name, honest[name])
		}
	}
	for name, values := range got {
		if strings.Contains(strings.Join(values, " "), claim) {
			t.Errorf("%s: the application is told %s: %q", what, name, values)
		}
	}
}

// labels are the series that say who somebody is, of both sidecars, without their
// values, once both have counted so many requests.
func labels(t *testing.T, m *mesh, requests int) []string {
	t.Helper()
	const counter = "istio_requests_total"
	var all []string
	for _, s := range []*e2e.Sidecar{m.Inbound, m.Outbound} {
		e2e.Eventually(t, "every request is counted", func() error {
			if got := s.Sum(t, counter); got != float64(requests) {
				return fmt.Errorf("%v of %d", got, requests)
			}
			return nil
		})
		families, err := s.Scrape(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range families[counter].GetMetric() {
			var set []string
			for _, l := range one.GetLabel() {
				set = append(set, l.GetName()+"="+l.GetValue())
			}
			all = append(all, strings.Join(set, ","))
		}
	}
	slices.Sort(all)
	return all
}
