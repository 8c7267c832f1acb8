package contenders

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// localConfig is what ztunnel's file may say: of its own schema, the part that its
// example uses. Unknown fields are errors there, as they are here.
type localConfig struct {
	Workloads []struct {
		UID            string                       `json:"uid"`
		Name           string                       `json:"name"`
		Namespace      string                       `json:"namespace"`
		ServiceAccount string                       `json:"serviceAccount"`
		WorkloadIPs    []string                     `json:"workloadIps"`
		Protocol       string                       `json:"protocol"`
		Node           string                       `json:"node"`
		Network        *string                      `json:"network"`
		Services       map[string]map[uint16]uint16 `json:"services"`
	} `json:"workloads"`
	Policies []any `json:"policies"`
	Services []any `json:"services"`
}

func TestZtunnelConfiguration(t *testing.T) {
	s := prepare(t, Run{Mode: TCP, Backend: "127.0.0.1:1"})
	env := map[string]string{}
	for _, one := range s.outbound.ztunnelEnv(t) {
		name, value, ok := strings.Cut(one, "=")
		if _, twice := env[name]; !ok || twice {
			t.Errorf("the environment has %q, twice or without a value", one)
		}
		env[name] = value
	}
	text, err := os.ReadFile(env["LOCAL_XDS_PATH"])
	if err != nil {
		t.Fatal(err)
	}
	var config localConfig
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(config.Workloads) != 1 {
		t.Fatalf("the workloads are %+v", config.Workloads)
	}
	w := config.Workloads[0]
	if w.UID == "" || w.Protocol != "HBONE" || !slices.Equal(w.WorkloadIPs, []string{"127.0.0.1"}) || w.Services == nil || w.Network == nil || w.Node != env["NODE_NAME"] {
		t.Errorf("the workload is %+v", w)
	}
	if got := w.Namespace + "/" + w.Name + "/" + w.ServiceAccount; got != env["PROXY_WORKLOAD_INFO"] || env["PROXY_MODE"] != "dedicated" || env["FAKE_CA"] != "true" {
		t.Errorf("the workload is %q, the environment %q", got, env)
	}
}

// TestWrongPrograms gives what is no such program: the error names the variable, or
// shows what the program said.
func TestWrongPrograms(t *testing.T) {
	dir := t.TempDir()
	plain, other := filepath.Join(dir, "plain"), filepath.Join(dir, "other")
	for name, mode := range map[string]os.FileMode{plain: 0o600, other: 0o700} {
		if err := os.WriteFile(name, []byte("#!/bin/sh\necho I am not it\nexit 3\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for variable, find := range map[string]func() (Contender, error){"ENVOY": Envoy, "ZTUNNEL": Ztunnel} {
		for _, path := range []string{plain, dir, filepath.Join(dir, "missing")} {
			t.Setenv(variable, path)
			if _, err := find(); err == nil || !strings.Contains(err.Error(), variable) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s=%s: the error is %v", variable, path, err)
			}
		}
		t.Setenv(variable, other)
		c, err := find()
		if err != nil {
			t.Errorf("%s=%s: %v", variable, other, err)
			continue
		}
		failed := failure(t, func(tb testing.TB) { c.Start(tb, Run{Mode: TCP, Backend: components.FreeAddr(t)}) })
		if !strings.Contains(failed, "exit status 3") || !strings.Contains(failed, "I am not it") {
			t.Errorf("%s=%s: the failure is %q", variable, other, failed)
		}
	}
	t.Setenv("ZTUNNEL", "")
	if _, err := Ztunnel(); err == nil || !strings.Contains(err.Error(), "set ZTUNNEL") {
		t.Errorf("without a path: %v", err)
	}
}

// failing is a test that records what it is told.
type failing struct {
	testing.TB
	cleanups []func()
	failed   bool
	said     strings.Builder
}

func (f *failing) Helper()                   {}
func (f *failing) Failed() bool              { return f.failed }
func (f *failing) Cleanup(c func())          { f.cleanups = append(f.cleanups, c) }
func (f *failing) Logf(s string, a ...any)   { f.say(s, a...) }
func (f *failing) Errorf(s string, a ...any) { f.failed = true; f.say(s, a...) }

func (f *failing) Fatalf(s string, a ...any) {
	f.Errorf(s, a...)
	runtime.Goexit()
}

func (f *failing) say(s string, a ...any) { fmt.Fprintf(&f.said, s+"\n", a...) }

// failure is what f, which must fail, says in doing so.
func failure(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	record := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(record)
	}()
	<-done
	for _, cleanup := range slices.Backward(record.cleanups) {
		cleanup()
	}
	if !record.failed {
		t.Error("it does not fail")
	}
	return record.said.String()
}
