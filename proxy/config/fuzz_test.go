package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever a file holds, it is taken or refused, each mistake on one line with
// its place; and what is taken stays the same when it is shown, by both
// validators.
func FuzzParse(f *testing.F) {
	f.Add([]byte(shop))
	f.Add([]byte(`{"apiVersion": "hallmark.dev/v1alpha1", "kind": "Proxy", "metadata": {"name": "a"}, "spec": {"limits": {"memory": 1}}}`))
	for _, c := range wrongs() {
		f.Add([]byte(c.text))
	}
	files, err := filepath.Glob(filepath.Join(docs, "examples", "*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "testdata/kubectl.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f.yaml", data)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "f.yaml:") {
					t.Errorf("a problem without its place: %q", line)
				}
			}
			return
		}
		for i := range c.Policies { // annotations are not shown: they may differ
			c.Policies[i].Annotations = nil
		}
		for i := range c.Inbounds {
			c.Inbounds[i].Annotations = nil
		}
		for i := range c.Outbounds {
			c.Outbounds[i].Annotations = nil
		}
		c.Proxy.Annotations = nil
		shown, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("again.yaml", shown)
		if err != nil || again.Version != version(c) && c.Proxy.Name != "" {
			t.Fatalf("shown it is another: %v\n%s", err, shown)
		}
		if err := schema.validate(shown); err != nil {
			t.Fatalf("the schema refuses what is shown: %v\n%s", err, shown)
		}
	})
}

func FuzzFlags(f *testing.F) {
	f.Add(":8443=127.0.0.1:5432")
	f.Add("[::1]:8443=[::1]:5432,target=pg,protocol=postgres,server-first=true,proxy-protocol=v2,peers=require,plaintext=permissive,accept-proxy-protocol=10.0.0.0/8")
	f.Add("127.0.0.1:1=db:2,target=pg,session=raw,sni=db.internal,expect=spiffe://example.org/ns/*,expect=spiffe://example.org/*,expect=spiffe://example.org/a")
	f.Fuzz(func(t *testing.T, text string) {
		if in, err := ParseInboundFlag(text); err == nil {
			if _, err := (Source{Inbounds: []Inbound{in}}).Load(); err != nil {
				t.Errorf("inbound %q was taken, and refused later: %v", text, err)
			}
		}
		if out, err := ParseOutboundFlag(text); err == nil {
			if _, err := (Source{Outbounds: []Outbound{out}}).Load(); err != nil {
				t.Errorf("outbound %q was taken, and refused later: %v", text, err)
			}
		}
	})
}
