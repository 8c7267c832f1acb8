package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	k8syaml "sigs.k8s.io/yaml"
)

// resourceOf writes a resource; spec begins on line 4.
func resourceOf(kind, spec string) string {
	return "apiVersion: hallmark.dev/v1alpha1\nkind: " + kind + "\nmetadata: {name: x}\nspec:" + spec
}

const (
	inbound = ` {listen: ":8443", targets: [{name: db, address: "127.0.0.1:5432"}]}`
	expect  = "\n  expect: [{id: spiffe://example.org/db}]"
)

// wrong is a file with mistakes.
type wrong struct {
	text string
	want []string

	// beyond says that the mistake is none that a JSON Schema sees: one of the
	// meaning of a field, or of several together.
	beyond bool
}

func wrongs() map[string]wrong {
	return map[string]wrong{
		"syntax": {"a: [1\nb: 2\n", []string{"f.yaml:1: is not YAML: did not find expected ',' or ']'"}, false},
		"a list": {"- a\n", []string{"f.yaml:1: is a list where fields are wanted"}, false},
		"no kind": {
			"apiVersion: hallmark.dev/v1alpha1\nmetadata: {name: x}\n",
			[]string{"f.yaml:1: kind: is required"},
			false,
		},
		"another kind": {
			"apiVersion: v1\nkind: Service\nmetadata: {name: x}\n",
			[]string{`f.yaml:2: kind: there is no "Service" of "v1" here: there are Proxy, Inbound, Outbound and AuthorizationPolicy of hallmark.dev/v1alpha1`},
			false,
		},
		"another version": {
			"apiVersion: hallmark.dev/v1\nkind: Proxy\nmetadata: {name: x}\n",
			[]string{`f.yaml:2: kind: there is no "Proxy" of "hallmark.dev/v1" here`},
			false,
		},
		"no name": {
			"apiVersion: hallmark.dev/v1alpha1\nkind: Proxy\n",
			[]string{"f.yaml:1: metadata.name: is required"},
			false,
		},
		"bad name": {
			"apiVersion: hallmark.dev/v1alpha1\nkind: Proxy\nmetadata:\n  name: My_Proxy\n",
			[]string{`f.yaml:4: metadata.name: "My_Proxy" is no DNS name`},
			false,
		},
		"unknown top": {resourceOf(KindProxy, " {}") + "\nspecs: {}\n", []string{"f.yaml:5: specs: unknown field"}, false},
		"unknown field": {
			resourceOf(KindProxy, "\n  timeouts:\n    dail: 2s\n    Dial: 3s\n"),
			[]string{"f.yaml:6: spec.timeouts.dail: unknown field: there are dial, handshake,", "f.yaml:7: spec.timeouts.Dial: unknown field: it is spelt dial"},
			false,
		},
		"twice": {
			resourceOf(KindProxy, "\n  admin: {pprof: true}\n  admin: {pprof: false}\n"),
			[]string{"f.yaml:6: spec.admin: is given twice, on line 5 as well"},
			false,
		},
		"types": {
			resourceOf(KindProxy, "\n  timeouts: {dial: 5}\n  limits: {connections: many}\n  metrics: {linkerdNames: yes, maxSeries: 1.5}\n  identity: unix:///x\n  trustDomains: example.org\n"),
			[]string{
				`f.yaml:5: spec.timeouts.dial: is a whole number ("5") where text is wanted: put it in quotes`,
				`f.yaml:6: spec.limits.connections: is text ("many") where a whole number is wanted`,
				`f.yaml:7: spec.metrics.linkerdNames: is text ("yes") where true or false is wanted`,
				`f.yaml:7: spec.metrics.maxSeries: is a number with a fraction ("1.5") where a whole number is wanted`,
				`f.yaml:8: spec.identity: is text ("unix:///x") where fields are wanted`,
				`f.yaml:9: spec.trustDomains: is text ("example.org") where a list is wanted`,
			},
			false,
		},
		"values": {
			resourceOf(KindProxy, "\n  timeouts: {dial: fast, idle: -1s}\n  limits: {memory: 1Ti, connections: -1}\n  trustDomains:\n  - {name: spiffe://a/b}\n  metrics: {minProvenance: sworn, listen: host:80}\n"),
			[]string{
				`f.yaml:5: spec.timeouts.dial: "fast" is no duration such as 1h30m, 30s or 5ms`,
				`f.yaml:5: spec.timeouts.idle: "-1s" is no duration`,
				`f.yaml:6: spec.limits.memory: "1Ti" is no number of bytes such as 65536, 64Ki or 256Mi`,
				`f.yaml:6: spec.limits.connections: "-1" is no whole number from 0 to 2147483647`,
				`f.yaml:8: spec.trustDomains[0].name: "spiffe://a/b" is no name of a trust domain, such as example.org`,
				`f.yaml:9: spec.metrics.minProvenance: "sworn" is none of asserted, verified, attested`,
				`f.yaml:9: spec.metrics.listen: "host:80" has no IP address before the port`,
			},
			false,
		},
		"nothing": {
			resourceOf(KindAuthorizationPolicy, "\n  rules:\n  - from:\n    # - ids: [spiffe://example.org/x]\n"),
			[]string{"f.yaml:6: spec.rules[0].from: is empty: give it a value, or leave it out"},
			false,
		},
		"empty list": {
			resourceOf(KindAuthorizationPolicy, "\n  rules:\n  - from: []\n"),
			[]string{"f.yaml:6: spec.rules[0].from: is an empty list, and no list at all means any"},
			false,
		},
		"positive": {resourceOf(KindProxy, "\n  timeouts: {dial: 0s}\n"), []string{"f.yaml:5: spec.timeouts.dial: must be more than 0"}, true},
		"streams":  {resourceOf(KindProxy, "\n  limits: {streamsPerSession: 2000000}\n"), []string{"f.yaml:5: spec.limits.streamsPerSession: 2000000 are more than the 1048576 allowed"}, true},
		"files":    {resourceOf(KindProxy, "\n  identity:\n    files: {certificate: a.pem}\n"), []string{"identity.files.bundle: is required", "f.yaml:6: spec.identity.files.key: is required"}, true},
		"two identities": {
			resourceOf(KindProxy, "\n  identity:\n    workloadAPI: unix:///x\n    files: {certificate: a, key: b, bundle: c}\n"),
			[]string{"f.yaml:7: spec.identity.files: is given beside workloadAPI"},
			true,
		},
		"workload API": {
			resourceOf(KindProxy, "\n  identity:\n    workloadAPI: /run/agent.sock\n"),
			[]string{`f.yaml:6: spec.identity.workloadAPI: "/run/agent.sock" is no address of a Workload API`},
			false,
		},
		"attributes": {
			resourceOf(KindProxy, "\n  attributes:\n    Pod: x\n    k8s.pod.name: \"a\\tb\"\n"),
			[]string{`f.yaml:6: spec.attributes["Pod"]: "Pod" is no attribute name`, `f.yaml:7: spec.attributes["k8s.pod.name"]: "a\tb" holds the character U+0009`},
			false,
		},
		"trust domain twice": {
			resourceOf(KindProxy, "\n  trustDomains:\n  - name: example.org\n  - name: example.org\n"),
			[]string{`f.yaml:7: spec.trustDomains[1].name: "example.org" is given twice`},
			true,
		},
		"template": {
			resourceOf(KindProxy, "\n  trustDomains:\n  - name: example.org\n    templates: [\"ns/{a}\", \"/ns/x\"]\n"),
			[]string{`f.yaml:7: spec.trustDomains[0].templates[0]: identity template "ns/{a}": want a path`, `f.yaml:7: spec.trustDomains[0].templates[1]: identity template "/ns/x": holds no {attribute.name}`},
			false,
		},
		"disclosure": {
			resourceOf(KindProxy, "\n  disclosure:\n    public: [\"*\", k8s..x]\n    to: [{trustDomain: a.test}, {trustDomain: a.test}]\n"),
			[]string{"f.yaml:6: spec.disclosure.public[1]:", "f.yaml:7: spec.disclosure.to[1].trustDomain: \"a.test\" is given twice"},
			false,
		},
		"admin": {resourceOf(KindProxy, "\n  admin: {listen: \":9901\"}\n"), []string{`f.yaml:5: spec.admin.listen: ":9901" is not on loopback`}, true},
		"admin for all": {
			resourceOf(KindProxy, "\n  admin:\n    listen: \":9901\"\n    allow:\n    - {}\n    - {id: \"spiffe://a.test/ops\"}\n    - {id: \"spiffe://a.test/ops\"}\n"),
			[]string{"f.yaml:8: spec.admin.allow[0]: has 0 of id", "f.yaml:10: spec.admin.allow[2]: is given twice"},
			false,
		},
		"second proxy": {
			resourceOf(KindProxy, " {}") + "\n---\n" + resourceOf(KindProxy, " {}"),
			[]string{"f.yaml:6: is a second Proxy beside Proxy x (f.yaml:1): there can be one"},
			true,
		},
		"inbound": {
			resourceOf(KindInbound, "\n  listen: localhost:8443\n  sessions: [Auto]\n"),
			[]string{`f.yaml:5: spec.listen: "localhost:8443" has no IP address`, "f.yaml:6: spec.sessions[0]: \"Auto\" is none of H2, Mux, Raw", "f.yaml:4: spec.targets: is required"},
			false,
		},
		"sessions": {resourceOf(KindInbound, "\n  listen: :1\n  sessions: []\n  targets: [{name: a, address: \"a:1\"}]\n"), []string{"f.yaml:6: spec.sessions: is required"}, false},
		"targets": {
			resourceOf(KindInbound, "\n  listen: :8443\n  targets:\n  - name: a\n    address: 127.0.0.1\n  - name: a\n    address: 127.0.0.1:0\n  - name: a b\n  - {name: c, address: \":8443\", protocol: unknown}\n"),
			[]string{
				`f.yaml:8: spec.targets[0].address: "127.0.0.1" is no address: want host:port`,
				`f.yaml:9: spec.targets[1].name: "a" is the name of targets[0] as well`,
				`f.yaml:10: spec.targets[1].address: "127.0.0.1:0" has no port from 1 to 65535`,
				`f.yaml:11: spec.targets[2].name: "a b" holds a byte outside printable ASCII, or a space`,
				"f.yaml:11: spec.targets[2].address: is required",
				`f.yaml:12: spec.targets[3].address: ":8443" has neither an IP address nor a DNS name before the port`,
				`f.yaml:12: spec.targets[3].protocol: "unknown" is not for declaring`,
			},
			false,
		},
		"networks": {
			resourceOf(KindInbound, "\n  listen: :1\n  acceptProxyProtocol: {from: [10.1.2.3/8, 10.0.0.0]}\n  targets: [{name: a, address: \"a:1\"}]\n"),
			[]string{"f.yaml:6: spec.acceptProxyProtocol.from[0]: 10.1.2.3/8 has bits set beyond its length: write 10.0.0.0/8, or 10.1.2.3/32", `f.yaml:6: spec.acceptProxyProtocol.from[1]: "10.0.0.0" is no network`},
			false,
		},
		"outbound": {
			resourceOf(KindOutbound, "\n  listen: 127.0.0.1:1\n  to: db\n  sni: 10.0.0.1\n"),
			[]string{`f.yaml:6: spec.to: "db" is no address`, `f.yaml:7: spec.sni: "10.0.0.1" is no DNS name`, "f.yaml:4: spec.expect: is required"},
			false,
		},
		"expect nobody": {
			resourceOf(KindOutbound, "\n  listen: 127.0.0.1:1\n  to: db:1\n  expect:\n  - {}\n  - {id: spiffe://example.org/a, trustDomain: example.org}\n  - {pathPrefix: spiffe://example.org}\n  - {id: example.org/a}\n"),
			[]string{"f.yaml:8: spec.expect[0]: has 0 of id, pathPrefix and trustDomain: want exactly one", "f.yaml:9: spec.expect[1]: has 2 of", `f.yaml:10: spec.expect[2].pathPrefix: "spiffe://example.org" has no path`, "f.yaml:11: spec.expect[3].id: scheme is missing or invalid"},
			false,
		},
		"itself": {resourceOf(KindOutbound, "\n  listen: 127.0.0.1:1\n  to: 127.0.0.1:1"+expect), []string{"f.yaml:6: spec.to: is the address that this Outbound listens on"}, true},
		"names and addresses": {
			resourceOf(KindInbound, inbound) + "\n---\n" + resourceOf(KindInbound, strings.Replace(inbound, ":8443", "127.0.0.1:8443", 1)),
			[]string{`f.yaml:8: metadata.name: "x" is the name of Inbound x (f.yaml:1) as well`, `f.yaml:9: spec.listen: "127.0.0.1:8443" overlaps with spec.listen of Inbound x (f.yaml:1)`},
			true,
		},
		"policy": {
			resourceOf(KindInbound, inbound) + "\n---\n" + resourceOf(KindAuthorizationPolicy, "\n  targets: [dbb]\n  ports: [5433]\n  action: DENY\n"),
			[]string{`f.yaml:10: spec.targets[0]: no Inbound has a target "dbb"`, "f.yaml:11: spec.ports[0]: no target's address has the port 5433", "f.yaml:9: spec.rules: is empty: a DENY policy without rules denies nobody"},
			true,
		},
		"sources": {
			resourceOf(KindAuthorizationPolicy, "\n  ports: [0]\n  rules:\n  - from:\n    - {}\n    - {pathPrefixes: [spiffe://example.org]}\n    - {trustDomains: [a.test, a.test], ids: [x]}\n"),
			[]string{`f.yaml:5: spec.ports[0]: "0" is no port from 1 to 65535`, "f.yaml:8: spec.rules[0].from[0]: takes nobody", `f.yaml:9: spec.rules[0].from[1].pathPrefixes[0]: "spiffe://example.org" has no path`, "f.yaml:10: spec.rules[0].from[2].ids[0]:", `f.yaml:10: spec.rules[0].from[2].trustDomains[1]: "a.test" is given twice`},
			false,
		},
		"conditions": {
			resourceOf(KindAuthorizationPolicy, "\n  rules:\n  - when:\n    - {attribute: a}\n    - {attribute: A, values: [x]}\n    - {attribute: b, values: [x, \"\"], notValues: [x]}\n    - {attribute: c, values: [x], trustDomain: b.test}\n    - {values: [1]}\n"),
			[]string{"f.yaml:7: spec.rules[0].when[0]: has neither values nor notValues", "f.yaml:8: spec.rules[0].when[1].attribute:", `f.yaml:9: spec.rules[0].when[2].values[0]: "x" is among notValues as well`, "f.yaml:9: spec.rules[0].when[2].values[1]: is empty", "f.yaml:10: spec.rules[0].when[3].trustDomain: differs from that of when[0]", "f.yaml:11: spec.rules[0].when[4].values[0]: is a whole number", "f.yaml:11: spec.rules[0].when[4].attribute: is required"},
			false,
		},
		"nobody": {
			resourceOf(KindAuthorizationPolicy, "\n  rules:\n  - from: [{trustDomains: [a.test]}]\n    when: [{attribute: a, values: [x], trustDomain: b.test}]\n  - from: [{plaintext: true}]\n    when: [{attribute: a, values: [x]}]\n"),
			[]string{"f.yaml:7: spec.rules[0].when[0].trustDomain: is b.test, of which from takes nobody", "f.yaml:9: spec.rules[1].when[0]: is about an attribute, and from takes only plaintext peers"},
			true,
		},
		"aliases": {
			resourceOf(KindProxy, "\n  trustDomains:\n  - &a {name: example.org, attested: maybe}\n  - *a\n"),
			[]string{`f.yaml:6: spec.trustDomains[0].attested: is text ("maybe")`, `f.yaml:6: spec.trustDomains[1].attested: is text ("maybe")`, `f.yaml:6: spec.trustDomains[1].name: "example.org" is given twice`},
			false,
		},
		"tags": {resourceOf(KindProxy, "\n  identity: {hint: !!binary aGk=}\n"), []string{"f.yaml:5: spec.identity.hint: is something tagged \"!!binary\""}, true},
		"merge": {
			resourceOf(KindProxy, "\n  timeouts: &t {dial: 1s}\n  keepAlive: {<<: *t}\n"),
			[]string{"f.yaml:6: spec.keepAlive: has something tagged \"!!merge\""},
			false,
		},
		"list": {
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: hallmark.dev/v1alpha1\n  kind: Inbound\n  metadata: {name: a}\n- kind: List\n- 7\n",
			[]string{"f.yaml:4: spec.listen: is required", "f.yaml:4: spec.targets: is required", "f.yaml:7: items: holds a list in a list", `f.yaml:8: is a whole number ("7") where fields are wanted`},
			false,
		},
	}
}

