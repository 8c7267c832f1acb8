package tap

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestFilters says of each whether it takes the request and the connection of the
// fixture.
func TestFilters(t *testing.T) {
	for query, want := range map[string][2]bool{
		"":                                     {true, true},
		"direction=inbound":                    {true, false},
		"direction=outbound":                   {false, true},
		"direction=outbound&direction=inbound": {true, true},
		"kind=request":                         {true, false},
		"kind=connection":                      {false, true},

		"peer=spiffe://example.org/ns/shop/sa/web":        {true, false},
		"peer=spiffe://example.org/ns/shop/sa/we":         {false, false},
		"peer=spiffe://example.org/ns/shop/sa/we*":        {true, false},
		"source=spiffe://example.org/ns/shop/sa/web":      {true, true},
		"destination=spiffe://example.org/ns/shop/sa/web": {false, false},
		"destination=spiffe://example.org/ns/shop/*":      {true, true},
		"peer=spiffe://example.org":                       {true, true},
		"peer=spiffe://other.example":                     {false, false},
		"peer=spiffe://example.org/*":                     {true, true},
		"peer=plaintext":                                  {false, false},
		"peer=plaintext&peer=spiffe://example.org":        {true, true},
		"attribute=k8s.namespace.name=shop":               {true, false},
		"attribute=k8s.namespace.name=*":                  {true, false},
		"attribute=k8s.namespace.name=s*p":                {true, false},
		"attribute=k8s.namespace.name=sho":                {false, false},
		"attribute=verified:k8s.namespace.name=shop":      {true, false},
		"attribute=attested:k8s.namespace.name=shop":      {false, false},
		"attribute=verified:service.version=*":            {false, false},
		"attribute=asserted:service.version=2.1*":         {true, false},
		"attribute=k8s.namespace.name=shop&attribute=a=b": {false, false},

		"service=orders.shop.svc": {true, false},
		"service=orders.*":        {true, false},
		"service=pg":              {false, true},

		"method=GET":              {true, false},
		"method=get":              {true, false},
		"method=POST":             {false, false},
		"method=POST&method=GET":  {true, false},
		"path=/api/orders/7":      {true, false},
		"path=/api/orders":        {false, false},
		"path=/api/*":             {true, false},
		"path=*/7":                {true, false},
		"path=/*/orders/*":        {true, false},
		"path=/api*/*secret":      {false, false}, // the query is no part of it
		"path=*":                  {true, false},
		"status=200":              {true, false},
		"status=2xx":              {true, false},
		"status=2XX&status=404":   {true, false},
		"status=5xx":              {false, false},
		"status=0":                {false, false},
		"grpcStatus=0":            {false, false}, // it is none of gRPC's
		"protocol=http1":          {true, false},
		"protocol=HTTP":           {true, false},
		"protocol=tcp":            {false, true},
		"protocol=postgres":       {false, true},
		"protocol=grpc":           {false, false},
		"failed=true":             {false, true},
		"failed=false":            {true, true},
		"slowerThan=1ms":          {true, true},
		"slowerThan=1500us":       {false, true},
		"slowerThan=2m":           {false, false},
		"sample=1&limit=0&rate=0": {true, true},
	} {
		f := parsed(t, query)
		if got := [2]bool{f.request(get()), f.connection(connection())}; got != want {
			t.Errorf("%s takes %v, want %v", query, got, want)
		}
	}
}

func parsed(t *testing.T, query string) *Filter {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ParseFilter(values)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return f
}

// TestFiltersOfGRPC is about requests that have a status of their own.
func TestFiltersOfGRPC(t *testing.T) {
	e := get()
	e.IsGRPC, e.GRPC, e.Protocol = true, 14, tlsctx.HTTP2
	for query, want := range map[string]bool{
		"grpcStatus=14": true, "grpcStatus=unavailable": true, "grpcStatus=0": false, "protocol=grpc": true, "protocol=h2": false,
		"protocol=http": true, "failed=true": true,
	} {
		if got := parsed(t, query).request(e); got != want {
			t.Errorf("%s: %v", query, got)
		}
	}
}

// TestFiltersOfNobody is about peers without an identity, and those not reached.
func TestFiltersOfNobody(t *testing.T) {
	plain, nobody := get(), get()
	plain.Peer, nobody.Peer = &tlsctx.Peer{}, nil
	for query, want := range map[string][2]bool{
		"peer=plaintext":      {true, false},
		"peer=spiffe://a.b/*": {false, false}, "peer=spiffe://a.b": {false, false}, "attribute=a=*": {false, false}, "": {true, true},
	} {
		f := parsed(t, query)
		if got := [2]bool{f.request(plain), f.request(nobody)}; got != want {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	opened := connection()
	opened.Outcome = metrics.Outcome{}
	opened.Duration = time.Hour
	if parsed(t, "slowerThan=1s").connection(opened) || parsed(t, "failed=true").connection(opened) {
		t.Error("a connection that has just opened is slow, or has failed")
	}
}

func TestFilterProblems(t *testing.T) {
	for query, want := range map[string]string{
		"colour=red":                        "no such filter",
		"direction=up":                      "want one of",
		"kind=x":                            "want one of",
		"peer=web":                          "want a SPIFFE ID",
		"peer=":                             "want a SPIFFE ID",
		"peer=*":                            "want a trust domain before",
		"peer=spiffe://*":                   "want a trust domain before",
		"peer=spiffe://example*":            "want a trust domain before",
		"peer=spiffe://a.b/*/c*":            "want a trust domain before",
		"attribute=x":                       "want NAME=VALUE",
		"attribute=X=1":                     "attribute",
		"attribute=believed:a=1":            "want attested, verified or asserted",
		"service=":                          "is empty",
		"method=":                           "is empty",
		"path=x":                            "neither / nor *",
		"path=/x?y":                         "query",
		"path=":                             "is empty",
		"status=600":                        "want a code",
		"status=6xx":                        "want a code",
		"status=xx":                         "want a code",
		"status=-1":                         "want a code",
		"grpcStatus=FINE":                   "want a number",
		"failed=perhaps":                    "true or false",
		"slowerThan=fast":                   "a duration",
		"sample=-1":                         "a number",
		"limit=x":                           "a number",
		"rate=-1":                           "a number",
		"limit=1&limit=2":                   "once",
		"%1b[31m=x":                         `"\x1b[31m"`,
		strings.Repeat("kind=request&", 33): "at most 32",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseFilter(values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", query, err, want)
		}
	}
}

// FuzzFilter has anybody ask for anything: it is taken or refused with a line that
// is fit for a terminal, and what is taken can be asked.
func FuzzFilter(f *testing.F) {
	for _, query := range []string{
		"", "peer=spiffe://example.org/ns/*", "attribute=attested:a.b=*x*", "path=/a*b*c&status=5xx&method=GET", "path=***",
		"slowerThan=1h&sample=2&limit=3&rate=4", "%00=%ff", "status=4xx&grpcStatus=UNAVAILABLE", "peer=plaintext&failed=true",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		filter, err := ParseFilter(values)
		if err != nil {
			if text := err.Error(); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Fatalf("%q: %q", query, text)
			}
			return
		}
		e := get()
		took := filter.request(e)
		e.Path += "&more"
		if filter.request(e) != took {
			t.Errorf("%q looks at the query", query)
		}
		filter.connection(connection())
	})
}
