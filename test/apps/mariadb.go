package apps

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// MariaDB is a running MariaDB server with a user app, whose password is app,
// and an empty database app. The server speaks first.
type MariaDB struct {
	Addr   string // host:port that clients connect to
	Server *components.Running
}

// StartMariaDB runs MariaDB.
func StartMariaDB(tb testing.TB) *MariaDB {
	tb.Helper()
	user := components.Unprivileged()
	dir := components.TempDirFor(tb, user)
	data := filepath.Join(dir, "data")
	small := []string{"--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0", "--performance-schema=OFF"}
	components.Output(tb, components.Process{
		Path: components.Command(tb, "mariadb-install-db"), User: user, Dir: dir, Env: []string{"HOME=" + dir},
		Args: append([]string{"--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--datadir=" + data}, small...),
	})
	start := writeFor(tb, user, dir, "init.sql", []byte("CREATE USER app@'%' IDENTIFIED BY 'app';\nCREATE DATABASE app;\nGRANT ALL ON *.* TO app@'%';\n"))
	m := &MariaDB{Addr: components.FreeAddr(tb)}
	_, port, _ := net.SplitHostPort(m.Addr) // made by FreeAddr
	args := append([]string{
		"--no-defaults", "--datadir=" + data, "--socket=" + filepath.Join(dir, "sock"), "--pid-file=" + filepath.Join(dir, "pid"),
		"--bind-address=" + host, "--port=" + port, "--init-file=" + start, "--skip-name-resolve", "--skip-log-bin", "--max-connections=500",
	}, small...)
	m.Server = components.Start(tb, components.Process{
		Path: components.Command(tb, "mariadbd"), Args: args, User: user, Dir: dir, Env: []string{"HOME=" + dir},
		ReadyOutput: "ready for connections", Ready: components.Accepts("tcp", m.Addr),
	})
	return m
}

// Via returns the handle of the same server behind another address.
func (m *MariaDB) Via(addr string) *MariaDB {
	other := *m
	other.Addr = addr
	return &other
}

func (m *MariaDB) flags() []string {
	at, port, _ := net.SplitHostPort(m.Addr) // an address that StartMariaDB or a proxy made
	return []string{"--no-defaults", "--protocol=tcp", "--host=" + at, "--port=" + port, "--user=app", "--password=app"}
}

// Query runs SQL with the mariadb client and returns the rows, a line each,
// columns parted by tabs.
func (m *MariaDB) Query(tb testing.TB, sql string) string {
	tb.Helper()
	out := run(tb, "mariadb", nil, append(m.flags(), "--batch", "--skip-column-names", "--connect-timeout=60", "--execute="+sql, "app")...)
	return strings.TrimSpace(out)
}

// Slap runs mariadb-slap: that many clients at once put that many queries to
// the server, of its own mixed load, in all. The test fails if it does.
func (m *MariaDB) Slap(tb testing.TB, clients, queries int) string {
	tb.Helper()
	return run(tb, "mariadb-slap", nil, append(m.flags(), "--auto-generate-sql", "--auto-generate-sql-load-type=mixed", "--create-schema=slap",
		fmt.Sprintf("--concurrency=%d", clients), fmt.Sprintf("--number-of-queries=%d", queries))...)
}
