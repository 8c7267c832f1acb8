package tlsctx

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
)

// The tables that the test vectors are written from.

func date(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }

func authorityVector(name, issuer string, uris ...string) certificateVector {
	return certificateVector{
		Name: name, Issuer: issuer, Subject: name, CA: true, KeyUsage: []string{"keyCertSign", "cRLSign"}, URIs: uris,
		NotBefore: date(2026), NotAfter: date(2046),
	}
}

func leafVector(name, issuer string, uris ...string) certificateVector {
	return certificateVector{
		Name: name, Issuer: issuer, Subject: "workload", KeyUsage: []string{"digitalSignature"}, URIs: uris,
		NotBefore: date(2026), NotAfter: date(2036),
	}
}

// with is c after change.
func (v certificateVector) with(change func(*certificateVector)) certificateVector {
	change(&v)
	return v
}

func (v certificateVector) extended(e extensionVector) certificateVector {
	v.Extensions = []extensionVector{e}
	return v
}

const webID = "spiffe://example.org/ns/shop/sa/web"

// certificateVectors returns the whole public key infrastructure.
func certificateVectors() []certificateVector {
	attested := func(name, value string) extensionVector {
		return extensionVector{OID: oidAttested.String(), Attested: map[string]string{name: value}}
	}
	critical := attested("cloud.availability_zone", "eu-west-1a")
	critical.Critical = true
	leafless := valueFields{
		magic: tlv(tagUTF8String, []byte(extensionMagic)), version: tlv(tagInteger, []byte{1}), attributes: seq(),
	}
	digested := leafless
	digested.digest = tlv(tagContext0, make([]byte, 32))
	targeted := leafless
	targeted.target = tlv(tagContext1, []byte("db"))
	all := []certificateVector{
		authorityVector("root", "root", "spiffe://example.org"),
		authorityVector("other", "other", "spiffe://other.net"),
		authorityVector("intermediate-1", "root"),
		authorityVector("intermediate-2", "intermediate-1"),
		authorityVector("intermediate-attests", "root").extended(attested("host.name", "h1")),
		authorityVector("impostor", "impostor").with(func(v *certificateVector) { v.Subject = "root" }),
		leafVector("web", "root", webID),
		leafVector("deep", "intermediate-2", webID),
		leafVector("below-attesting", "intermediate-attests", webID),
		leafVector("vm", "root", "spiffe://example.org/vm/h1"),
		leafVector("rotated", "root", webID).with(func(v *certificateVector) { v.NotBefore = date(2027) }),
		leafVector("attested", "root", webID).extended(attested("cloud.availability_zone", "eu-west-1a")),
		leafVector("attested-against-id", "root", webID).extended(attested("k8s.namespace.name", "admin")),
		leafVector("attested-critical", "root", webID).extended(critical),
		leafVector("attested-malformed", "root", webID).extended(extensionVector{OID: oidAttested.String(), Value: []byte{0x30, 0x00}}),
		leafVector("attested-with-digest", "root", webID).extended(extensionVector{OID: oidAttested.String(), Value: digested.encode()}),
		leafVector("attested-with-target", "root", webID).extended(extensionVector{OID: oidAttested.String(), Value: targeted.encode()}),
		leafVector("context-in-leaf", "root", webID).extended(extensionVector{OID: oidContext.String(), Value: digested.encode()}),
		leafVector("foreign", "other", "spiffe://other.net/ns/shop/sa/web"),
		leafVector("foreign-claims-ours", "other", webID),
		leafVector("ours-claims-foreign", "root", "spiffe://other.net/ns/shop/sa/web"),
		leafVector("unknown-domain", "root", "spiffe://nobody.example/x"),
		leafVector("signed-by-leaf", "workload", webID).with(func(v *certificateVector) { v.SignedBy = "web" }),
		leafVector("signed-by-impostor", "root", webID).with(func(v *certificateVector) { v.SignedBy = "impostor" }),
		leafVector("no-uri", "root"),
		leafVector("two-uris", "root", webID, "spiffe://example.org/other"),
		leafVector("web-uri", "root", "https://example.org/"),
		leafVector("bad-path", "root", "spiffe://example.org/a/../b"),
		leafVector("ca-leaf", "root", webID).with(func(v *certificateVector) { v.CA = true }),
		leafVector("signing-leaf", "root", webID).with(func(v *certificateVector) { v.KeyUsage = append(v.KeyUsage, "keyCertSign") }),
		leafVector("crl-leaf", "root", webID).with(func(v *certificateVector) { v.KeyUsage = append(v.KeyUsage, "cRLSign") }),
		leafVector("no-signature-usage", "root", webID).with(func(v *certificateVector) { v.KeyUsage = []string{"keyEncipherment"} }),
		leafVector("expired", "root", webID).with(func(v *certificateVector) { v.NotBefore, v.NotAfter = date(2026), date(2027) }),
		leafVector("not-yet-valid", "root", webID).with(func(v *certificateVector) { v.NotBefore = date(2035) }),
	}
	for i := range all {
		all[i].Serial = int64(i + 1)
	}
	return all
}

