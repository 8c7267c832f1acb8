package issuer

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
)

// SPIRE's own client takes the issuer for an agent.
func TestSPIREAgentFetchesX509(t *testing.T) {
	agent := components.Path(t, components.SPIREAgent)
	other := ca.New(t, "other.org")
	for _, kind := range []KeyType{P256, P384, RSA2048, Ed25519} {
		t.Run(string(kind), func(t *testing.T) {
			dir := socketDir(t)
			i := open(t, Config{
				Socket: dir + "/agent.sock", KeyType: kind, Intermediate: true,
				Workloads: []Workload{
					{ID: idA, Selectors: Selectors{UID: myUID(), Path: resolved(t, agent)}, Attributes: attributes(t, "k8s.pod.name", "a-0"), FederatesWith: []spiffeid.TrustDomain{other.TrustDomain()}},
					{ID: idB, Hint: "second", Selectors: Selectors{UID: myUID()}},
				},
			})
			if err := i.SetForeignBundle(other.Bundle()); err != nil {
				t.Fatal(err)
			}
			run(t, i)
			output := components.Output(t, components.Process{Path: agent, Args: []string{"api", "fetch", "x509", "-socketPath", dir + "/agent.sock", "-write", dir}})
			for _, want := range []string{"Received 2 svids", idA.String(), idB.String(), "other.org"} {
				if !strings.Contains(output, want) {
					t.Errorf("spire-agent does not say %q:\n%s", want, output)
				}
			}
			verifyWritten(t, dir, i.Bundle(), other.Bundle())
		})
	}
}

// verifyWritten checks the files that spire-agent wrote: the first SVID, its
// key, its bundle, and the first federated bundle.
func verifyWritten(t *testing.T, dir string, own, foreign *x509bundle.Bundle) {
	t.Helper()
	svid, err := x509svid.Load(dir+"/svid.0.pem", dir+"/svid.0.key")
	if err != nil {
		t.Fatal(err)
	}
	if id, _, err := x509svid.Verify(svid.Certificates, own); err != nil || id != idA || len(svid.Certificates) != 2 {
		t.Errorf("%d certificates of %v verify: %v", len(svid.Certificates), id, err)
	}
	for path, want := range map[string]*x509bundle.Bundle{"bundle.0.pem": own, "federated_bundle.0.0.pem": foreign} {
		content, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(content)
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !want.HasX509Authority(certificate) {
			t.Errorf("%s holds another authority: %v", path, err)
		}
	}
}

func TestSPIREAgentIsRefusedWithoutRegistration(t *testing.T) {
	agent := components.Path(t, components.SPIREAgent)
	socket := socketDir(t) + "/agent.sock"
	i := open(t, Config{Socket: socket, Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: myUID(), Path: "/bin/sh"}}}})
	run(t, i)
	r := components.Start(t, components.Process{Path: agent, Args: []string{"api", "fetch", "x509", "-socketPath", socket}})
	if err := r.Wait(limited(t)); err == nil || !strings.Contains(r.Output(), "no identity issued") {
		t.Errorf("spire-agent ended with %v and said %q", err, r.Output())
	}
}

func resolved(t *testing.T, path string) string {
	t.Helper()
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return target
}
