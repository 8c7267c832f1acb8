package components

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// debianPackage is a package, and what proves that it is there. Programs and
// files count, not dpkg's list, so that a distribution of another kind, or a
// package that provides the same, serves as well.
type debianPackage struct {
	Name     string
	Programs []string
	Files    []string // patterns of [filepath.Glob]
	// Benchmarked is set for what benchmarks compare with, or measure with.
	Benchmarked bool
}

// debianPackages returns every package that the tests need.
func debianPackages() []debianPackage {
	return []debianPackage{
		{Name: "gcc", Programs: []string{"gcc"}, Benchmarked: true}, // for -race, SPIRE's SQLite and ghostunnel
		{Name: "libc6-dev", Files: []string{"/usr/include/stdlib.h"}, Benchmarked: true},
		{Name: "git", Programs: []string{"git"}},
		{Name: "make", Programs: []string{"make"}},
		{Name: "haproxy", Programs: []string{"haproxy"}, Benchmarked: true},
		{Name: "nginx-light", Programs: []string{"nginx"}, Benchmarked: true},
		{Name: "libnginx-mod-stream", Files: []string{"/usr/lib/nginx/modules/ngx_stream_module.so"}, Benchmarked: true},
		{Name: "stunnel4", Programs: []string{"stunnel4"}, Benchmarked: true},
		{Name: "wrk", Programs: []string{"wrk"}, Benchmarked: true},
		{Name: "nghttp2-client", Programs: []string{"h2load", "nghttp"}, Benchmarked: true},
		{Name: "redis-server", Programs: []string{"redis-server"}},
		{Name: "redis-tools", Programs: []string{"redis-cli", "redis-benchmark"}},
		{Name: "postgresql", Programs: []string{"postgres", "initdb", "pg_ctl", "psql", "pgbench"}},
		{Name: "mariadb-server", Programs: []string{"mariadbd", "mariadb-install-db"}},
		{Name: "mariadb-client", Programs: []string{"mariadb", "mariadb-admin", "mariadb-slap"}},
		{Name: "iproute2", Programs: []string{"ip", "tc"}},
		{Name: "nftables", Programs: []string{"nft"}},
		{Name: "gnutls-bin", Programs: []string{"gnutls-cli", "gnutls-serv", "certtool"}},
		{Name: "android-boringssl", Programs: []string{"bssl-tool"}},
		{Name: "openssl", Programs: []string{"openssl"}},
		{Name: "curl", Programs: []string{"curl"}},
		{Name: "chromium", Programs: []string{"chromium"}}, // fontconfig brings its fonts
		{Name: "openssh-server", Programs: []string{"sshd"}},
		{Name: "openssh-client", Programs: []string{"ssh", "ssh-keygen", "scp"}},
		{Name: "nodejs", Programs: []string{"node"}},
		{Name: "python3", Programs: []string{"python3"}},
		{Name: "python3-aiosmtpd", Programs: []string{"aiosmtpd"}},
		{Name: "python3-pip", Programs: []string{"pip3"}, Benchmarked: true},
		{Name: "util-linux", Programs: []string{"setpriv", "unshare", "nsenter"}},
	}
}

// searchDirs are the folders beside PATH in which Debian has programs: an
// ordinary user's PATH lacks the sbin ones, everybody's lacks PostgreSQL's.
func searchDirs() []string {
	dirs := []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}
	postgres, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is a good one
	slices.Reverse(postgres)                                  // the newest first
	return append(dirs, postgres...)
}

// LookPath returns the path of a program that comes from Debian, from PATH or
// from the folders where Debian has the programs of administrators and of
// PostgreSQL. The error of one that is not there says which line installs it.
func LookPath(program string) (string, error) {
	i := slices.IndexFunc(debianPackages(), func(p debianPackage) bool {
		return slices.Contains(p.Programs, program)
	})
	if i < 0 {
		return "", fmt.Errorf("components: %q is in no package that test/components/debian.go lists: add it there", program)
	}
	if file, ok := find(program); ok {
		return file, nil
	}
	return "", fmt.Errorf("components: %s is not installed: run `make components` as root, or: %s",
		program, aptLine([]string{debianPackages()[i].Name}))
}

func find(program string) (string, bool) {
	if file, err := exec.LookPath(program); err == nil {
		return file, true
	}
	for _, dir := range searchDirs() {
		if file, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return file, true
		}
	}
	return "", false
}

// present reports whether everything that the package is needed for is there.
func (p debianPackage) present() bool {
	for _, program := range p.Programs {
		if _, ok := find(program); !ok {
			return false
		}
	}
	for _, pattern := range p.Files {
		if files, err := filepath.Glob(pattern); err != nil || len(files) == 0 {
			return false
		}
	}
	return true
}

// installer provides Debian packages; its fields are what a test replaces.
type installer struct {
	packages []debianPackage
	root     bool
	run      func(ctx context.Context, out io.Writer, args ...string) error
}

// ensureDebian installs the packages of the set that are missing, if it runs as
// root.
func ensureDebian(ctx context.Context, out io.Writer, set Set) error {
	packages := slices.DeleteFunc(debianPackages(), func(p debianPackage) bool { return set == Benchmarks && !p.Benchmarked })
	return installer{packages: packages, root: os.Geteuid() == 0, run: runApt}.ensure(ctx, out)
}

func (i installer) ensure(ctx context.Context, out io.Writer) error {
	missing := i.missing()
	if len(missing) == 0 {
		fmt.Fprintf(out, "components: all %d Debian packages are there\n", len(i.packages))
		return nil
	}
	if !i.root {
		return fmt.Errorf("components: these Debian packages are missing, and only root can install them: %s\nrun as root: %s",
			strings.Join(missing, " "), aptLine(missing))
	}
	fmt.Fprintf(out, "components: installing Debian packages: %s\n", strings.Join(missing, " "))
	if err := i.run(ctx, out, "update", "-qq"); err != nil {
		return fmt.Errorf("components: apt-get update: %w", err)
	}
	install := append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)
	if err := i.run(ctx, out, install...); err != nil {
		return fmt.Errorf("components: %s: %w", aptLine(missing), err)
	}
	if missing := i.missing(); len(missing) > 0 {
		return fmt.Errorf("components: installed, but what they are needed for is still not there: %s", strings.Join(missing, " "))
	}
	return nil
}

func (i installer) missing() []string {
	var names []string
	for _, p := range i.packages {
		if !p.present() {
			names = append(names, p.Name)
		}
	}
	return names
}

func aptLine(names []string) string {
	return "apt-get install -y --no-install-recommends " + strings.Join(names, " ")
}

func runApt(ctx context.Context, out io.Writer, args ...string) error {
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return errors.New("there is no apt-get: install the same programs by your distribution's own means")
	}
	cmd := exec.CommandContext(ctx, apt, append([]string{"-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Run()
}
