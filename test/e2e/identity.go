package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/spire"
)

// TrustDomain is the trust domain of every mesh of these tests.
const TrustDomain = "example.org"

// Workload is somebody who can run a sidecar.
type Workload struct {
	ID       string // SPIFFE ID
	Binary   string // hallmark, under this workload's own name
	Endpoint string // of its Workload API
}

// SPIRE makes workloads of a real SPIRE domain, told apart by their executables.
// Each path is registered, and its agent knows, when this returns nothing yet:
// a sidecar waits for its identity.
func (b *Build) SPIRE(tb testing.TB, domain *spire.Domain, paths ...string) []Workload {
	tb.Helper()
	var all []Workload
	for _, path := range paths {
		w := Workload{ID: domain.ID(path), Binary: b.Linked(tb, filepath.Base(path)), Endpoint: domain.Endpoint()}
		domain.Register(tb, path, w.Binary)
		all = append(all, w)
	}
	return all
}

// Issuer is a running `hallmark issuer`, with a socket of its own for every
// workload.
type Issuer struct {
	build   *Build
	dir     string
	options IssuerOptions
	file    string
	process *components.Running
	socket  map[string]string // by SPIFFE ID
}

// IssuerOptions say what an [Issuer] issues.
type IssuerOptions struct {
	// Workloads are paths of SPIFFE IDs, with what is attested of each.
	Workloads map[string]map[string]string
	// SVIDTTL is how long SVIDs live; they are replaced at half of it. Zero
	// means an hour.
	SVIDTTL time.Duration
	// Forgetful issuers have a new authority whenever they are started.
	Forgetful bool
}

// Issuer runs an issuer.
func (b *Build) Issuer(tb testing.TB, options IssuerOptions) *Issuer {
	tb.Helper()
	i := &Issuer{build: b, dir: components.TempDirFor(tb, nil), options: options, socket: map[string]string{}}
	type workload struct {
		ID         string            `json:"id"`
		Socket     string            `json:"socket"`
		Attributes map[string]string `json:"attributes,omitempty"`
	}
	config := map[string]any{"trustDomain": TrustDomain}
	if options.SVIDTTL != 0 {
		config["svidTTL"] = options.SVIDTTL.String()
	}
	if !options.Forgetful {
		config["directory"] = filepath.Join(i.dir, "authority")
	}
	var workloads []workload
	for path, attested := range options.Workloads {
		id := "spiffe://" + TrustDomain + path
		i.socket[id] = filepath.Join(i.dir, strings.ReplaceAll(path[1:], "/", "-")+".sock")
		workloads = append(workloads, workload{id, i.socket[id], attested})
	}
	config["workloads"] = workloads
	text, err := json.Marshal(config) // JSON is YAML
	if err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	i.file = filepath.Join(i.dir, "issuer.yaml")
	if err := os.WriteFile(i.file, text, 0o600); err != nil {
		tb.Fatalf("e2e: %v", err)
	}
	i.Start(tb)
	return i
}

// Start starts the issuer anew after [Issuer.Kill].
func (i *Issuer) Start(tb testing.TB) {
	tb.Helper()
	i.process = components.Start(tb, components.Process{
		Name: "issuer", Path: i.build.Binary(tb), Args: []string{"issuer", "--config", i.file}, ReadyOutput: "listening on",
	})
}

// Kill kills the issuer as a crash would.
func (i *Issuer) Kill() { i.process.Kill() }

// Workload returns the workload of a path that the issuer knows.
func (i *Issuer) Workload(tb testing.TB, path string) Workload {
	tb.Helper()
	id := "spiffe://" + TrustDomain + path
	if i.socket[id] == "" {
		tb.Fatalf("e2e: the issuer does not know %s", path)
	}
	return Workload{ID: id, Binary: i.build.Binary(tb), Endpoint: "unix://" + i.socket[id]}
}
