package arch

// Room is a part of the module with rules of its own.
type Room struct {
	// Dir is the folder, relative to the module: "tlsctx" is that package
	// alone, "proxy/..." it and everything below, "proxy/*/..." everything
	// below each folder of proxy.
	Dir string
	// Imports are the rooms of ours that it may import, as patterns like Dir.
	// Its own room is always allowed; "*" stands for what it stood for in Dir.
	Imports []string
	// Never are packages, ours or others', that it may not import although
	// Imports or silence would allow them, each with what is below it.
	Never []string
	// Reason is what a violation is told.
	Reason string
}

// Rooms returns the layout. The first room whose Dir matches a package rules
// it; a package that no room matches is a violation.
func Rooms() []Room {
	const (
		grpc      = "google.golang.org/grpc"
		workloads = "github.com/spiffe/go-spiffe/v2/workloadapi"
		spiffetls = "github.com/spiffe/go-spiffe/v2/spiffetls"
	)
	heavy := []string{grpc, workloads, "github.com/prometheus", "go.uber.org/zap", "go.opentelemetry.io/otel"}
	return []Room{
		{
			Dir:    "internal/socket",
			Reason: "system calls on sockets: everything stands on it, and it uses nothing of ours",
		},
		{
			Dir: "identity", Never: append(heavy, spiffetls),
			Reason: "identity is what everything else stands on: it uses nothing of ours and few dependencies",
		},
		{
			Dir: "identity/...", Imports: []string{"identity/...", "tlsctx"},
			Reason: "where identities come from knows identities and how the context encodes attested attributes, and nothing of the proxy",
		},
		{
			Dir: "tlsctx", Imports: []string{"identity", "tlsctx/internal/...", "internal/socket"}, Never: heavy,
			Reason: "any Go program can import tlsctx: it uses identity's types, nothing of the proxy, and brings no gRPC",
		},
		{
			Dir: "tlsctx/...", Imports: []string{"identity", "tlsctx/..."},
			Reason: "adapters to tlsctx know tlsctx and identity, and nothing of the proxy",
		},
		{
			Dir: "metrics/accesslog/line", Imports: []string{"identity"}, Never: heavy,
			Reason: "the form of a line is checked by whoever reads a configuration: it knows nothing of what is recorded",
		},
		{
			Dir: "metrics/...", Imports: []string{"tlsctx", "identity"},
			Reason: "metrics records what it is told: it knows the types of tlsctx and identity and no stage",
		},
		{
			Dir: "proxy", Imports: []string{"proxy/...", "metrics/...", "tlsctx", "identity"},
			Reason: "proxy assembles the stages; where identities come from is for cmd to choose",
		},
		{
			Dir: "proxy/tunnel/...", Imports: []string{"proxy/h2/...", "tlsctx", "identity", "internal/socket"},
			Reason: "a stage imports no other stage (tunnel and http may stand on h2): only proxy knows the order",
		},
		{
			Dir: "proxy/http/...", Imports: []string{"proxy/h2/...", "tlsctx", "identity", "internal/socket"},
			Reason: "a stage imports no other stage (tunnel and http may stand on h2): only proxy knows the order",
		},
		{
			Dir: "proxy/config/...", Imports: []string{"metrics/accesslog/line", "tlsctx", "identity"},
			Reason: "configuration checks what it reads: it knows the forms of settings, and no other stage",
		},
		{
			Dir: "proxy/*/...", Imports: []string{"tlsctx", "identity", "internal/socket"},
			Reason: "a stage imports no other stage, nor metrics: only proxy knows the order",
		},
		{
			Dir: "cmd/...", Imports: []string{"proxy/...", "metrics/...", "tlsctx/...", "identity/..."},
			Reason: "a command turns flags into a config and calls a package",
		},
		{
			Dir: "deploy/...", Imports: []string{"proxy/config/..."},
			Reason: "what is deployed is configuration",
		},
		{
			Dir: "test/...", Imports: []string{"..."},
			Reason: "tests see everything",
		},
	}
}

// testImports are the rooms that a _test.go file may import beside those of its
// package: a test of one stage that needs another belongs into proxy or test.
func testImports() []string {
	return []string{"test/...", "identity/...", "tlsctx/...", "metrics/..."}
}

// neverInProduction are packages that no file outside test and the _test.go
// files imports, with the reason.
func neverInProduction() map[string]string {
	return map[string]string{
		"testing": "production code is not a test",
		"expvar":  "it registers itself on http.DefaultServeMux, which serves to whoever asks",
		"C":       "the binary is built without cgo",
	}
}

// bannedNames are names of packages that say nothing of what is inside.
func bannedNames() []string {
	return []string{"util", "utils", "common", "helper", "helpers", "types", "misc"}
}
