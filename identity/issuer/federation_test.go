package issuer

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/hallmark-mesh/hallmark/test/ca"
)

var otherTD = spiffeid.RequireTrustDomainFromString("other.org")

// await waits until an update satisfies the condition.
func await(t *testing.T, u updates, what string, satisfied func(*x509bundle.Set) bool) *workloadapi.X509Context {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case c := <-u.contexts:
			if satisfied(c.Bundles) {
				return c
			}
		case <-timeout:
			t.Fatalf("no update in which %s", what)
		}
	}
}

func hasOther(b *x509bundle.Set) bool   { return b.Has(otherTD) }
func lacksOther(b *x509bundle.Set) bool { return !b.Has(otherTD) }

func TestFederateTwoIssuersInOneProcess(t *testing.T) {
	dir := socketDir(t)
	one := open(t, Config{Socket: dir + "/one", Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: myUID()}, FederatesWith: []spiffeid.TrustDomain{otherTD}}}})
	two := open(t, Config{TrustDomain: otherTD, Socket: dir + "/two", Workloads: []Workload{
		{ID: spiffeid.RequireFromPath(otherTD, "/x"), Selectors: Selectors{UID: myUID()}, FederatesWith: []spiffeid.TrustDomain{td}},
	}})
	Federate(one, two)
	run(t, one)
	run(t, two)
	a, b := watch(t, dir+"/one"), watch(t, dir+"/two")
	atOne, atTwo := await(t, a, "there is the other bundle", hasOther), b.next(t)
	for _, pair := range [][2]*workloadapi.X509Context{{atOne, atTwo}, {atTwo, atOne}} {
		if _, _, err := x509svid.Verify(pair[0].SVIDs[0].Certificates, pair[1].Bundles); err != nil {
			t.Error(err)
		}
	}
	if err := two.RotateAuthority(); err != nil {
		t.Fatal(err)
	}
	await(t, a, "there are both authorities of the other", func(set *x509bundle.Set) bool {
		bundle, err := set.GetX509BundleForTrustDomain(otherTD)
		return err == nil && len(bundle.X509Authorities()) == 2
	})
}

func TestFederateGivesOnlyWhatIsRegistered(t *testing.T) {
	socket := socketDir(t) + "/agent.sock"
	one := open(t, Config{Socket: socket, Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: myUID()}}}})
	Federate(one, open(t, Config{TrustDomain: otherTD}))
	run(t, one)
	if c := watch(t, socket).next(t); c.Bundles.Len() != 1 {
		t.Errorf("got %v without federatesWith", c.Bundles.Bundles())
	}
}

func TestFederateByFiles(t *testing.T) {
	for name, file := range map[string]string{"SPIFFE bundle": "other.org.json", "PEM": "other.org.pem"} {
		for _, named := range []bool{true, false} {
			t.Run(name+map[bool]string{true: " by name", false: " in a directory"}[named], func(t *testing.T) {
				dir := socketDir(t)
				path := filepath.Join(dir, file)
				other := open(t, Config{TrustDomain: otherTD, ExportBundle: []string{path}})
				config := Config{Socket: dir + "/agent.sock", Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: myUID()}, FederatesWith: []spiffeid.TrustDomain{otherTD}}}}
				if named {
					config.Federation.Bundles = []ForeignBundle{{TrustDomain: otherTD, File: path}}
				} else {
					config.Federation.Directory = dir
				}
				i := open(t, config)
				run(t, i)
				u := watch(t, config.Socket)
				first := await(t, u, "there is the other bundle", hasOther)
				if got, _ := first.Bundles.GetX509BundleForTrustDomain(otherTD); !got.Equal(other.Bundle()) {
					t.Error("the bundle is not the exported one")
				}
				if err := other.RotateAuthority(); err != nil {
					t.Fatal(err)
				}
				await(t, u, "there is the new authority", func(set *x509bundle.Set) bool {
					got, err := set.GetX509BundleForTrustDomain(otherTD)
					return err == nil && got.Equal(other.Bundle())
				})
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				await(t, u, "the other bundle is gone", lacksOther)
				if err := other.RotateAuthority(); err != nil {
					t.Fatal(err)
				}
				await(t, u, "the other bundle is back", hasOther)
			})
		}
	}
}