func TestProblems(t *testing.T) {
	validator := compileSchema(t)
	for name, c := range wrongs() {
		t.Run(name, func(t *testing.T) {
			got, err := Parse("f.yaml", []byte(c.text))
			var problems Problems
			if !errors.As(err, &problems) || got != nil {
				t.Fatalf("got %v, %v, want problems", got, err)
			}
			if len(problems) != len(c.want) {
				t.Errorf("got %d problems, want %d", len(problems), len(c.want))
			}
			for _, want := range c.want {
				if !strings.Contains("\n"+err.Error(), want) {
					t.Errorf("not told: %s", want)
				}
			}
			if t.Failed() {
				t.Logf("told:\n%v", err)
			}
			if err := validator.validate([]byte(c.text)); (err == nil) != c.beyond {
				t.Errorf("the schema says %v, and should see it: %v", err, !c.beyond)
			}
		})
	}
}

// validator validates by the JSON Schema.
type validator struct{ schema *jsonschema.Schema }

func compileSchema(t testing.TB) validator {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("hallmark.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("hallmark.json")
	if err != nil {
		t.Fatal(err)
	}
	return validator{compiled}
}

// validate validates each document of a file, as an editor does.
func (v validator) validate(text []byte) error {
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		if err := yaml.Unmarshal(document, new(any)); err != nil {
			return err
		}
		asJSON, err := k8syaml.YAMLToJSONStrict(document)
		if err != nil {
			return err
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		if err != nil {
			return err
		}
		if value == nil {
			continue // nothing but comments
		}
		if err := v.schema.Validate(value); err != nil {
			return err
		}
	}
	return nil
}

func TestManyProblemsAreCounted(t *testing.T) {
	_, err := Parse("f.yaml", []byte(resourceOf(KindProxy, "\n  disclosure: {public: ["+strings.Repeat("A,", 250)+"]}")))
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != maxProblems+1 || problems[maxProblems].Text != "and 150 more problems" {
		t.Errorf("got %d problems, %v", len(problems), err)
	}
	_, err = Parse("f.yaml", []byte(resourceOf(KindProxy, "\n  disclosure: {public: ["+strings.Repeat("{},", 50_000)+"]}")))
	if !errors.As(err, &problems) || problems[maxProblems].Text != "and 900 more problems" {
		t.Errorf("got %d problems", len(problems))
	}
}

// A small file of aliases must not stand for a huge one.
func TestAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: hallmark.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec:\n  rules:\n")
	b.WriteString("  - &a {when: [{attribute: &v a, values: [" + strings.Repeat("x,", 500) + "]}]}\n")
	b.WriteString(strings.Repeat("  - *a\n", 1000))
	_, err := Parse("f.yaml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "file holds more than 131072 values") {
		t.Errorf("got %.200v", err)
	}
}

func TestFileIsBounded(t *testing.T) {
	_, err := Parse("f.yaml", bytes.Repeat([]byte("#\n"), maxFile/2+1))
	if err == nil || err.Error() != "f.yaml: file is larger than 4194304 bytes" {
		t.Errorf("got %v", err)
	}
}

// What an API server prints can be used as it is.
func TestAsKubectlPrintsIt(t *testing.T) {
	text, err := os.ReadFile("testdata/kubectl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("kubectl.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Inbounds) != 1 || len(c.Policies) != 1 || c.Inbounds[0].Origin != "kubectl.yaml:4" {
		t.Errorf("got %+v", c)
	}
	shown, err := json.Marshal(c)
	if err != nil || bytes.Contains(shown, []byte("s3cret")) || !bytes.Contains(shown, []byte(`"example.org/token":"REDACTED"`)) {
		t.Errorf("shown %s, %v", shown, err)
	}
}
