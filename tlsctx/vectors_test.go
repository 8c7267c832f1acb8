package tlsctx

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

var update = flag.Bool("update", false, "write the test vectors anew")

const vectorDir = "testdata/vectors"

// hexBytes are bytes that JSON writes in hexadecimal.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// certificateVector describes a certificate of the public key infrastructure
// that all vectors stand on. See testdata/vectors/README.md for every field.
type certificateVector struct {
	Name       string            `json:"name"`
	Issuer     string            `json:"issuer"`
	SignedBy   string            `json:"signed_by,omitempty"`
	Subject    string            `json:"subject"`
	Serial     int64             `json:"serial"`
	NotBefore  time.Time         `json:"not_before"`
	NotAfter   time.Time         `json:"not_after"`
	URIs       []string          `json:"uris,omitempty"`
	CA         bool              `json:"ca,omitempty"`
	KeyUsage   []string          `json:"key_usage,omitempty"`
	Extensions []extensionVector `json:"extensions,omitempty"`
}

type extensionVector struct {
	OID      string            `json:"oid"`
	Critical bool              `json:"critical,omitempty"`
	Attested map[string]string `json:"attested,omitempty"`
	Value    hexBytes          `json:"value,omitempty"`
}

// contextVector describes a context certificate: what it says, or what was put
// into it instead of what is right.
type contextVector struct {
	Name    string              `json:"name"`
	Leaf    string              `json:"leaf"`
	Context contextFields       `json:"context"`
	Instead map[string]hexBytes `json:"instead,omitempty"`
	Reason  Reason              `json:"reason,omitempty"`
}

type contextFields struct {
	Attributes  map[string]string `json:"attributes,omitempty"`
	Target      string            `json:"target,omitempty"`
	Traceparent string            `json:"traceparent,omitempty"`
}

// handshakeVector describes what a receiver has before it, and its verdict.
type handshakeVector struct {
	Name         string              `json:"name"`
	ALPN         string              `json:"alpn"`
	TLS          string              `json:"tls,omitempty"`
	Resumed      bool                `json:"resumed,omitempty"`
	Certificates []string            `json:"certificates"`
	Time         time.Time           `json:"time"`
	Templates    map[string][]string `json:"templates,omitempty"`
	Attested     []string            `json:"attested,omitempty"`
	Accepted     *acceptedVector     `json:"accepted,omitempty"`
	Reason       Reason              `json:"reason,omitempty"`
}

type acceptedVector struct {
	ID          string            `json:"id"`
	Aware       bool              `json:"aware"`
	Session     Session           `json:"session"`
	Detected    Protocol          `json:"detected"`
	Attributes  []attributeVector `json:"attributes,omitempty"`
	Target      string            `json:"target,omitempty"`
	Traceparent string            `json:"traceparent,omitempty"`
	Path        []string          `json:"path"`
}

type attributeVector struct {
	Name       string `json:"name"`
	Value      string `json:"value"`
	Provenance string `json:"provenance"`
}

type alpnVector struct {
	Name       string    `json:"name"`
	Offered    []string  `json:"offered"`
	Sessions   []Session `json:"sessions"`
	Registered []string  `json:"registered,omitempty"`
	Require    bool      `json:"require,omitempty"`
	Selected   string    `json:"selected,omitempty"`
	Reason     Reason    `json:"reason,omitempty"`
}

type templateVector struct {
	Template  string            `json:"template"`
	Malformed bool              `json:"malformed,omitempty"`
	ID        string            `json:"id,omitempty"`
	Matches   bool              `json:"matches,omitempty"`
	Derived   map[string]string `json:"derived,omitempty"`
}

type traceparentVector struct {
	Text    string   `json:"text"`
	Encoded hexBytes `json:"encoded,omitempty"`
}

// readVectors reads one of the files.
func readVectors[T any](tb testing.TB, name string) []T {
	tb.Helper()
	var all []T
	d := json.NewDecoder(bytes.NewReader(readVector(tb, name)))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	if len(all) == 0 {
		tb.Fatalf("%s holds nothing", name)
	}
	return all
}