// contextVectors returns what is right, and every forgery, beside their leaf.
func contextVectors(tb testing.TB, leaves map[string]*x509.Certificate) []contextVector {
	tb.Helper()
	full := contextFields{
		Attributes: map[string]string{"k8s.pod.name": "web-0", "service.version": "1.2.3"}, Target: "orders-db",
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	many, long := map[string]string{}, map[string]string{}
	for i := range identity.MaxAttributes {
		many[fmt.Sprintf("a%02d", i)] = "x"
	}
	for i := range 12 {
		long[fmt.Sprintf("a%02d", i)] = strings.Repeat("x", identity.MaxAttributeValue)
	}
	all := []contextVector{
		{Name: "empty", Leaf: "web"},
		{Name: "full", Leaf: "web", Context: full},
		{Name: "target", Leaf: "web", Context: contextFields{Target: "~!db.internal:5432"}},
		{Name: "target-longest", Leaf: "web", Context: contextFields{Target: strings.Repeat("t", MaxTarget)}},
		{Name: "trace", Leaf: "web", Context: contextFields{Traceparent: "00-00000000000000000000000000000001-0000000000000001-ff"}},
		{Name: "unicode", Leaf: "web", Context: contextFields{Attributes: map[string]string{"host.name": "café 日本 №1"}}},
		{Name: "attributes-64", Leaf: "web", Context: contextFields{Attributes: many}},
		{Name: "attributes-long", Leaf: "web", Context: contextFields{Attributes: long}},
		{Name: "names", Leaf: "web", Context: contextFields{Attributes: map[string]string{"a": "1", "a.0": "2", "a_b.c_1.2": "3", strings.Repeat("a", 63): "4"}}},
		{Name: "namespace", Leaf: "web", Context: contextFields{Attributes: map[string]string{"k8s.namespace.name": "shop"}}},
		{Name: "namespace-wrong", Leaf: "web", Context: contextFields{Attributes: map[string]string{"k8s.namespace.name": "admin"}}},
		{Name: "beside-deep", Leaf: "deep", Context: full},
		{Name: "beside-below-attesting", Leaf: "below-attesting", Context: full},
		{Name: "beside-vm-namespace", Leaf: "vm", Context: contextFields{Attributes: map[string]string{"k8s.namespace.name": "shop"}}},
		{Name: "beside-attested", Leaf: "attested", Context: contextFields{Attributes: map[string]string{"cloud.availability_zone": "eu-west-1a", "host.name": "h1"}}},
		{Name: "beside-attested-wrong", Leaf: "attested", Context: contextFields{Attributes: map[string]string{"cloud.availability_zone": "us-east-1a"}}},
		{Name: "beside-rotated", Leaf: "rotated", Context: full},
		{Name: "beside-foreign", Leaf: "foreign", Context: full},
		{Name: "beside-context-in-leaf", Leaf: "context-in-leaf"},
	}
	for _, f := range slices.Concat([]forgery{selfSigned, reordered}, forgeries) {
		all = append(all, contextVector{Name: f.name, Leaf: "web", Context: full, Reason: f.reason, Instead: f.differences(leaves["web"])})
	}
	return all
}

// selfSigned and reordered are right, and not as Mint makes them.
var (
	selfSigned = forgery{"signed", onProfile(func(p *profileFields) {
		p.algorithm = seq(tlv(0x06, []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2})) // ecdsa-with-SHA256
		p.signature = append([]byte{0}, seq([]byte{2, 1, 1}, []byte{2, 1, 1})...)
	}), ""}
	reordered = forgery{"extensions-reordered", onProfile(func(p *profileFields) { slices.Reverse(p.extensions) }), ""}
)

