package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestInboundFlag(t *testing.T) {
	in, err := ParseInboundFlag(":8443=127.0.0.1:5432")
	if err != nil {
		t.Fatal(err)
	}
	want := withDefaults[InboundSpec]()
	want.Listen = ":8443"
	want.Targets = []Target{{Name: "default", Address: "127.0.0.1:5432", ProxyProtocol: ProxyProtocolNone}}
	if !reflect.DeepEqual(in.Spec, want) || in.Name != "inbound-8443" || in.Origin != "--inbound :8443=127.0.0.1:5432" {
		t.Errorf("got %+v, want %+v", in, want)
	}
	in, err = ParseInboundFlag("[::1]:8443=[::1]:5432,target=pg,protocol=postgres,server-first=true,proxy-protocol=v2,peers=require,plaintext=permissive,accept-proxy-protocol=10.0.0.0/8,accept-proxy-protocol=::1/128")
	if err != nil {
		t.Fatal(err)
	}
	want = InboundSpec{Listen: "[::1]:8443", Peers: Require, Plaintext: Permissive, Sessions: []Session{H2, Mux, Raw}}
	want.Targets = []Target{{Name: "pg", Address: "[::1]:5432", Protocol: "postgres", ServerFirst: true, ProxyProtocol: ProxyProtocolV2}}
	want.AcceptProxyProtocol = in.Spec.AcceptProxyProtocol
	if !reflect.DeepEqual(in.Spec, want) || len(want.AcceptProxyProtocol.From) != 2 || in.Name != "inbound-1-8443" {
		t.Errorf("got %+v, want %+v", in, want)
	}
}