func readVector(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(vectorDir, name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// TestVectorsAreWhatTheTablesSay compares the files with what would be written
// now, or writes them if the flag -update is given.
func TestVectorsAreWhatTheTablesSay(t *testing.T) {
	made := makeVectors(t)
	if *update {
		for name, data := range made {
			path := filepath.Join(vectorDir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := map[string]bool{"README.md": true}
	for name, data := range made {
		found[name] = true
		if !bytes.Equal(readVector(t, name), data) {
			t.Errorf("%s is not what the tables say: run go test -run TestVectors -update, and look at the difference", name)
		}
	}
	err := filepath.WalkDir(vectorDir, func(path string, entry os.DirEntry, err error) error {
		if name, _ := filepath.Rel(vectorDir, path); err == nil && !entry.IsDir() && !found[name] {
			t.Errorf("%s belongs to no vector", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestVectorsOfCertificates derives each from its description.
func TestVectorsOfCertificates(t *testing.T) {
	for _, v := range readVectors[certificateVector](t, "certificates.json") {
		if der := readVector(t, "certificates/"+v.Name+".der"); !bytes.Equal(v.derive(t), der) {
			t.Errorf("%s.der is not what its description makes", v.Name)
		}
	}
}

// TestVectorsOfContexts derives each from its description, by the code that
// stands for another implementation, and judges it. What is right is also what
// Mint makes.
func TestVectorsOfContexts(t *testing.T) {
	for _, v := range readVectors[contextVector](t, "contexts.json") {
		t.Run(v.Name, func(t *testing.T) {
			leaf := mustParse(t, readVector(t, "certificates/"+v.Leaf+".der"))
			der := readVector(t, "contexts/"+v.Name+".der")
			if !bytes.Equal(v.derive(t, leaf), der) {
				t.Fatal("the file is not what its description makes")
			}
			// The bounds are looked at before, beside any chain.
			_, _, err := split(stateOf(t, rawUnknown, readVector(t, "certificates/web.der"), der))
			var got Context
			if err == nil {
				got, err = readContext(leaf, mustParse(t, der))
			}
			if v.Reason != "" {
				wantReason(t, outcome{err: err}, v.Reason)
				return
			}
			want := Context{Attributes: vectorAttributes(t, v.Context.Attributes), Target: v.Context.Target}
			if v.Context.Traceparent != "" {
				want.Trace, _ = ParseTraceparent(v.Context.Traceparent)
			}
			if err != nil || !got.Attributes.Equal(want.Attributes) || got.Target != want.Target || got.Trace != want.Trace {
				t.Fatalf("read %+v, %v, want %+v", got, err, want)
			}
			if len(v.Instead) == 0 && !bytes.Equal(minted(t, leaf, want), der) {
				t.Error("Mint makes another one")
			}
		})
	}
}

// verifier is that of the vectors: a workload of example.org, which trusts its
// own authority and that of other.net.
func (v handshakeVector) verifier(tb testing.TB) *Verifier {
	tb.Helper()
	var bundles []*x509bundle.Bundle
	for td, root := range map[string]string{"example.org": "root", "other.net": "other"} {
		authority := mustParse(tb, readVector(tb, "certificates/"+root+".der"))
		bundles = append(bundles, x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString(td), []*x509.Certificate{authority}))
	}
	own := &x509svid.SVID{ID: mustID(tb, "spiffe://example.org/ns/data/sa/db")}
	policy := Policy{Time: func() time.Time { return v.Time }, Templates: Templates{}}
	for td, texts := range v.Templates {
		for _, text := range texts {
			domain := spiffeid.RequireTrustDomainFromString(td)
			policy.Templates[domain] = append(policy.Templates[domain], MustTemplate(text))
		}
	}
	for _, td := range v.Attested {
		policy.Attested = append(policy.Attested, spiffeid.RequireTrustDomainFromString(td))
	}
	return &Verifier{Snapshot: &identity.Snapshot{SVID: own, Bundles: x509bundle.NewSet(bundles...)}, Policy: policy}
}

// TestVectorsOfHandshakes asks Verify for its verdict.
func TestVectorsOfHandshakes(t *testing.T) {
	for _, v := range readVectors[handshakeVector](t, "handshakes.json") {
		t.Run(v.Name, func(t *testing.T) {
			var chain [][]byte
			names := map[string]string{}
			for _, name := range v.Certificates {
				der := readVector(t, name)
				names[string(der)] = name
				chain = append(chain, der)
			}
			cs := stateOf(t, v.ALPN, chain...)
			cs.DidResume = v.Resumed
			if v.TLS == "1.2" {
				cs.Version = tls.VersionTLS12
			}
			p, err := v.verifier(t).Verify(cs)
			if v.Reason != "" {
				wantReason(t, outcome{err: err}, v.Reason)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := acceptedVector{
				ID: p.ID.String(), Aware: p.Aware, Session: p.Session, Detected: p.Detected,
				Target: p.Target, Traceparent: p.Trace.String(),
			}
			for _, a := range p.Attributes {
				got.Attributes = append(got.Attributes, attributeVector{a.Name, a.Value, a.Provenance.String()})
			}
			for _, c := range p.Certificates {
				got.Path = append(got.Path, names[string(c.Raw)])
			}
			sameJSON(t, got, *v.Accepted)
		})
	}
}

func sameJSON(tb testing.TB, got, want any) {
	tb.Helper()
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(want)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		tb.Errorf("got  %s\nwant %s", a, b)
	}
}

// TestVectorsOfALPN asks the server what it selects.
func TestVectorsOfALPN(t *testing.T) {
	for _, v := range readVectors[alpnVector](t, "alpn.json") {
		t.Run(v.Name, func(t *testing.T) {
			h := serverHandshake{config: &ServerConfig{Sessions: v.Sessions, Registered: v.Registered}}
			if v.Require {
				h.config.Awareness = Require
			}
			selected, err := h.selectALPN(v.Offered)
			if ReasonOf(err) != v.Reason || selected != v.Selected {
				t.Errorf("selected %q, %v, want %q, %q", selected, err, v.Selected, v.Reason)
			}
		})
	}
}

// TestVectorsOfTemplates parses and matches.
func TestVectorsOfTemplates(t *testing.T) {
	for _, v := range readVectors[templateVector](t, "templates.json") {
		template, err := ParseTemplate(v.Template)
		if (err != nil) != v.Malformed {
			t.Errorf("%q: %v, want malformed=%t", v.Template, err, v.Malformed)
		}
		if v.ID == "" {
			continue
		}
		list, matches := template.Match(mustID(t, v.ID))
		derived := map[string]string{}
		for _, a := range list {
			derived[a.Name] = a.Value
		}
		if matches != v.Matches || !maps.Equal(derived, v.Derived) {
			t.Errorf("%q of %s: %t %v, want %t %v", v.Template, v.ID, matches, derived, v.Matches, v.Derived)
		}
	}
}

// TestVectorsOfTraceparent parses, and encodes as the extension does.
func TestVectorsOfTraceparent(t *testing.T) {
	for _, v := range readVectors[traceparentVector](t, "traceparent.json") {
		trace, err := ParseTraceparent(v.Text)
		if (err == nil) != (v.Encoded != nil) {
			t.Errorf("%q: %v", v.Text, err)
			continue
		}
		if encoded := slices.Concat(trace.TraceID[:], trace.SpanID[:], []byte{trace.Flags}); err == nil && (!bytes.Equal(encoded, v.Encoded) || trace.String() != v.Text) {
			t.Errorf("%q is %x, and back %q", v.Text, encoded, trace)
		}
	}
}

// TestVectorsHoldEveryReasonThatBytesCanGive: the others are of the network, or
// of our own side.
func TestVectorsHoldEveryReasonThatBytesCanGive(t *testing.T) {
	held := map[Reason]bool{NoIdentity: true, RefusedByPeer: true, ClosedByPeer: true, TimedOut: true, Canceled: true}
	for _, v := range readVectors[handshakeVector](t, "handshakes.json") {
		held[v.Reason] = true
	}
	for _, v := range readVectors[alpnVector](t, "alpn.json") {
		held[v.Reason] = true
	}
	for _, reason := range reasons {
		if !held[reason] {
			t.Errorf("no vector is refused as %s", reason)
		}
	}
}
