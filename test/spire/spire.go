// Package spire runs real SPIRE servers and agents for tests: a trust domain on
// loopback with join-token node attestation, the unix workload attestor, and
// registration by SPIRE's own command line.
//
// Everything it starts ends with the test.
package spire

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// Options change how a trust domain is run. The zero value works.
type Options struct {
	// Upstream makes the server's authority an intermediate below a root that
	// lies on disk, so that SVIDs come with a chain.
	Upstream bool

	// SVIDTTL is how long SVIDs live; 0 means an hour.
	SVIDTTL time.Duration

	// CATTL is how long the server's authority lives; 0 means a day.
	CATTL time.Duration
}

// Domain is a running trust domain: one server and one agent.
type Domain struct {
	// Name is the trust domain's name, such as example.org.
	Name string

	// Socket is the agent's Workload API socket.
	Socket string

	dir     string
	server  string // path of spire-server
	admin   string // the server's own socket
	port    int
	agent   *components.Running
	options Options
	nodes   int
}

// Run starts a server and an agent and waits until the agent serves.
func Run(tb testing.TB, name string, options Options) *Domain {
	tb.Helper()
	dir := components.TempDirFor(tb, nil)
	d := &Domain{
		Name: name, dir: dir, options: options, port: components.FreePort(tb),
		server: components.Path(tb, components.SPIREServer),
		admin:  filepath.Join(dir, "server.sock"),
		Socket: filepath.Join(dir, "agent.sock"),
	}
	d.startServer(tb)
	d.StartAgent(tb)
	return d
}

// Endpoint returns the value of SPIFFE_ENDPOINT_SOCKET for the domain's agent.
func (d *Domain) Endpoint() string { return "unix://" + d.Socket }

// ID returns the SPIFFE ID of the path in the domain.
func (d *Domain) ID(path string) string { return "spiffe://" + d.Name + path }

func (d *Domain) startServer(tb testing.TB) {
	tb.Helper()
	config := fmt.Sprintf(`
server {
  bind_address = "127.0.0.1"
  bind_port = %d
  socket_path = %q
  trust_domain = %q
  data_dir = %q
  log_level = "DEBUG"
  ca_ttl = %q
  default_x509_svid_ttl = %q
  experimental { cache_reload_interval = %q }
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3"  connection_string = %q } }
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
  %s
}
`, d.port, d.admin, d.Name, filepath.Join(d.dir, "data"), or(d.options.CATTL, 24*time.Hour), or(d.options.SVIDTTL, time.Hour),
		haste, filepath.Join(d.dir, "server.sqlite3"), d.upstream(tb))
	components.Start(tb, components.Process{
		Name: "spire-server " + d.Name, Path: d.server, Args: []string{"run", "-config", d.write(tb, "server.conf", config)},
		Ready: components.Exists(d.admin),
	})
	d.waitHealthy(tb)
}

// haste is how often a server looks for new entries and an agent for what its
// server has; five seconds each by default, for which every step would wait.
const haste = 300 * time.Millisecond

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// upstream makes a root on disk, if the options ask for one, and returns the
// plugin that signs the server's authority with it.
func (d *Domain) upstream(tb testing.TB) string {
	tb.Helper()
	if !d.options.Upstream {
		return ""
	}
	key, cert := filepath.Join(d.dir, "root.key"), filepath.Join(d.dir, "root.pem")
	components.Output(tb, components.Process{Path: components.Command(tb, "openssl"), Args: []string{
		"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
		"-subj", "/O=Test/CN=root", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", key, "-out", cert,
	}})
	return fmt.Sprintf(`UpstreamAuthority "disk" { plugin_data { key_file_path = %q  cert_file_path = %q } }`, key, cert)
}

func (d *Domain) waitHealthy(tb testing.TB) {
	tb.Helper()
	Eventually(tb, "the server is healthy", func() error {
		return d.try("healthcheck")
	})
}

// StartAgent starts an agent with a fresh join token on the domain's socket.
func (d *Domain) StartAgent(tb testing.TB) {
	tb.Helper()
	d.nodes++
	node := d.node()
	var token struct{ Value string }
	if err := json.Unmarshal([]byte(d.run(tb, "token", "generate", "-spiffeID", node, "-output", "json")), &token); err != nil {
		tb.Fatalf("spire: token: %v", err)
	}
	bundle := d.write(tb, "bootstrap.pem", d.run(tb, "bundle", "show", "-format", "pem"))
	config := fmt.Sprintf(`
agent {
  data_dir = %q
  trust_domain = %q
  server_address = "127.0.0.1"
  server_port = %d
  socket_path = %q
  trust_bundle_path = %q
  join_token = %q
  log_level = "DEBUG"
  experimental { sync_interval = %q }
}
plugins {
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
}
`, filepath.Join(d.dir, fmt.Sprintf("agent%d", d.nodes)), d.Name, d.port, d.Socket, bundle, token.Value, haste)
	_ = os.Remove(d.Socket)
	d.agent = components.Start(tb, components.Process{
		Name: "spire-agent " + d.Name, Path: components.Path(tb, components.SPIREAgent),
		Args: []string{"run", "-config", d.write(tb, "agent.conf", config)}, Ready: components.Accepts("unix", d.Socket),
	})
}

