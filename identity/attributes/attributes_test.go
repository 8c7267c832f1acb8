package attributes

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nowhere is a configuration that finds nothing but the host, whatever the
// machine's environment is.
func nowhere(t *testing.T) Config {
	t.Helper()
	for _, v := range variables() {
		t.Setenv(v.from, "")
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "")
	t.Setenv("OTEL_SERVICE_NAME", "")
	dir := t.TempDir()
	return Config{PodInfo: filepath.Join(dir, "podinfo"), ServiceAccount: filepath.Join(dir, "serviceaccount")}
}

// put writes a file, and its folder.
func put(t *testing.T, content string, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// want compares the attributes apart from host.name.
func want(t *testing.T, got identity.Attributes, namesAndValues ...string) {
	t.Helper()
	got = got.Select(func(name string) bool { return name != "host.name" })
	if want := ca.Attributes(t, namesAndValues...); !got.Equal(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestHost(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	got := Detect(t.Context(), nowhere(t))
	if name, _ := got.Get("host.name"); name != host {
		t.Errorf("host.name is %q, want %q", name, host)
	}
	want(t, got)
}

func TestOpenTelemetryEnvironment(t *testing.T) {
	c := nowhere(t)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,service.version=1%2C5, deployment.environment.name = prod ,host.name=mine")
	t.Setenv("OTEL_SERVICE_NAME", "cart")
	got := Detect(t.Context(), c)
	want(t, got, "service.name", "cart", "service.version", "1,5", "deployment.environment.name", "prod")
	if host, _ := got.Get("host.name"); host != "mine" {
		t.Errorf("host.name is %q: the environment does not override detection", host)
	}
}

func TestKubernetesVariables(t *testing.T) {
	c := nowhere(t)
	var expected []string
	for _, v := range variables() {
		t.Setenv(v.from, "the-"+v.from)
		expected = append(expected, v.attribute, "the-"+v.from)
	}
	want(t, Detect(t.Context(), c), expected...)
}

func TestKubernetesVariablesCountInAPodOnly(t *testing.T) {
	c := nowhere(t)
	t.Setenv("NODE_NAME", "a-build-machine")
	want(t, Detect(t.Context(), c))
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	want(t, Detect(t.Context(), c), "k8s.node.name", "a-build-machine")
}

func TestDownwardAPIFiles(t *testing.T) {
	c := nowhere(t)
	put(t, "shop\n", c.ServiceAccount, "namespace")
	put(t, "cart-6d4f8b-x7k2p", c.PodInfo, "name")
	put(t, "0f1e", c.PodInfo, "uid")
	put(t, `app.kubernetes.io/name="cart"
app.kubernetes.io/version="1.2"
pod-template-hash="6d4f8b"
topology.kubernetes.io/region="eu-1"
topology.kubernetes.io/zone="eu-1a"
unrelated="x"
`, c.PodInfo, "labels")
	put(t, `kubernetes.io/config.seen="2026-01-01"
resource.opentelemetry.io/deployment.environment.name="prod \"blue\""
resource.opentelemetry.io/cloud.region="eu-west-1"
`, c.PodInfo, "annotations")
	want(t, Detect(t.Context(), c),
		"k8s.namespace.name", "shop", "k8s.pod.name", "cart-6d4f8b-x7k2p", "k8s.pod.uid", "0f1e",
		"k8s.deployment.name", "cart", "k8s.replicaset.name", "cart-6d4f8b",
		"service.name", "cart", "service.version", "1.2", "cloud.availability_zone", "eu-1a",
		"deployment.environment.name", `prod "blue"`, "cloud.region", "eu-west-1")
}

// TestOwners derives the names of what owns a pod.
func TestOwners(t *testing.T) {
	for pod, test := range map[string]struct{ labels, want map[string]string }{
		"a-b-5f7-xxxxx": {map[string]string{"pod-template-hash": "5f7"}, map[string]string{"k8s.deployment.name": "a-b", "k8s.replicaset.name": "a-b-5f7", "service.name": "a-b"}},
		"5f7-xxxxx":     {map[string]string{"pod-template-hash": "5f7"}, map[string]string{}},
		"-5f7-xxxxx":    {map[string]string{"pod-template-hash": "5f7"}, map[string]string{}},
		"a-5f7-":        {map[string]string{"pod-template-hash": "5f7"}, map[string]string{}},
		"db-12":         {map[string]string{"statefulset.kubernetes.io/pod-name": "db-12"}, map[string]string{"k8s.statefulset.name": "db", "service.name": "db"}},
		"db-x":          {map[string]string{"statefulset.kubernetes.io/pod-name": "db-x"}, map[string]string{}},
		"alone":         {nil, map[string]string{}},
	} {
		found := map[string]string{"k8s.pod.name": pod}
		imply(found, test.labels)
		delete(found, "k8s.pod.name")
		if !maps.Equal(found, test.want) {
			t.Errorf("pod %s: got %v, want %v", pod, found, test.want)
		}
	}
}

// TestPrecedence states one attribute everywhere and takes the sources away,
// from the strongest to the weakest.
func TestPrecedence(t *testing.T) {
	c := nowhere(t)
	const name = "k8s.namespace.name"
	c.Flags = []identity.Attribute{{Name: name, Value: "flag"}}
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", name+"=otel")
	put(t, "resource.opentelemetry.io/"+name+"=\"annotation\"\n", c.PodInfo, "annotations")
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	t.Setenv("POD_NAMESPACE", "variable")
	put(t, "file", c.PodInfo, "namespace")
	put(t, "account", c.ServiceAccount, "namespace")
	for _, step := range []struct {
		want string
		then func()
	}{
		{"flag", func() { c.Flags = nil }},
		{"otel", func() { t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "") }},
		{"annotation", func() { put(t, "", c.PodInfo, "annotations") }},
		{"variable", func() { t.Setenv("POD_NAMESPACE", "") }},
		{"file", func() { put(t, "", c.PodInfo, "namespace") }},
		{"account", func() { put(t, "", c.ServiceAccount, "namespace") }},
		{"", func() {}},
	} {
		if got, _ := Detect(t.Context(), c).Get(name); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
		step.then()
	}
}

func TestWhatCannotBeCarriedIsLeftOut(t *testing.T) {
	for what, test := range map[string]struct{ name, value, reason string }{
		"too long":     {"a", strings.Repeat("x", 256), "256 bytes"},
		"not NFC":      {"a", "cafe\u0301", "normalization form C"},
		"control":      {"a", "a\nb", "not allowed"},
		"name":         {"Team", "x", "no attribute name"},
		"long name":    {strings.Repeat("a", 64), "x", "no attribute name"},
		"not UTF-8":    {"a", "\xff", "not UTF-8"},
		"empty":        {"a", "", "0 bytes"},
		"hidden in it": {"a\x1b[31m", "x", `a\x1b`},
	} {
		t.Run(what, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			c := nowhere(t)
			c.Logger = zap.New(core)
			c.Flags = []identity.Attribute{{Name: test.name, Value: test.value}, {Name: "kept", Value: "yes"}}
			want(t, Detect(t.Context(), c), "kept", "yes")
			if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, test.reason) || strings.Contains(logs.All()[0].Message, "\x1b") {
				t.Errorf("logged %v, want one warning with %q", logs.All(), test.reason)
			}
		})
	}
}

