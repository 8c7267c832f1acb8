package apps

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// Nginx is a running nginx, an HTTP/1.1 server. The client speaks first.
type Nginx struct {
	Addr   string // host:port that clients connect to
	Server *components.Running
}

// nginxConfig serves files of a folder, and echoes. Connections and requests
// are not limited, so that a load generator measures what is in front.
const nginxConfig = `daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr error;
worker_rlimit_nofile 19000;
events { worker_connections 9000; }
http {
  access_log off;
  keepalive_requests 100000000;
  client_max_body_size 0;
  client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
  server {
    listen %[2]s backlog=4096;
    root %[1]s/www;
    open_file_cache max=100;
    location = /health { return 200 "ok\n"; }
  }
}
`

// StartNginx runs nginx, which serves the given files, each under its name, and
// /health.
func StartNginx(tb testing.TB, files map[string][]byte) *Nginx {
	tb.Helper()
	dir := components.TempDirFor(tb, nil)
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		tb.Fatalf("apps: %v", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, "www", filepath.Base(name)), content, 0o644); err != nil {
			tb.Fatalf("apps: %v", err)
		}
	}
	n := &Nginx{Addr: components.FreeAddr(tb)}
	config := writeFor(tb, nil, dir, "nginx.conf", fmt.Appendf(nil, nginxConfig, dir, n.Addr))
	n.Server = components.Start(tb, components.Process{
		Path: components.Command(tb, "nginx"), Args: []string{"-p", dir, "-c", config, "-e", "stderr"}, Ready: components.Responds("http://" + n.Addr + "/health"),
	})
	return n
}

// Via returns the handle of the same server behind another address.
func (n *Nginx) Via(addr string) *Nginx {
	other := *n
	other.Addr = addr
	return &other
}

// Get fetches a path with curl and fails the test unless the status is 200.
func (n *Nginx) Get(tb testing.TB, path string) string {
	tb.Helper()
	return run(tb, "curl", nil, "--silent", "--show-error", "--fail", "--connect-timeout", "60", "--request", http.MethodGet, "http://"+n.Addr+path)
}
