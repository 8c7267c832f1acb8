package issuer

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const wholeConfig = `
trustDomain: example.org
directory: /var/lib/hallmark
socket: /run/hallmark/agent.sock
socketMode: "0770"
svidTTL: 30m
caTTL: 24h
keyType: ec-p384
caKeyType: rsa-2048
intermediate: true
exportBundle: [/run/hallmark/example.org.json]
federation:
  directory: /etc/hallmark/bundles
  bundles:
  - trustDomain: other.org
    file: /etc/other.pem
limits:
  connections: 10
  connectionsPerUID: 5
  streamsPerUID: 7
  sendTimeout: 3s
workloads:
- id: spiffe://example.org/ns/a/sa/a
  hint: internal
  selectors: {uid: 0, gid: 1000, path: /usr/bin/a, sha256: "` + zeros + `"}
  attributes: {k8s.pod.name: a-0, service.version: "1.2"}
  federatesWith: [other.org]
- id: spiffe://example.org/ns/b/sa/b
  socket: /run/hallmark/b.sock
  socketMode: "0660"
`

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func TestParseConfigReadsEveryField(t *testing.T) {
	path := t.TempDir() + "/issuer.yaml"
	if err := os.WriteFile(path, []byte(wholeConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	other := spiffeid.RequireTrustDomainFromString("other.org")
	want := Config{
		TrustDomain: td, Directory: "/var/lib/hallmark", Socket: "/run/hallmark/agent.sock", SocketMode: 0o770,
		SVIDTTL: 30 * time.Minute, CATTL: 24 * time.Hour, KeyType: P384, CAKeyType: RSA2048, Intermediate: true,
		ExportBundle: []string{"/run/hallmark/example.org.json"},
		Federation:   Federation{Directory: "/etc/hallmark/bundles", Bundles: []ForeignBundle{{TrustDomain: other, File: "/etc/other.pem"}}},
		Limits:       Limits{Connections: 10, ConnectionsPerUID: 5, StreamsPerUID: 7, SendTimeout: 3 * time.Second},
		Workloads: []Workload{
			{
				ID: idA, Hint: "internal",
				Selectors:  Selectors{UID: new(uint32(0)), GID: new(uint32(1000)), Path: "/usr/bin/a", SHA256: zeros},
				Attributes: attributes(t, "k8s.pod.name", "a-0", "service.version", "1.2"), FederatesWith: []spiffeid.TrustDomain{other},
			},
			{ID: idB, Socket: "/run/hallmark/b.sock", SocketMode: 0o660},
		},
	}
	for n := range got.Workloads { // an empty set, however made
		if got.Workloads[n].Attributes.Equal(want.Workloads[n].Attributes) {
			got.Workloads[n].Attributes = want.Workloads[n].Attributes
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}

func TestConfigErrorsNameFileAndField(t *testing.T) {
	workload := func(fields string) string {
		return "trustDomain: example.org\nworkloads:\n- {id: 'spiffe://example.org/a', selectors: {uid: 1}}\n- {" + fields + "}\n"
	}
	for content, want := range map[string]string{
		"":                                         "trustDomain: is required",
		"trustDomain: 'Not One'":                   "trustDomain: ",
		"trustDomain: a\ntrustDomain: b":           "trustDomain",
		"trustDomian: a":                           "trustDomian",
		"trustDomain: [a]":                         "trustDomain",
		"trustDomain: a\nsvidTTL: soon":            "svidTTL: ",
		"trustDomain: a\nsvidTTL: -1h":             "svidTTL: ",
		"trustDomain: a\nsvidTTL: 1ms":             "svidTTL: ",
		"trustDomain: a\ncaTTL: 2h":                "caTTL: ",
		"trustDomain: a\nkeyType: dsa":             "keyType: ",
		"trustDomain: a\ncaKeyType: dsa":           "caKeyType: ",
		"trustDomain: a\nsocketMode: rw":           "socketMode: ",
		"trustDomain: a\nsocketMode: '07777'":      "socketMode: ",
		"trustDomain: a\nsocket: agent.sock":       "socket: ",
		"trustDomain: a\nlimits: {sendTimeout: x}": "limits.sendTimeout: ",
		"trustDomain: a\nfederation: {bundles: [{trustDomain: a, file: x}]}":                          "federation: bundles[0].trustDomain: ",
		"trustDomain: a\nfederation: {bundles: [{trustDomain: b}]}":                                   "federation: bundles[0].file: ",
		"trustDomain: a\nfederation: {bundles: [{trustDomain: b!, file: x}]}":                         "federation.bundles[0].trustDomain: ",
		workload("selectors: {uid: 1}"):                                                               "workloads[1].id: is required",
		workload("id: 'spiffe://example.org', selectors: {uid: 1}"):                                   "workloads[1].id: ",
		workload("id: 'spiffe://other.org/a', selectors: {uid: 1}"):                                   "workloads[1].id: ",
		workload("id: 'https://example.org/a', selectors: {uid: 1}"):                                  "workloads[1].id: ",
		workload("id: 'spiffe://example.org/b'"):                                                      "workloads[1].selectors: ",
		workload("id: 'spiffe://example.org/b', selectors: {uid: -1}"):                                "selectors.uid",
		workload("id: 'spiffe://example.org/b', selectors: {user: root}"):                             "user",
		workload("id: 'spiffe://example.org/b', selectors: {path: bin/x}"):                            "workloads[1].selectors: path: ",
		workload("id: 'spiffe://example.org/b', selectors: {path: /bin/../x}"):                        "workloads[1].selectors: path: ",
		workload("id: 'spiffe://example.org/b', selectors: {sha256: abc}"):                            "workloads[1].selectors: sha256: ",
		workload("id: 'spiffe://example.org/b', socket: x"):                                           "workloads[1].socket: ",
		workload("id: 'spiffe://example.org/b', socket: /x, socketMode: '9'"):                         "workloads[1].socketMode: ",
		workload("id: 'spiffe://example.org/b', socket: /x, attributes: {A: b}"):                      "workloads[1].attributes: ",
		workload("id: 'spiffe://example.org/b', socket: /x, federatesWith: [example.org]"):            "workloads[1].federatesWith[0]: ",
		workload("id: 'spiffe://example.org/b', socket: /x, hint: " + strings.Repeat("h", maxHint+1)): "workloads[1].hint: ",
	} {
		path := t.TempDir() + "/issuer.yaml"
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := ReadConfig(path)
		if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%q does not name the file", err)
		}
		if err == nil {
			err = c.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.120q: got %v, want it to name %q", content, err, want)
		}
	}
}

func TestConfigErrorsAreAllReported(t *testing.T) {
	_, err := New(Config{KeyType: "dsa", SVIDTTL: 1, Workloads: []Workload{{}}})
	for _, want := range []string{"trustDomain", "keyType", "svidTTL", "workloads[0].id", "workloads[0].selectors"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestConfigRefusesContradictions(t *testing.T) {
	for name, c := range map[string]Config{
		"modes of one socket": {TrustDomain: td, Workloads: []Workload{{ID: idA, Socket: "/s", SocketMode: 0o600}, {ID: idB, Socket: "/s", SocketMode: 0o660}}},
		"own is shared":       {TrustDomain: td, Socket: "/s", Workloads: []Workload{{ID: idA, Socket: "/s"}}},
		"too many attributes": {TrustDomain: td, Workloads: []Workload{{ID: idA, Socket: "/s", Attributes: attributes(t, large()...)}}},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// large returns more attributes than receivers accept inside an SVID.
func large() []string {
	var pairs []string
	for n := range 20 {
		pairs = append(pairs, "a."+strings.Repeat("x", n+1), strings.Repeat("v", 255))
	}
	return pairs
}

func TestParseWorkload(t *testing.T) {
	other := spiffeid.RequireTrustDomainFromString("other.org")
	for line, want := range map[string]Workload{
		"spiffe://example.org/ns/a/sa/a,uid=1000,attr:k8s.pod.name=x": {ID: idA, Selectors: Selectors{UID: new(uint32(1000))}, Attributes: attributes(t, "k8s.pod.name", "x")},
		"spiffe://example.org/ns/a/sa/a,gid=0,path=/bin/a,sha256=" + zeros + ",hint=h=1,federates-with=other.org": {
			ID: idA, Hint: "h=1", Selectors: Selectors{GID: new(uint32(0)), Path: "/bin/a", SHA256: zeros}, FederatesWith: []spiffeid.TrustDomain{other},
		},
		"spiffe://example.org/ns/b/sa/b,socket=/run/b.sock,mode=0660": {ID: idB, Socket: "/run/b.sock", SocketMode: 0o660},
		"spiffe://example.org/ns/b/sa/b":                              {ID: idB},
	} {
		got, err := ParseWorkload(line)
		if err != nil {
			t.Error(err)
			continue
		}
		if got.Attributes.Equal(want.Attributes) {
			got.Attributes = want.Attributes
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", line, got, want)
		}
	}
}

func TestParseWorkloadErrors(t *testing.T) {
	for line, want := range map[string]string{
		"":                                         "id: ",
		"example.org/a":                            "id: ",
		"spiffe://example.org/a,":                  "key=value",
		"spiffe://example.org/a,uid":               "key=value",
		"spiffe://example.org/a,uid=":              "key=value",
		"spiffe://example.org/a,uid=root":          "uid: ",
		"spiffe://example.org/a,uid=-1":            "uid: ",
		"spiffe://example.org/a,uid=4294967296":    "uid: ",
		"spiffe://example.org/a,uid=1,uid=2":       "twice",
		"spiffe://example.org/a,user=x":            "no such key",
		"spiffe://example.org/a,mode=x":            "mode: ",
		"spiffe://example.org/a,attr:A=b":          "attr: ",
		"spiffe://example.org/a,attr:a=b,attr:a=c": "attr: ",
		"spiffe://example.org/a,federates-with=!":  "federates-with: ",
	} {
		if _, err := ParseWorkload(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want it to say %q", line, err, want)
		}
	}
}

func FuzzParseWorkload(f *testing.F) {
	f.Add("spiffe://example.org/ns/a/sa/a,uid=1000,attr:k8s.pod.name=x")
	f.Add("spiffe://example.org/a,gid=0,path=/bin/a,sha256=" + zeros + ",socket=/s,mode=0660,hint=h,federates-with=other.org")
	f.Fuzz(func(t *testing.T, line string) {
		w, err := ParseWorkload(line)
		if err != nil {
			return
		}
		again, err := ParseWorkload(w.String())
		if err != nil || again.fingerprint() != w.fingerprint() || again.SocketMode != w.SocketMode {
			t.Fatalf("%q became %q, then %v, %v", line, w, again, err)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(wholeConfig))
	f.Add([]byte("trustDomain: a\nworkloads: [{id: 'spiffe://a/b', selectors: {uid: 1}}]"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, err := ParseConfig(content)
		if err != nil || c.Validate() != nil {
			return
		}
		for _, w := range c.Workloads {
			if !w.ID.MemberOf(c.TrustDomain) || w.ID.Path() == "" || w.Socket == "" && w.Selectors.empty() {
				t.Fatalf("accepted %v", w)
			}
		}
	})
}