// TestTooManyKeepTheImportant gives more than fits: what is flagged and what
// metrics label by stays.
func TestTooManyKeepTheImportant(t *testing.T) {
	for what, size := range map[string]int{"number": 1, "bytes": 200} {
		t.Run(what, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			c := nowhere(t)
			c.Logger = zap.New(core)
			t.Setenv("POD_NAME", "web-0")
			var pairs []string
			for i := range 2 * identity.MaxAttributes {
				pairs = append(pairs, fmt.Sprintf("a%d=%s", i, strings.Repeat("x", size)))
			}
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", strings.Join(pairs, ","))
			c.Flags = []identity.Attribute{{Name: "zz", Value: "flagged"}}
			got := Detect(t.Context(), c)
			for name, value := range map[string]string{"zz": "flagged", "k8s.pod.name": "web-0"} {
				if v, _ := got.Get(name); v != value {
					t.Errorf("%s is %q, want %q", name, v, value)
				}
			}
			total := 0
			for a := range got.All() {
				total += len(a.Name) + len(a.Value)
			}
			if left := 2*identity.MaxAttributes + 3 - got.Len(); total > maxTotal || logs.Len() != left {
				t.Errorf("%d attributes of %d bytes were kept, %d warnings; want %d warnings and at most %d bytes", got.Len(), total, logs.Len(), left, maxTotal)
			}
		})
	}
}