// differences are the fields in which a forgery is not as it should be.
func (f forgery) differences(leaf *x509.Certificate) map[string]hexBytes {
	right, spoilt := contextFieldsOf(leaf), contextFieldsOf(leaf)
	if f.spoil.value != nil {
		f.spoil.value(&spoilt)
	}
	good, bad := profileOf(leaf, spoilt.encode()), profileOf(leaf, spoilt.encode())
	if f.spoil.profile != nil {
		f.spoil.profile(&bad)
	}
	differ := map[string]hexBytes{}
	rightValue, goodAround := places(&right, &good)
	spoiltValue, badAround := places(&spoilt, &bad)
	if raw := bad.encodedExtensions(); !bytes.Equal(raw, good.encodedExtensions()) {
		bad.rawExtensions = raw
		bad.serial = contextSerial(bad.digest, bad.value())
	}
	for name, place := range rightValue {
		if !bytes.Equal(*place, *spoiltValue[name]) {
			differ[name] = *spoiltValue[name]
		}
	}
	for name, place := range goodAround {
		if !bytes.Equal(*place, *badAround[name]) {
			differ[name] = *badAround[name]
		}
	}
	return differ
}

var kubernetesVector = map[string][]string{"example.org": {"/ns/{k8s.namespace.name}/sa/{k8s.service_account.name}"}}

// implied are the attributes that webID implies by that template.
var implied = []attributeVector{{"k8s.namespace.name", "shop", "verified"}, {"k8s.service_account.name", "web", "verified"}}

func acceptedHandshakes() []handshakeVector {
	const web = "certificates/web.der"
	stated := []attributeVector{{"k8s.pod.name", "web-0", "asserted"}, {"service.version", "1.2.3", "asserted"}}
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	full := func(attributes []attributeVector, path ...string) *acceptedVector {
		return &acceptedVector{webID, true, Raw, PostgreSQL, attributes, "orders-db", trace, path}
	}
	all := slices.Concat(implied[:1], stated[:1], implied[1:], stated[1:]) // sorted by name
	const deep, lower, upper, root, other = "certificates/deep.der", "certificates/intermediate-2.der", "certificates/intermediate-1.der", "certificates/root.der", "certificates/other.der"
	const postgres = "hallmark/1/raw/postgres"
	zone := attributeVector{"cloud.availability_zone", "eu-west-1a", "attested"}
	return []handshakeVector{
		{Name: "unaware", Certificates: []string{web}, Accepted: &acceptedVector{ID: webID, Session: Raw, Detected: Unknown, Path: []string{web}}},
		{Name: "unaware-h2", ALPN: "h2", Certificates: []string{web}, Accepted: &acceptedVector{ID: webID, Session: H2, Detected: HTTP2, Path: []string{web}}},
		{Name: "unaware-http1", ALPN: "http/1.1", Certificates: []string{web}, Accepted: &acceptedVector{ID: webID, Session: Raw, Detected: HTTP1, Path: []string{web}}},
		{Name: "unaware-later-version", ALPN: "hallmark/2/raw/redis", Certificates: []string{web}, Accepted: &acceptedVector{ID: webID, Session: Raw, Detected: Unknown, Path: []string{web}}},
		{Name: "unaware-template", Certificates: []string{web}, Templates: kubernetesVector, Accepted: &acceptedVector{ID: webID, Session: Raw, Detected: Unknown, Attributes: implied, Path: []string{web}}},
		{Name: "empty-context", ALPN: rawUnknown, Certificates: []string{web, "contexts/empty.der"}, Accepted: &acceptedVector{ID: webID, Aware: true, Session: Raw, Detected: Unknown, Path: []string{web}}},
		{Name: "full-context", ALPN: postgres, Certificates: []string{web, "contexts/full.der"}, Accepted: full(stated, web)},
		{Name: "full-context-template", ALPN: postgres, Certificates: []string{web, "contexts/full.der"}, Templates: kubernetesVector, Accepted: full(all, web)},
		{Name: "template-restated", ALPN: rawUnknown, Certificates: []string{web, "contexts/namespace.der"}, Templates: kubernetesVector, Accepted: &acceptedVector{ID: webID, Aware: true, Session: Raw, Detected: Unknown, Attributes: implied, Path: []string{web}}},
		{Name: "open-set", ALPN: "hallmark/1/quic-9/x_proto-2", Certificates: []string{web, "contexts/empty.der"}, Accepted: &acceptedVector{ID: webID, Aware: true, Session: "quic-9", Detected: "x_proto-2", Path: []string{web}}},
		{Name: "intermediates", ALPN: postgres, Certificates: []string{deep, lower, upper, "contexts/beside-deep.der"}, Accepted: full(stated, deep, lower, upper)},
		{Name: "extraneous-certificates", ALPN: postgres, Certificates: []string{deep, other, lower, upper, root, "contexts/beside-deep.der"}, Accepted: full(stated, deep, lower, upper, root)},
		{Name: "attested-believed", ALPN: rawUnknown, Attested: []string{"example.org"}, Certificates: []string{"certificates/attested.der", "contexts/beside-attested.der"}, Accepted: &acceptedVector{
			ID: webID, Aware: true, Session: Raw, Detected: Unknown, Attributes: []attributeVector{zone, {"host.name", "h1", "asserted"}}, Path: []string{"certificates/attested.der"},
		}},
		{Name: "attested-not-believed", ALPN: rawUnknown, Certificates: []string{"certificates/attested.der", "contexts/beside-attested.der"}, Accepted: &acceptedVector{
			ID: webID, Aware: true, Session: Raw, Detected: Unknown, Attributes: []attributeVector{{zone.Name, zone.Value, "asserted"}, {"host.name", "h1", "asserted"}}, Path: []string{"certificates/attested.der"},
		}},
	}
}

