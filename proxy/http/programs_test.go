package http

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/websocket"

	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestPrograms: clients that people have, through a pair.
func TestPrograms(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16)
	file := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(file, []byte(big), 0o600); err != nil {
		t.Fatal(err)
	}
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			io.WriteString(w, big)
			return
		}
		body, err := io.ReadAll(r.Body) // net/http does not read on while it answers HTTP/1
		if err == nil {
			w.Write(body)
		}
	})
	one, _ := pair(t, tlsctx.HTTP1, address)
	two, _ := pair(t, tlsctx.HTTP2, address)
	run := func(t *testing.T, program string, args ...string) string {
		t.Helper()
		return components.Output(t, components.Process{Path: components.Command(t, program), Args: args})
	}
	for name, args := range map[string][]string{
		"curl, HTTP/1.1": {"--http1.1", "http://" + one.address},
		"curl, HTTP/1.0": {"--http1.0", "http://" + one.address},
		"curl, HTTP/2":   {"--http2-prior-knowledge", "http://" + two.address},
	} {
		t.Run(name, func(t *testing.T) {
			url := args[1]
			args = []string{"-sS", "--fail", "--max-time", "60", args[0]}
			if got := run(t, "curl", append(args, url+"/big")...); got != big {
				t.Errorf("download: got %d bytes", len(got))
			}
			if got := run(t, "curl", append(args, "--data-binary", "@"+file, url)...); got != big { // asks for 100 first
				t.Errorf("upload: got %d bytes", len(got))
			}
			if got := run(t, "curl", append(args, "-T", file, url+"/put")...); got != big {
				t.Errorf("upload by PUT: got %d bytes", len(got))
			}
			if got := run(t, "curl", append(args, "-I", url)...); !strings.Contains(got, " 200") {
				t.Errorf("HEAD: got %q", got)
			}
		})
	}
	t.Run("nghttp", func(t *testing.T) {
		if got := run(t, "nghttp", "http://"+two.address+"/big"); got != big {
			t.Errorf("got %d bytes", len(got))
		}
	})
	t.Run("h2load", func(t *testing.T) {
		got := run(t, "h2load", "-n100", "-c4", "-m8", "-d", file, "http://"+two.address+"/x")
		if !strings.Contains(got, "100 succeeded, 0 failed, 0 errored") {
			t.Error(got)
		}
	})
	t.Run("wrk", func(t *testing.T) {
		got := run(t, "wrk", "-t1", "-c16", "-d1s", "http://"+one.address+"/")
		if strings.Contains(got, "Socket errors") || strings.Contains(got, "Non-2xx") || !regexp.MustCompile(`[1-9]\d* requests in`).MatchString(got) {
			t.Error(got)
		}
	})
}

// TestWebSocket: messages of all sizes, by a library at both ends, over HTTP/1
// and over HTTP/2 between a pair.
func TestWebSocket(t *testing.T) {
	server := websocket.Server{Handler: func(c *websocket.Conn) {
		for {
			var message []byte
			if websocket.Message.Receive(c, &message) != nil || websocket.Message.Send(c, message) != nil {
				return
			}
		}
	}}
	address := app(t, server.ServeHTTP)
	outbound, _ := pair(t, tlsctx.HTTP1, address)
	for name, p := range map[string]*proxy{
		"HTTP/1": start(t, tlsctx.HTTP1, to(plain(t, address, tlsctx.HTTP1))), "pair": outbound,
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", p.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			config, err := websocket.NewConfig("ws://"+p.address+"/chat", "http://"+p.address)
			if err != nil {
				t.Fatal(err)
			}
			c, err := websocket.NewClient(config, conn)
			if err != nil {
				t.Fatal(err)
			}
			for size := 1; size < 4<<20; size *= 5 {
				want := strings.Repeat("w", size)
				var got string
				if err := websocket.Message.Send(c, want); err != nil {
					t.Fatal(err)
				}
				if err := websocket.Message.Receive(c, &got); err != nil || got != want {
					t.Fatalf("%d: got %d bytes, %v", size, len(got), err)
				}
			}
		})
	}
}
