package apps

import (
	"crypto/x509"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// Postgres is a running PostgreSQL server, whose user postgres needs no
// password. The client speaks first.
type Postgres struct {
	Addr   string // host:port that clients connect to
	Server *components.Running

	root string // file with the authority of the server's certificate; "" without TLS
}

// PostgresOptions change how PostgreSQL runs. The zero value works.
type PostgresOptions struct {
	// TLS makes the server offer TLS of its own, and its clients insist on it
	// and verify the certificate.
	TLS bool
}

// StartPostgres runs PostgreSQL with an empty database cluster.
func StartPostgres(tb testing.TB, options PostgresOptions) *Postgres {
	tb.Helper()
	user := components.Unprivileged()
	dir := components.TempDirFor(tb, user)
	data := filepath.Join(dir, "data")
	components.Output(tb, components.Process{
		Path: components.Command(tb, "initdb"), User: user, Dir: dir, Env: []string{"HOME=" + dir},
		Args: []string{"--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", data},
	})
	p := &Postgres{Addr: components.FreeAddr(tb)}
	_, port, _ := net.SplitHostPort(p.Addr) // made by FreeAddr
	settings := map[string]string{
		"listen_addresses": host, "port": port, "unix_socket_directories": dir,
		"fsync": "off", "max_connections": "200", "shared_buffers": "16MB",
	}
	if options.TLS {
		files := certificate(tb, user, dir)
		p.root = files.Bundle
		settings["ssl"], settings["ssl_cert_file"], settings["ssl_key_file"] = "on", files.Chain, files.Key
	}
	args := []string{"-D", data}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	p.Server = components.Start(tb, components.Process{
		Path: components.Command(tb, "postgres"), Args: args, User: user, Dir: dir, Env: []string{"HOME=" + dir},
		ReadyOutput: "database system is ready to accept connections", Ready: components.Accepts("tcp", p.Addr),
		StopSignal: syscall.SIGINT, // fast: does not wait for its clients
	})
	return p
}

// loopback makes a certificate valid for 127.0.0.1.
func loopback(template *x509.Certificate) {
	template.IPAddresses = append(template.IPAddresses, net.IPv4(127, 0, 0, 1))
}

// Via returns the handle of the same server behind another address.
func (p *Postgres) Via(addr string) *Postgres {
	other := *p
	other.Addr = addr
	return &other
}

// env holds what every client of libpq reads.
func (p *Postgres) env() []string {
	at, port, _ := net.SplitHostPort(p.Addr) // an address that StartPostgres or a proxy made
	env := []string{"PGHOST=" + at, "PGPORT=" + port, "PGUSER=postgres", "PGDATABASE=postgres", "PGCONNECT_TIMEOUT=60", "PGSSLMODE=disable", "PGGSSENCMODE=disable"}
	if p.root != "" {
		env = append(env, "PGSSLMODE=verify-full", "PGSSLROOTCERT="+p.root)
	}
	return env
}

// Query runs SQL with psql and returns the rows, a line each, columns parted by "|".
func (p *Postgres) Query(tb testing.TB, sql string) string {
	tb.Helper()
	out := run(tb, "psql", p.env(), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql)
	return strings.TrimSpace(out)
}

// PgbenchInit makes pgbench's tables, at scale 1.
func (p *Postgres) PgbenchInit(tb testing.TB) {
	tb.Helper()
	run(tb, "pgbench", p.env(), "-i", "-q", "-s", "1")
}

// PgbenchResult is what pgbench counted.
type PgbenchResult struct {
	Processed, Failed int
	Output            string
}

var (
	pgbenchProcessed = regexp.MustCompile(`number of transactions actually processed: (\d+)`)
	pgbenchFailed    = regexp.MustCompile(`number of failed transactions: (\d+)`)
)

// Pgbench runs pgbench with the given flags, such as "-c", "4", "-t", "100", and
// fails the test if it does.
func (p *Postgres) Pgbench(tb testing.TB, args ...string) PgbenchResult {
	tb.Helper()
	out := run(tb, "pgbench", p.env(), args...)
	return PgbenchResult{Processed: number(tb, out, pgbenchProcessed), Failed: number(tb, out, pgbenchFailed), Output: out}
}

// number returns the number that the pattern's first group matches in text.
func number(tb testing.TB, text string, pattern *regexp.Regexp) int {
	tb.Helper()
	found := pattern.FindStringSubmatch(text)
	if found == nil {
		tb.Fatalf("apps: no %q in:\n%s", pattern, text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		tb.Fatalf("apps: %v", err)
	}
	return n
}