func refusedHandshakes() []handshakeVector {
	var all []handshakeVector
	add := func(name string, reason Reason, alpn string, certs ...string) *handshakeVector {
		v := handshakeVector{Name: name, Reason: reason, ALPN: alpn}
		for _, c := range certs {
			if !strings.Contains(c, "/") {
				c = "certificates/" + c
			}
			v.Certificates = append(v.Certificates, c+".der")
		}
		all = append(all, v)
		return &all[len(all)-1]
	}
	add("tls-1.2", ProtocolFailure, "", "web").TLS = "1.2"
	add("resumed", ProtocolFailure, "", "web").Resumed = true
	add("no-certificate", InvalidSVID, "")
	add("seven-certificates", TooLarge, "", "deep", "intermediate-2", "intermediate-1", "root", "root", "root", "root")
	add("context-too-large", TooLarge, rawUnknown, "web", "contexts/profile-too-large")
	add("malformed-token", MalformedALPN, "hallmark/1/raw/no token", "web", "contexts/empty")
	add("no-context", MissingContext, rawUnknown, "web")
	add("no-context-with-chain", MissingContext, rawUnknown, "deep", "intermediate-2", "intermediate-1")
	add("context-unasked-for", UnexpectedContext, "", "web", "contexts/full")
	add("context-unasked-for-by-h2", UnexpectedContext, "h2", "web", "contexts/full")
	add("context-for-a-later-version", UnexpectedContext, "hallmark/2/raw/redis", "web", "contexts/full")
	add("context-twice", UnexpectedContext, rawUnknown, "web", "contexts/full", "contexts/full")
	add("two-contexts", UnexpectedContext, rawUnknown, "web", "contexts/full", "contexts/empty")
	add("context-not-last", UnexpectedContext, rawUnknown, "deep", "contexts/beside-deep", "intermediate-2", "intermediate-1")
	add("context-first", UnexpectedContext, rawUnknown, "contexts/full", "web")
	add("context-alone", UnexpectedContext, rawUnknown, "contexts/full")
	add("context-in-leaf", UnexpectedContext, "", "context-in-leaf")
	add("context-in-leaf-and-last", UnexpectedContext, rawUnknown, "context-in-leaf", "contexts/beside-context-in-leaf")
	add("attested-in-intermediate", UnexpectedContext, rawUnknown, "below-attesting", "intermediate-attests", "contexts/beside-below-attesting")
	add("attested-critical", Untrusted, "", "attested-critical")
	add("attested-malformed", MalformedContext, "", "attested-malformed")
	add("attested-with-digest", MalformedContext, "", "attested-with-digest")
	add("attested-with-target", MalformedContext, "", "attested-with-target")
	add("context-copied", ContradictingContext, rawUnknown, "vm", "contexts/full")
	add("context-stale", ContradictingContext, rawUnknown, "rotated", "contexts/full").Time = date(2030)
	add("context-against-id", ContradictingContext, rawUnknown, "web", "contexts/namespace-wrong").Templates = kubernetesVector
	add("context-claims-template", ContradictingContext, rawUnknown, "vm", "contexts/beside-vm-namespace").Templates = kubernetesVector
	add("context-against-attested", ContradictingContext, rawUnknown, "attested", "contexts/beside-attested-wrong").Attested = []string{"example.org"}
	v := add("attested-against-id", ContradictingContext, "", "attested-against-id")
	v.Templates, v.Attested = kubernetesVector, []string{"example.org"}
	for _, leaf := range []string{"no-uri", "two-uris", "web-uri", "bad-path", "ca-leaf", "signing-leaf", "crl-leaf", "no-signature-usage"} {
		add(leaf, InvalidSVID, "", leaf)
	}
	add("unknown-domain", Untrusted, "", "unknown-domain")
	add("foreign-claims-ours", Untrusted, "", "foreign-claims-ours")
	add("ours-claims-foreign", Untrusted, "", "ours-claims-foreign")
	add("signed-by-leaf", Untrusted, "", "signed-by-leaf", "web")
	add("signed-by-impostor", Untrusted, "", "signed-by-impostor", "impostor")
	add("no-intermediate", Untrusted, "", "deep", "intermediate-1")
	add("intermediates-in-disorder", Untrusted, "", "deep", "intermediate-1", "intermediate-2")
	add("expired", Expired, "", "expired")
	add("not-yet-valid", Expired, "", "not-yet-valid")
	add("foreign", Unauthorized, rawUnknown, "foreign", "contexts/beside-foreign")
	return all
}

