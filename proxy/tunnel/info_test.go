package tunnel

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestInfoOfOddRequests: what is no address and no trace context is as good as
// none.
func TestInfoOfOddRequests(t *testing.T) {
	for value, want := range map[string]netip.AddrPort{
		`for="192.0.2.1:80"`:              netip.MustParseAddrPort("192.0.2.1:80"),
		`for="[2001:db8::1]:80"`:          netip.MustParseAddrPort("[2001:db8::1]:80"),
		`for=192.0.2.1`:                   {},
		`for="192.0.2.1"`:                 {},
		`for="192.0.2.1:80", for="x"`:     {},
		`for="192.0.2.1:80";by="x"`:       {},
		`for="_hidden"`:                   {},
		`for="[fe80::1%eth0]:80"`:         {},
		`for="192.0.2.1:99999"`:           {},
		strings.Repeat(`for="`, 1000):     {},
		"":                                {},
		`For="192.0.2.1:80"`:              {},
		`for="192.0.2.1:80" for="1.1.1.1`: {},
	} {
		in := parseInfo(&h2.Headers{Authority: "a", Fields: []h2.Field{{Name: "forwarded", Value: value}, {Name: "traceparent", Value: value}}})
		if in.Client != want || !in.Trace.IsZero() || in.Authority != "a" {
			t.Errorf("%.60q: got %+v", value, in)
		}
	}
}

// FuzzInfo: what was parsed is written as it was read, and a reason is fit for a
// label.
func FuzzInfo(f *testing.F) {
	f.Add(`for="192.0.2.1:80"`, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "hallmark; error=connection_refused")
	f.Add(`for="[2001:db8::1]:80"`, "00-", "other; error=dns_error; details=x")
	f.Add(`for="[::ffff:192.0.2.1]:080"`, "", `; error="quoted"`)
	f.Fuzz(func(t *testing.T, forwarded, traceparent, status string) {
		in := parseInfo(&h2.Headers{Authority: "a", Fields: []h2.Field{{Name: fieldForwarded, Value: forwarded}, {Name: fieldTraceparent, Value: traceparent}}})
		again := parseInfo(in.headers())
		if again != in {
			t.Errorf("%+v came back as %+v", in, again)
		}
		if in.Trace != (tlsctx.Traceparent{}) && in.Trace.String() != traceparent {
			t.Errorf("%q was read as %q", traceparent, in.Trace)
		}
		reason := parseRefused(&h2.Headers{Status: 503, Fields: []h2.Field{{Name: fieldProxyStatus, Value: status}}}).Reason
		if len(reason) > 64 || strings.Trim(reason, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("reason %q", reason)
		}
	})
}
