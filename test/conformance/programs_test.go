package conformance_test

import (
	_ "embed"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/components"
)

// The clients of Python and of Node: each is told a URL and a file, and prints
// "well" once it has had the file mirrored in every way that it knows.
var (
	//go:embed testdata/client.py
	clientPy string
	//go:embed testdata/client.mjs
	clientJS string
)

// TestPrograms: clients that people have, in the versions that they speak,
// through one pair.
func TestPrograms(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16)
	dir := t.TempDir()
	file := filepath.Join(dir, "big")
	write(t, file, big)
	m := through(t, web(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = w.Write([]byte(big))
			return
		}
		mirror(w, r)
	}))
	url := "http://" + m.Addr(0)

	for name, flag := range map[string]string{"HTTP/1.0": "--http1.0", "HTTP/1.1": "--http1.1", "h2c": "--http2-prior-knowledge"} {
		t.Run("curl/"+name, func(t *testing.T) {
			args := []string{"-sS", "--fail", "--max-time", "300", flag}
			for what, more := range map[string][]string{
				"download": {url + "/big"}, "upload": {"--data-binary", "@" + file, url}, "PUT": {"-T", file, url + "/put"},
			} {
				if got := run(t, "curl", append(args, more...)...); got != big {
					t.Errorf("%s: got %d bytes", what, len(got))
				}
			}
			if got := run(t, "curl", append(args, "-I", url)...); !strings.Contains(got, " 200") {
				t.Errorf("HEAD: got %q", got)
			}
		})
	}
	t.Run("nghttp", func(t *testing.T) {
		if got := run(t, "nghttp", url+"/big"); got != big {
			t.Errorf("got %d bytes", len(got))
		}
		if got := run(t, "nghttp", "-d", file, url); got != big {
			t.Errorf("upload: got %d bytes", len(got))
		}
	})
	t.Run("Python", func(t *testing.T) {
		script := filepath.Join(dir, "client.py")
		write(t, script, clientPy)
		if got := run(t, "python3", script, url, file); !strings.HasSuffix(got, "well\n") {
			t.Error(got)
		}
	})
	t.Run("Node", func(t *testing.T) {
		script := filepath.Join(dir, "client.mjs")
		write(t, script, clientJS)
		if got := run(t, "node", script, url, file); !strings.HasSuffix(got, "well\n") {
			t.Error(got)
		}
	})
	t.Run("h2load", func(t *testing.T) {
		small := filepath.Join(dir, "small")
		write(t, small, "hello")
		for _, args := range [][]string{{"-m8"}, {"--h1"}, {"-m8", "-d", small}, {"-m4", "-d", file}} {
			got := run(t, "h2load", append(args, "-n64", "-c8", url+"/x")...)
			if !strings.Contains(got, "64 succeeded, 0 failed, 0 errored, 0 timeout") {
				t.Errorf("h2load %q: %s", args, got)
			}
		}
	})
	t.Run("wrk", func(t *testing.T) {
		got := run(t, "wrk", "-t1", "-c16", "-d1s", "--timeout", "60s", url)
		if strings.Contains(got, "Socket errors") || strings.Contains(got, "Non-2xx") || !regexp.MustCompile(`[1-9]\d* requests in`).MatchString(got) {
			t.Error(got)
		}
	})
}

// TestServers: a server of another make, of files and of nothing else, by clients
// of both versions.
func TestServers(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<18)
	nginx := apps.StartNginx(t, map[string][]byte{"big": []byte(big), "empty": nil})
	url := "http://" + through(t, nginx.Addr).Addr(0)
	if got := run(t, "curl", "-sS", "--fail", "--http1.1", url+"/big"); got != big {
		t.Errorf("got %d bytes", len(got))
	}
	if got := run(t, "curl", "-sS", "--fail", "-r", "16-31", url+"/big"); got != big[:16] {
		t.Errorf("a range: got %q", got)
	}
	if got := run(t, "curl", "-sS", "--fail", "-w", "%{http_code}", url+"/empty"); got != "200" {
		t.Errorf("an empty file: got %q", got)
	}
	if got := run(t, "curl", "-sS", "-o", os.DevNull, "-w", "%{http_code}", url+"/missing"); got != "404" {
		t.Errorf("no file: got %q", got)
	}
}

// run runs a program of the system to its end.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	return components.Output(t, components.Process{Path: components.Command(t, program), Args: args})
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
