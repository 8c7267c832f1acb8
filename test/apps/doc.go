// Package apps runs real servers on loopback for the duration of a test, with
// their own client programs: PostgreSQL, MariaDB, Redis, OpenSSH, an SMTP
// server, nginx, a gRPC server, Prometheus and the OpenTelemetry Collector.
//
// Every server is a handle with the address it listens on, and methods that run
// a real client against that address. Via returns the same handle for another
// address, that of a proxy in front:
//
//	db := apps.StartPostgres(t, apps.PostgresOptions{})
//	sum := db.Via(sidecar).Query(t, "SELECT 1+1")
//
// The servers work as root, where those that refuse root run as nobody, and as
// an ordinary user. Nothing of theirs survives the test: data lie in a folder
// that is removed, and no configuration of the machine is read, save for the
// user database.
package apps

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
)

// host is where every server listens.
const host = "127.0.0.1"

// run runs a client program from Debian to its end and returns what it printed.
func run(tb testing.TB, program string, env []string, args ...string) string {
	tb.Helper()
	return components.Output(tb, components.Process{Path: components.Command(tb, program), Args: args, Env: env})
}

// writeFor writes a file into dir that only the user, or the test's own if user
// is nil, can read.
func writeFor(tb testing.TB, user *syscall.Credential, dir, name string, content []byte) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatalf("apps: %v", err)
	}
	give(tb, user, path)
	return path
}

// give makes files belong to the user.
func give(tb testing.TB, user *syscall.Credential, paths ...string) {
	tb.Helper()
	if user == nil {
		return
	}
	for _, path := range paths {
		if err := os.Chown(path, int(user.Uid), int(user.Gid)); err != nil {
			tb.Fatalf("apps: %v", err)
		}
	}
}

// certificate makes a server certificate for 127.0.0.1 and localhost, of an
// authority that nothing else trusts, in files of dir that belong to the user.
func certificate(tb testing.TB, user *syscall.Credential, dir string) ca.Files {
	tb.Helper()
	domain := ca.New(tb, "app.test")
	files := ca.WritePEM(tb, dir, domain.Snapshot(tb, "/server", ca.Attributes(tb), ca.WithDNSNames("localhost"), ca.WithTemplate(loopback)))
	give(tb, user, files.Chain, files.Key, files.Bundle)
	return files
}