func alpnVectors() []alpnVector {
	any64 := slices.Repeat([]string{"x"}, maxOffered)
	return []alpnVector{
		{Name: "nothing", Sessions: []Session{Raw}},
		{Name: "nothing-required", Sessions: []Session{Raw}, Require: true, Reason: NoALPN},
		{Name: "token", Offered: []string{"hallmark/1/raw/redis"}, Sessions: []Session{Raw}, Selected: "hallmark/1/raw/redis"},
		{Name: "server-order", Offered: []string{"hallmark/1/raw/redis", "hallmark/1/mux/redis"}, Sessions: []Session{Mux, Raw}, Selected: "hallmark/1/mux/redis"},
		{Name: "open-set", Offered: []string{"hallmark/1/later/a-b_9"}, Sessions: []Session{"later"}, Selected: "hallmark/1/later/a-b_9"},
		{Name: "token-before-registered", Offered: []string{"h2", "hallmark/1/h2/h2"}, Sessions: []Session{H2}, Registered: []string{"h2"}, Selected: "hallmark/1/h2/h2"},
		{Name: "registered", Offered: []string{"hallmark/1/mux/h2", "h2"}, Sessions: []Session{Raw}, Registered: []string{"h2"}, Selected: "h2"},
		{Name: "registered-not-enough", Offered: []string{"h2"}, Sessions: []Session{Raw}, Registered: []string{"h2"}, Require: true, Reason: NoOverlap},
		{Name: "later-version", Offered: []string{"hallmark/2/raw/!", "hallmark/1/raw/redis"}, Sessions: []Session{Raw}, Selected: "hallmark/1/raw/redis"},
		{Name: "later-version-alone", Offered: []string{"hallmark/2/raw/redis"}, Sessions: []Session{Raw}, Reason: NoOverlap},
		{Name: "no-session-in-common", Offered: []string{"hallmark/1/mux/redis"}, Sessions: []Session{Raw}, Reason: NoOverlap},
		{Name: "unknown-identifier", Offered: []string{"spdy/1"}, Sessions: []Session{Raw}, Registered: []string{"h2"}, Reason: NoOverlap},
		{Name: "two-detected", Offered: []string{"hallmark/1/raw/redis", "hallmark/1/mux/mysql"}, Sessions: []Session{Raw}, Reason: MalformedALPN},
		{Name: "three-parts", Offered: []string{"hallmark/1/raw"}, Sessions: []Session{Raw}, Reason: MalformedALPN},
		{Name: "five-parts", Offered: []string{"hallmark/1/raw/redis/x"}, Sessions: []Session{Raw}, Reason: MalformedALPN},
		{Name: "upper-case", Offered: []string{"hallmark/1/raw/Redis"}, Sessions: []Session{Raw}, Reason: MalformedALPN},
		{Name: "control-character", Offered: []string{"hallmark/1/raw/red\u001bis"}, Sessions: []Session{Raw}, Reason: MalformedALPN},
		{Name: "33-bytes", Offered: []string{"hallmark/1/raw/" + strings.Repeat("a", maxProtocol+1)}, Sessions: []Session{Raw}, Reason: MalformedALPN},
		{Name: "32-bytes", Offered: []string{"hallmark/1/raw/" + strings.Repeat("a", maxProtocol)}, Sessions: []Session{Raw}, Selected: "hallmark/1/raw/" + strings.Repeat("a", maxProtocol)},
		{Name: "64-identifiers", Offered: append(any64[1:], "hallmark/1/raw/redis"), Sessions: []Session{Raw}, Selected: "hallmark/1/raw/redis"},
		{Name: "65-identifiers", Offered: append(any64[:maxOffered:maxOffered], "hallmark/1/raw/redis"), Sessions: []Session{Raw}, Reason: TooLarge},
		{Name: "4097-bytes", Offered: append(slices.Repeat([]string{strings.Repeat("x", 128)}, 32), "x"), Sessions: []Session{Raw}, Reason: TooLarge},
	}
}