func TestOutboundFlag(t *testing.T) {
	id := spiffeid.RequireFromString("spiffe://example.org/ns/db/sa/postgres")
	out, err := ParseOutboundFlag("127.0.0.1:15432=db.internal:8443", Expectation{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	want := withDefaults[OutboundSpec]()
	want.Listen, want.To, want.Expect = "127.0.0.1:15432", "db.internal:8443", []Expectation{{ID: id}}
	if !reflect.DeepEqual(out.Spec, want) || out.Name != "outbound-127-0-0-1-15432" {
		t.Errorf("got %+v, want %+v", out, want)
	}
	out, err = ParseOutboundFlag("127.0.0.1:1=db:2,target=pg,session=raw,sni=db.internal,expect=spiffe://example.org/ns/*,expect=spiffe://example.org/*", Expectation{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Spec; got.Target != "pg" || got.Session != Raw || got.SNI != "db.internal" ||
		!reflect.DeepEqual(got.Expect, []Expectation{{PathPrefix: spiffeid.RequireFromString("spiffe://example.org/ns")}, {TrustDomain: id.TrustDomain()}}) {
		t.Errorf("got %+v", got)
	}
}

func TestFlagsRefuse(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "want LISTEN=ADDRESS",
		":8443":                            "want LISTEN=ADDRESS",
		"=127.0.0.1:1":                     "want LISTEN=ADDRESS",
		"x=127.0.0.1:1":                    "spec.listen",
		":1=127.0.0.1":                     "spec.targets[0].address",
		":1=a:1,color=red":                 `"color" is not known: there are target, protocol`,
		":1=a:1,":                          `"" is not known`,
		":1=a:1,protocol=Red":              "protocol: \"Red\" is no protocol",
		":1=a:1,peers=some":                `peers: "some" is none of Prefer, Require`,
		":1=a:1,server-first=yes":          "neither true nor false",
		":1=a:1,target=a,target=b":         "target is given twice",
		":1=a:1,target=a b":                "spec.targets[0].name",
		":1=a:1,accept-proxy-protocol=all": `"all" is no network`,
	} {
		if in, err := ParseInboundFlag(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v, want %q", text, in, err, want)
		}
	}
	for text, want := range map[string]string{
		":1=a:1":                                      "identity of the other side is required",
		":1=a:1,expect=example.org":                   "is no SPIFFE ID",
		":1=a:1,expect=spiffe://example.org":          "write spiffe://example.org/* if any identity",
		":1=a:1,session=h9":                           `session: "h9" is none of Auto, Raw, Mux`,
		"127.0.0.1:1=a,expect=spiffe://e/x":           "spec.to",
		":1=a:1,expect=spiffe://e/x,sni=::1":          "spec.sni",
		":1=a:1,expect=spiffe://e/x/*/*":              "is no SPIFFE ID",
		"127.0.0.1:1=127.0.0.1:1,expect=spiffe://e/x": "forward to itself",
	} {
		if out, err := ParseOutboundFlag(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v, want %q", text, out, err, want)
		}
	}
}

// write writes files into a directory.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"b.yaml":         resourceOf(KindInbound, " {listen: ':2', targets: [{name: a, address: 'a:1'}]}"),
		"a.json":         `{"apiVersion": "hallmark.dev/v1alpha1", "kind": "Inbound", "metadata": {"name": "j"}, "spec": {"listen": ":1", "targets": [{"name": "a", "address": "a:1"}]}}`,
		"c.yml":          resourceOf(KindOutbound, " {listen: '127.0.0.1:3', to: 'a:1', expect: [{id: 'spiffe://e/x'}]}"),
		".hidden.yaml":   "nonsense: [",
		"README":         "nonsense: [",
		"c.yaml~":        "nonsense: [",
		"swap.yaml.swp":  "nonsense: [",
		"nothing.yaml":   "# nothing\n",
		"documents.yaml": "---\n---\n",
	})
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Inbounds) != 2 || c.Inbounds[0].Name != "j" || c.Inbounds[1].Name != "x" || len(c.Outbounds) != 1 {
		t.Errorf("got %+v", c)
	}
	if want := filepath.Join(dir, "b.yaml") + ":1"; c.Inbounds[1].Origin != want {
		t.Errorf("origin %s, want %s", c.Inbounds[1].Origin, want)
	}
	// One bad file rejects all, and all of them are told.
	write(t, dir, map[string]string{"b.yaml": "a: [", "c.yml": "b: ["})
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "b.yaml") || !strings.Contains(err.Error(), "c.yml") {
		t.Errorf("got %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
	if _, err := Load(dir); err == nil || err.Error() != dir+": holds no resource" {
		t.Errorf("empty: got %v", err)
	}
	if _, err := Load("/dev/null"); err == nil || !strings.Contains(err.Error(), "is no regular file") {
		t.Errorf("device: got %v", err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("dangling link: got %v", err)
	}
}

func TestFlagsBesideFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.yaml": resourceOf(KindInbound, inbound)})
	other, err := ParseInboundFlag(":9443=127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	source := Source{Path: dir, Inbounds: []Inbound{other}, Override: func(p *ProxySpec) { p.Timeouts.Dial = time.Minute }}
	c, err := source.Load()
	if err != nil || len(c.Inbounds) != 2 || c.Inbounds[0].Name != "inbound-9443" || c.Proxy.Spec.Timeouts.Dial != time.Minute {
		t.Errorf("got %+v, %v", c, err)
	}
	same, err := ParseInboundFlag("127.0.0.1:8443=127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	source.Inbounds = []Inbound{same, same}
	want := filepath.Join(dir, "a.yaml") + `:4: spec.listen: ":8443" overlaps with spec.listen of Inbound inbound-127-0-0-1-8443 (--inbound 127.0.0.1:8443=127.0.0.1:80)`
	if _, err := source.Load(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "is the name of") {
		t.Errorf("got %v, want %s", err, want)
	}
	source = Source{Override: func(p *ProxySpec) { p.Admin.Listen = "0.0.0.0:1"; p.Timeouts.Dial = 0 }}
	if _, err := source.Load(); err == nil || !strings.Contains(err.Error(), "flags: spec.admin.listen") || !strings.Contains(err.Error(), "flags: spec.timeouts.dial") {
		t.Errorf("got %v", err)
	}
	if c, err := (Source{}).Load(); err != nil || c.Version == "" {
		t.Errorf("nothing at all: %v", err)
	}
}