func TestChangesTakeEffectAtOnce(t *testing.T) {
	c := nowhere(t)
	c.Settle, c.Poll = 5*time.Millisecond, 24*time.Hour
	version := 0
	publish := func(labels string) { // the way that the kubelet does it
		version++
		name := "..v" + strconv.Itoa(version)
		put(t, labels, c.PodInfo, name, "labels")
		tmp := filepath.Join(c.PodInfo, "..data_tmp")
		if err := os.Symlink(name, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(c.PodInfo, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("app.kubernetes.io/version=\"1\"\n")
	if err := os.Symlink("..data/labels", filepath.Join(c.PodInfo, "labels")); err != nil {
		t.Fatal(err)
	}
	var store identity.Store
	if err := store.Publish(ca.New(t, "example.org").Snapshot(t, "/a", identity.Attributes{})); err != nil {
		t.Fatal(err)
	}
	s := Open(c, store.SetAttributes)
	defer s.Close()
	for _, version := range []string{"1", "2", "3"} {
		if version != "1" {
			publish("app.kubernetes.io/version=" + strconv.Quote(version) + "\n")
		}
		ca.Await(t, &store, "version "+version+" is in force", func(current *identity.Snapshot, _ error) bool {
			got, _ := current.Attributes.Get("service.version")
			return got == version
		})
	}
}

// TestWarningsAreSaidOnce looks at a broken file again and again.
func TestWarningsAreSaidOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	c := nowhere(t)
	c.Logger = zap.New(core)
	put(t, "broken", c.PodInfo, "labels")
	s := Open(c, func(identity.Attributes) {})
	_ = s.Close()
	f := follower{config: c.withDefaults(), set: func(identity.Attributes) {}, said: make(map[string]bool)}
	logs.TakeAll()
	for range 3 {
		f.refresh(t.Context())
	}
	if logs.Len() != 1 {
		t.Errorf("logged %v, want one warning", logs.All())
	}
	put(t, "", c.PodInfo, "labels")
	f.refresh(t.Context())
	put(t, "broken", c.PodInfo, "labels")
	f.refresh(t.Context())
	if logs.Len() != 2 {
		t.Errorf("logged %v, want a second warning after it was mended and broken again", logs.All())
	}
}

func TestParseFlag(t *testing.T) {
	for text, valid := range map[string]bool{"a=b": true, "a.b=c=d": true, "a=": true, "a": false, "=b": false, "A=b": false, "a b=c": false} {
		if a, err := ParseFlag(text); (err == nil) != valid || valid && a.Name+"="+a.Value != text {
			t.Errorf("ParseFlag(%q) = %v, %v, want valid=%t", text, a, err, valid)
		}
	}
}

// FuzzPairs holds the parser of labels and annotations to Kubernetes' own form.
func FuzzPairs(f *testing.F) {
	f.Add("a=\"b\"\nc.d/e=\"f\\\"g\\n\"\n")
	f.Add("a=`b`")
	f.Add("=\"\"\n\r\n")
	f.Add("a")
	f.Fuzz(func(t *testing.T, text string) {
		pairs, err := parsePairs(text)
		if err != nil {
			return
		}
		var again strings.Builder
		for k, v := range pairs {
			fmt.Fprintf(&again, "%s=%q\n", k, v)
		}
		if got, err := parsePairs(again.String()); err != nil || !maps.Equal(got, pairs) {
			t.Errorf("%q is read as %q and then as %q, %v", text, pairs, got, err)
		}
	})
}