func templateVectors() []templateVector {
	const kubernetes = "/ns/{k8s.namespace.name}/sa/{k8s.service_account.name}"
	all := []templateVector{
		{Template: kubernetes, ID: webID, Matches: true, Derived: map[string]string{"k8s.namespace.name": "shop", "k8s.service_account.name": "web"}},
		{Template: kubernetes, ID: webID + "/pod"},
		{Template: kubernetes, ID: "spiffe://example.org/ns/shop/sa"},
		{Template: kubernetes, ID: "spiffe://example.org/x/ns/shop/sa/web"},
		{Template: kubernetes, ID: "spiffe://example.org/NS/shop/sa/web"},
		{Template: kubernetes, ID: "spiffe://example.org"},
		{Template: "/{host.name}", ID: "spiffe://example.org/" + strings.Repeat("h", 255), Matches: true, Derived: map[string]string{"host.name": strings.Repeat("h", 255)}},
		{Template: "/{host.name}", ID: "spiffe://example.org/" + strings.Repeat("h", 256)},
	}
	for _, text := range []string{"", "/", "ns/{a}", "/ns", "/{a}/", "//{a}", "/x{a}", "/{a}x", "/{A}", "/{}", "/{a}/{a}", "/../{a}", "/*/{a}", "/a b/{c}"} {
		all = append(all, templateVector{Template: text, Malformed: true})
	}
	return all
}

func traceparentVectors() []traceparentVector {
	const ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
	all := []traceparentVector{
		{Text: "00-" + ids + "-01", Encoded: exampleTrace[:]},
		{Text: "00-" + ids + "-00", Encoded: append(exampleTrace[:24:24], 0)},
		{Text: "00-" + ids + "-ff", Encoded: append(exampleTrace[:24:24], 0xff)},
	}
	for _, text := range []string{
		"", "00-" + ids, "00-" + ids + "-1", "01-" + ids + "-01", "ff-" + ids + "-01", "00-" + ids + "-01-x",
		"00-" + strings.ToUpper(ids) + "-01", "00_" + ids + "-01", "00-" + ids + "-0g",
		"00-00000000000000000000000000000000-0000000000000000-00",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
	} {
		all = append(all, traceparentVector{Text: text})
	}
	return all
}

// makeVectors returns every file of the directory by its name, but the README.
func makeVectors(tb testing.TB) map[string][]byte {
	tb.Helper()
	files := map[string][]byte{}
	addJSON := func(name string, all any) {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(all); err != nil {
			tb.Fatal(err)
		}
		files[name] = b.Bytes()
	}
	certificates := certificateVectors()
	leaves := map[string]*x509.Certificate{}
	for _, v := range certificates {
		der := v.derive(tb)
		leaves[v.Name] = mustParse(tb, der)
		files["certificates/"+v.Name+".der"] = der
	}
	contexts := contextVectors(tb, leaves)
	for _, v := range contexts {
		files["contexts/"+v.Name+".der"] = v.derive(tb, leaves[v.Leaf])
	}
	handshakes := append(acceptedHandshakes(), refusedHandshakes()...)
	for i := range handshakes {
		if handshakes[i].Time.IsZero() {
			handshakes[i].Time = date(2028)
		}
	}
	addJSON("certificates.json", certificates)
	addJSON("contexts.json", contexts)
	addJSON("handshakes.json", handshakes)
	addJSON("alpn.json", alpnVectors())
	addJSON("templates.json", templateVectors())
	addJSON("traceparent.json", traceparentVectors())
	return files
}