func TestFederationKeepsLastGoodBundle(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/other.org.json"
	open(t, Config{TrustDomain: otherTD, ExportBundle: []string{path}})
	i := open(t, Config{Federation: Federation{Directory: dir}})
	before := i.current.Load().foreign[otherTD]
	leaf := ca.New(t, "other.org").SVID(t, "/leaf")
	notCA, err := spiffebundle.FromX509Authorities(otherTD, leaf.Certificates).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"garbage":   "garbage",
		"empty":     "",
		"no keys":   `{"keys":[]}`,
		"not a CA":  string(notCA),
		"too large": strings.Repeat(" ", maxBundleFile+1),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		i.readForeign()
		if after := i.current.Load().foreign[otherTD]; len(before) == 0 || !after.equal(before) {
			t.Errorf("%s: the bundle became %v", name, after)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	i.readForeign()
	if after := i.current.Load().foreign[otherTD]; !after.equal(before) {
		t.Errorf("a directory in its place: the bundle became %v", after)
	}
}

func TestFederationDirectoryIgnoresWhatItMust(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{TrustDomain: otherTD, ExportBundle: []string{dir + "/other.org.json", dir + "/example.org.json", dir + "/Not A Domain.json", dir + "/.hidden.org.json", dir + "/third.org.txt"}})
	i := open(t, Config{Federation: Federation{Directory: dir}})
	if foreign := i.current.Load().foreign; len(foreign) != 1 || foreign[otherTD] == nil {
		t.Errorf("foreign bundles: %v", foreign)
	}
}

// A log in a watched directory must not be what the issuer logs about.
func TestFederationIgnoresItsNeighbours(t *testing.T) {
	f := Federation{Directory: "/dir", Bundles: []ForeignBundle{{TrustDomain: otherTD, File: "/a/../b/other"}}}
	for path, want := range map[string]bool{
		"/dir/other.org.json": true, "/dir/other.org.pem": true, "/dir/..data": true, "/b/..data": true, "/b/other": true,
		"/dir/issuer.log": false, "/b/another": false, "/b/x.json": false,
	} {
		if got := f.concerns(path); got != want {
			t.Errorf("concerns(%q) = %v", path, got)
		}
	}
	var log bytes.Buffer
	i := open(t, Config{Federation: Federation{Directory: t.TempDir() + "/missing"}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 10 {
		i.readForeign()
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("the same trouble was logged %d times", n)
	}
}

func TestSetForeignBundleRefusals(t *testing.T) {
	i := open(t, Config{})
	own := ca.New(t, td.Name())
	leaf := ca.New(t, "other.org").SVID(t, "/leaf")
	for name, bundle := range map[string]*x509bundle.Bundle{
		"own":      own.Bundle(),
		"empty":    x509bundle.New(otherTD),
		"not a CA": x509bundle.FromX509Authorities(otherTD, leaf.Certificates),
	} {
		if err := i.SetForeignBundle(bundle); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestExportBundleIsReadable(t *testing.T) {
	dir := t.TempDir()
	i := open(t, Config{ExportBundle: []string{dir + "/b.json", dir + "/b.pem"}})
	for _, path := range []string{"/b.json", "/b.pem"} {
		if info, err := os.Stat(dir + path); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	fromJSON, err := spiffebundle.Load(td, dir+"/b.json")
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := fromJSON.SequenceNumber(); !ok || n != 1 {
		t.Errorf("sequence %d, %v", n, ok)
	}
	if _, ok := fromJSON.RefreshHint(); !ok || !fromJSON.X509Bundle().Equal(i.Bundle()) {
		t.Error("no refresh hint, or another bundle")
	}
	fromPEM, err := x509bundle.Load(td, dir+"/b.pem")
	if err != nil || !fromPEM.Equal(i.Bundle()) {
		t.Errorf("PEM: %v", err)
	}
	content, err := os.ReadFile(dir + "/b.json")
	if err != nil || !json.Valid(content) || strings.Contains(string(content), `"d":`) {
		t.Error("the exported bundle must be JSON without a private key")
	}
}

func FuzzParseBundle(f *testing.F) {
	dir := f.TempDir()
	i := open(f, Config{TrustDomain: otherTD, ExportBundle: []string{dir + "/b.json", dir + "/b.pem"}})
	for _, name := range []string{"/b.json", "/b.pem"} {
		content, err := os.ReadFile(dir + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, name == "/b.pem")
	}
	f.Add([]byte(`{"keys":[{"use":"x509-svid","kty":"EC","x5c":[]}]}`), false)
	f.Add([]byte(`{"keys":[],"spiffe_refresh_hint":-9223372036854775808}`), false)
	own := i.Bundle()
	f.Fuzz(func(t *testing.T, content []byte, isPEM bool) {
		list, err := parseBundle(own.TrustDomain(), content, isPEM)
		if err != nil {
			return
		}
		if len(list) == 0 || len(list) > maxAuthorities {
			t.Fatalf("a bundle of %d authorities was accepted", len(list))
		}
		for _, c := range list {
			if !c.IsCA {
				t.Fatal("a bundle with a leaf was accepted")
			}
		}
	})
}
