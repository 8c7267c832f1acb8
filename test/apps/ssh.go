package apps

import (
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// privileges is the folder that sshd confines its unprivileged part to, when it
// runs as root. It is compiled in; elsewhere the service manager makes it.
const privileges = "/run/sshd"

// SSH is a running OpenSSH server that takes one key, for the user that the test
// runs as. The server speaks first, or both at once.
type SSH struct {
	Addr   string // host:port that clients connect to
	Server *components.Running

	config string // of clients
}

// StartSSH runs sshd.
func StartSSH(tb testing.TB) *SSH {
	tb.Helper()
	dir := components.TempDirFor(tb, nil)
	if os.Geteuid() == 0 {
		if err := os.MkdirAll(privileges, 0o755); err != nil {
			tb.Fatalf("apps: sshd wants a folder of its own: %v", err)
		}
	}
	hostKey, userKey := filepath.Join(dir, "host"), filepath.Join(dir, "user")
	for _, key := range []string{hostKey, userKey} {
		run(tb, "ssh-keygen", nil, "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key)
	}
	s := &SSH{Addr: components.FreeAddr(tb)}
	writeFor(tb, nil, dir, "authorized", read(tb, userKey+".pub"))
	writeFor(tb, nil, dir, "known", append([]byte("server "), read(tb, hostKey+".pub")...))
	s.config = writeFor(tb, nil, dir, "client.conf", []byte(strings.Join([]string{
		"IdentityFile " + userKey, "IdentitiesOnly yes", "BatchMode yes", "HostKeyAlias server", "StrictHostKeyChecking yes",
		"UserKnownHostsFile " + filepath.Join(dir, "known"), "GlobalKnownHostsFile /dev/null", "User " + me(tb), "ConnectTimeout 60", "LogLevel ERROR", "",
	}, "\n")))
	server := writeFor(tb, nil, dir, "server.conf", []byte(strings.Join([]string{
		"ListenAddress " + s.Addr, "HostKey " + hostKey, "AuthorizedKeysFile " + filepath.Join(dir, "authorized"), "PidFile none",
		"PermitRootLogin prohibit-password", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "UsePAM no", "StrictModes no",
		"PrintMotd no", "MaxStartups 1000", "Subsystem sftp internal-sftp", "",
	}, "\n")))
	s.Server = components.Start(tb, components.Process{
		Path: components.Command(tb, "sshd"), Args: []string{"-D", "-e", "-f", server}, Ready: components.Accepts("tcp", s.Addr),
	})
	return s
}

func me(tb testing.TB) string {
	tb.Helper()
	u, err := user.Current()
	if err != nil {
		tb.Fatalf("apps: the user that the test runs as: %v", err)
	}
	return u.Username
}

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatalf("apps: %v", err)
	}
	return content
}

// Via returns the handle of the same server behind another address.
func (s *SSH) Via(addr string) *SSH {
	other := *s
	other.Addr = addr
	return &other
}

// Run runs a command on the server and returns what it printed.
func (s *SSH) Run(tb testing.TB, command string) string {
	tb.Helper()
	at, port, _ := net.SplitHostPort(s.Addr) // an address that StartSSH or a proxy made
	return run(tb, "ssh", nil, "-n", "-F", s.config, "-p", port, at, command)
}

// Copy copies a file to the server, which shares our file system, by scp, which
// speaks SFTP.
func (s *SSH) Copy(tb testing.TB, from, to string) {
	tb.Helper()
	at, port, _ := net.SplitHostPort(s.Addr) // an address that StartSSH or a proxy made
	run(tb, "scp", nil, "-q", "-F", s.config, "-P", port, from, at+":"+to)
}

// Fetch copies a file from the server by scp.
func (s *SSH) Fetch(tb testing.TB, from, to string) {
	tb.Helper()
	at, port, _ := net.SplitHostPort(s.Addr) // an address that StartSSH or a proxy made
	run(tb, "scp", nil, "-q", "-F", s.config, "-P", port, at+":"+from, to)
}