// StopAgent stops the agent; the Workload API is then away.
func (d *Domain) StopAgent() { d.agent.Stop() }

func (d *Domain) node() string { return d.ID(fmt.Sprintf("/node%d", d.nodes)) }

// Register makes an entry for the workload whose executable is at the given
// path, and returns the entry's id. The agent learns of it within seconds.
func (d *Domain) Register(tb testing.TB, path, executable string, more ...string) string {
	tb.Helper()
	args := append([]string{
		"entry", "create", "-parentID", d.node(), "-spiffeID", d.ID(path), "-selector", "unix:path:" + executable, "-output", "json",
	}, more...)
	var created struct {
		Results []struct {
			Entry struct{ ID string }
		}
	}
	out := d.run(tb, args...)
	if err := json.Unmarshal([]byte(out), &created); err != nil || len(created.Results) != 1 {
		tb.Fatalf("spire: create entry: %v: %s", err, out)
	}
	return created.Results[0].Entry.ID
}

// Deregister deletes an entry.
func (d *Domain) Deregister(tb testing.TB, entry string) {
	tb.Helper()
	d.run(tb, "entry", "delete", "-entryID", entry)
}

// Federate gives each of two domains the other's bundle. Entries that are to
// see it need "-federatesWith".
func Federate(tb testing.TB, a, b *Domain) {
	tb.Helper()
	a.SetBundle(tb, b)
	b.SetBundle(tb, a)
}

// SetBundle gives the domain the current bundle of another.
func (d *Domain) SetBundle(tb testing.TB, other *Domain) {
	tb.Helper()
	d.SetBundleFile(tb, other.Name, other.BundleFile(tb))
}

// BundleFile writes the domain's current bundle in the SPIFFE format, and
// returns the file's path.
func (d *Domain) BundleFile(tb testing.TB) string {
	tb.Helper()
	return d.write(tb, "own.bundle", d.run(tb, "bundle", "show", "-format", "spiffe"))
}

// SetBundleFile gives the domain the bundle of the named one, from a file in the
// SPIFFE format.
func (d *Domain) SetBundleFile(tb testing.TB, name, file string) {
	tb.Helper()
	d.run(tb, "bundle", "set", "-id", "spiffe://"+name, "-format", "spiffe", "-path", file)
}

// RemoveBundle takes the bundle of another domain away; entries no longer
// federate with it.
func (d *Domain) RemoveBundle(tb testing.TB, other *Domain) {
	tb.Helper()
	d.run(tb, "bundle", "delete", "-id", "spiffe://"+other.Name, "-mode", "dissociate")
}

// Authority is one X.509 authority of a server.
type Authority struct {
	ID string `json:"authority_id"`
}

// RotateAuthority prepares a new authority, makes it sign, and returns what the
// old one was; it stays in the bundle until it is tainted and revoked.
func (d *Domain) RotateAuthority(tb testing.TB) (old string) {
	tb.Helper()
	var active struct {
		Active Authority `json:"active"`
	}
	d.local(tb, &active, "show")
	var prepared struct {
		Prepared Authority `json:"prepared_authority"`
	}
	d.local(tb, &prepared, "prepare")
	d.local(tb, nil, "activate", "-authorityID", prepared.Prepared.ID)
	return active.Active.ID
}

// TaintAuthority makes agents replace what the authority has signed, and then
// revokes it: it leaves the bundle.
func (d *Domain) TaintAuthority(tb testing.TB, id string) {
	tb.Helper()
	d.local(tb, nil, "taint", "-authorityID", id)
}

// RevokeAuthority takes a tainted authority out of the bundle.
func (d *Domain) RevokeAuthority(tb testing.TB, id string) {
	tb.Helper()
	d.local(tb, nil, "revoke", "-authorityID", id)
}

// local runs a command of "localauthority x509".
func (d *Domain) local(tb testing.TB, into any, args ...string) {
	tb.Helper()
	out := d.run(tb, append(append([]string{"localauthority", "x509"}, args...), "-output", "json")...)
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		tb.Fatalf("spire: %v: %v: %s", args, err, out)
	}
}

// Authorities returns the certificates of the domain's bundle.
func (d *Domain) Authorities(tb testing.TB) []*x509.Certificate {
	tb.Helper()
	var certs []*x509.Certificate
	rest := []byte(d.run(tb, "bundle", "show", "-format", "pem"))
	for {
		block, more := pem.Decode(rest)
		if block == nil {
			return certs
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			tb.Fatalf("spire: bundle: %v", err)
		}
		certs, rest = append(certs, c), more
	}
}

// run runs spire-server's command line.
func (d *Domain) run(tb testing.TB, args ...string) string {
	tb.Helper()
	return components.Output(tb, components.Process{Path: d.server, Args: d.withSocket(args)})
}

// withSocket puts the server's socket after the words of the command and before
// its other flags.
func (d *Domain) withSocket(args []string) []string {
	for i, a := range args {
		if strings.HasPrefix(a, "-") {
			return append(append(append([]string{}, args[:i]...), "-socketPath", d.admin), args[i:]...)
		}
	}
	return append(append([]string{}, args...), "-socketPath", d.admin)
}

// write writes a file of the domain's own folder.
func (d *Domain) write(tb testing.TB, name, content string) string {
	tb.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatalf("spire: %v", err)
	}
	return path
}
