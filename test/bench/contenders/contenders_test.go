package contenders_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
)

// TestMain makes the test binary one proxy of the net/http pair, if it is told.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == contenders.NetHTTPRole {
		if err := contenders.Main(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestPairs runs every contender in every mode with real applications.
func TestPairs(t *testing.T) {
	present, absent := contenders.All()
	for name, reason := range absent {
		t.Errorf("%s: %s", name, reason)
	}
	for _, c := range present {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if !slices.Contains(c.Modes, contenders.HTTP1) || !slices.Contains(c.Modes, contenders.GRPC) {
				t.Errorf("modes are %q", c.Modes)
			}
			for _, mode := range c.Modes {
				t.Run(string(mode), func(t *testing.T) { check(t, c, mode) })
			}
		})
	}
}

func check(t *testing.T, c contenders.Contender, mode contenders.Mode) {
	start := func(backend string) *contenders.Pair {
		pair := c.Start(t, contenders.Run{Mode: mode, Backend: backend, Self: []string{os.Args[0]}})
		if (pair.Outbound == nil) != (c.Name == "none") || (pair.Inbound == nil) != (c.Name == "none") {
			t.Errorf("the processes are %v and %v", pair.Outbound, pair.Inbound)
		}
		return pair
	}
	switch mode {
	case contenders.TCP:
		redis := apps.StartRedis(t)
		if got := redis.Via(start(redis.Addr).Addr).Do(t, "PING"); got != "PONG" {
			t.Errorf("PING: %q", got)
		}
	case contenders.HTTP1:
		nginx := apps.StartNginx(t, map[string][]byte{"hello": []byte(strings.Repeat("world", 1000))})
		pair := start(nginx.Addr)
		if got := nginx.Via(pair.Addr).Get(t, "/hello"); got != strings.Repeat("world", 1000) {
			t.Errorf("got %d bytes: %.100q", len(got), got)
		}
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + pair.Addr + "/missing")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("a file that is not there: %s", res.Status)
		}
	case contenders.GRPC:
		server := apps.StartGRPC(t)
		through := server.Via(start(server.Addr).Addr)
		if got := through.Echo(t, "hello"); got != "hello" {
			t.Errorf("unary: %q", got)
		}
		if got := through.EchoStream(t, "a", "b", "c"); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("stream: %q", got)
		}
	}
}
