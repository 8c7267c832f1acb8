package announce

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// checkout is a peer with attributes of every provenance.
func checkout() *tlsctx.Peer {
	return &tlsctx.Peer{
		ID:          spiffeid.RequireFromString("spiffe://example.org/ns/shop/sa/checkout"),
		CipherSuite: tls.TLS_AES_128_GCM_SHA256,
		Attributes: tlsctx.Attributes{
			{Name: "cloud.region", Value: "eu", Provenance: tlsctx.Attested},
			{Name: "host.name", Value: "node-1", Provenance: tlsctx.Asserted},
			{Name: "k8s.namespace.name", Value: "shop", Provenance: tlsctx.Verified},
			{Name: "service.name", Value: "", Provenance: tlsctx.Asserted},
		},
		Certificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "checkout.shop"}}},
	}
}

var (
	source      = netip.MustParseAddrPort("192.0.2.1:40000")
	destination = netip.MustParseAddrPort("192.0.2.2:5432")
)

// parse formats a header and reads it again.
func parse(t *testing.T, h Header) (*proxyproto.Header, []proxyproto.TLV) {
	t.Helper()
	var b bytes.Buffer
	if _, err := h.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	b.WriteString("next")
	r := bufio.NewReader(&b)
	got, err := proxyproto.Read(r)
	if err != nil {
		t.Fatal(err)
	}
	if rest, _ := r.Peek(4); string(rest) != "next" {
		t.Errorf("%q follows the header", rest)
	}
	tlvs, err := got.TLVs()
	if err != nil {
		t.Fatal(err)
	}
	return got, tlvs
}

// value returns the value of the first TLV of a type, or "-".
func value(tlvs []proxyproto.TLV, kind proxyproto.PP2Type) string {
	for _, tlv := range tlvs {
		if tlv.Type == kind {
			return string(tlv.Value)
		}
	}
	return "-"
}

// told returns the attributes of a header as "provenance name=value".
func told(t *testing.T, tlvs []proxyproto.TLV) (attributes []string) {
	t.Helper()
	for _, tlv := range tlvs {
		if tlv.Type == TypeAttribute {
			name := 2 + int(tlv.Value[1])
			attributes = append(attributes, tlsctx.Provenance(tlv.Value[0]).String()+" "+string(tlv.Value[2:name])+"="+string(tlv.Value[name:]))
		}
	}
	return attributes
}

func TestHeader(t *testing.T) {
	got, tlvs := parse(t, Header{Source: source, Destination: destination, Peer: checkout(), Protocol: tlsctx.HTTP2, Authority: "db.example"})
	if !got.Command.IsProxy() || got.SourceAddr.String() != source.String() || got.DestinationAddr.String() != destination.String() {
		t.Errorf("%+v", got)
	}
	if value(tlvs, proxyproto.PP2_TYPE_ALPN) != "h2" || value(tlvs, proxyproto.PP2_TYPE_AUTHORITY) != "db.example" || value(tlvs, TypeSPIFFEID) != "spiffe://example.org/ns/shop/sa/checkout" {
		t.Errorf("%q", tlvs)
	}
	ssl, ok := tlvparse.FindSSL(tlvs)
	version, _ := ssl.SSLVersion()
	cipher, _ := ssl.SSLCipher()
	cn, _ := ssl.ClientCN()
	if !ok || !ssl.Verified() || !ssl.ClientSSL() || !ssl.ClientCertConn() || version != "TLSv1.3" || cipher != "TLS_AES_128_GCM_SHA256" || cn != "checkout.shop" {
		t.Errorf("%+v", ssl)
	}
	want := []string{"attested cloud.region=eu", "verified k8s.namespace.name=shop", "asserted host.name=node-1", "asserted service.name="}
	if got := told(t, tlvs); !slices.Equal(got, want) {
		t.Errorf("attributes %q, want %q", got, want)
	}
}

func TestAddresses(t *testing.T) {
	v6 := netip.MustParseAddrPort("[2001:db8::1]:1")
	for name, c := range map[string]struct {
		source, destination netip.AddrPort
		family              proxyproto.AddressFamilyAndProtocol
		want                string
	}{
		"IPv4":    {source, destination, proxyproto.TCPv4, source.String()},
		"IPv6":    {v6, v6, proxyproto.TCPv6, v6.String()},
		"mixed":   {source, v6, proxyproto.TCPv6, source.String()},
		"unknown": {netip.AddrPort{}, destination, proxyproto.TCPv4, "0.0.0.0:0"},
	} {
		got, tlvs := parse(t, Header{Source: c.source, Destination: c.destination, Peer: checkout()})
		if got.TransportProtocol != c.family || !got.Command.IsProxy() || value(tlvs, TypeSPIFFEID) == "-" {
			t.Errorf("%s: %+v", name, got)
		}
		if got.SourceAddr.String() != c.want {
			t.Errorf("%s: source %s", name, got.SourceAddr)
		}
	}
}

func TestNothingIsSaidOfPlaintext(t *testing.T) {
	for _, peer := range []*tlsctx.Peer{nil, {Attributes: checkout().Attributes, CipherSuite: 1}} {
		if _, tlvs := parse(t, Header{Source: source, Destination: destination, Peer: peer, Protocol: tlsctx.Redis}); len(tlvs) > 0 {
			t.Errorf("%q", tlvs)
		}
	}
}

func TestLeast(t *testing.T) {
	_, tlvs := parse(t, Header{Source: source, Destination: destination, Peer: checkout(), Least: tlsctx.Verified})
	if got := told(t, tlvs); len(got) != 2 || strings.HasPrefix(got[1], "asserted") {
		t.Errorf("%q", got)
	}
}

// TestAttributesThatFit has a peer assert more than a header holds.
func TestAttributesThatFit(t *testing.T) {
	peer := checkout()
	for i := range 100 {
		peer.Attributes = append(peer.Attributes, tlsctx.Attribute{Name: "x" + strings.Repeat("y", i%60), Value: strings.Repeat("z", 100), Provenance: tlsctx.Asserted})
	}
	peer.Attributes = append(peer.Attributes, tlsctx.Attribute{Name: "zone", Value: "last", Provenance: tlsctx.Attested})
	h := Header{Source: source, Destination: destination, Peer: peer}
	b, err := h.Format()
	if err != nil || len(b) > MaxHeader || len(b) < MaxHeader-300 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	_, tlvs := parse(t, h)
	if got := told(t, tlvs); !slices.Contains(got, "attested zone=last") {
		t.Errorf("an attested attribute was left off for asserted ones: %q", got)
	}
}

func TestOddCommonNamesAreLeftOff(t *testing.T) {
	for _, cn := range []string{"", "a\nb", "\x1b[31m", "bad\xff", strings.Repeat("x", 300)} {
		peer := checkout()
		peer.Certificates[0].Subject.CommonName = cn
		_, tlvs := parse(t, Header{Source: source, Destination: destination, Peer: peer})
		ssl, _ := tlvparse.FindSSL(tlvs)
		if got, ok := ssl.ClientCN(); ok {
			t.Errorf("%q was told as %q", cn, got)
		}
	}
}

func TestWhatDoesNotFitIsAnError(t *testing.T) {
	if _, err := (Header{Authority: strings.Repeat("a", MaxHeader)}).Format(); err == nil {
		t.Error("no error")
	}
	broken := errors.New("broken")
	if _, err := (Header{Source: source, Destination: destination}).WriteTo(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
