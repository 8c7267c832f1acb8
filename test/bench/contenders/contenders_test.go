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
		if name != "linkerd2-proxy" && name != "ztunnel" {
			t.Errorf("%s: %s", name, reason)
		}
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
	case contenders.Mixed:
		checkMixed(t, c)
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

// checkMixed reaches each of several services, two of which speak the same
// protocol, by its own address.
func checkMixed(t *testing.T, c contenders.Contender) {
	redis, server := apps.StartRedis(t), apps.StartGRPC(t)
	one := apps.StartNginx(t, map[string][]byte{"name": []byte("one")})
	two := apps.StartNginx(t, map[string][]byte{"name": []byte("two")})
	pair := c.Start(t, contenders.Run{Mode: contenders.Mixed, Services: []contenders.Service{
		{Mode: contenders.HTTP1, Backend: one.Addr},
		{Mode: contenders.GRPC, Backend: server.Addr},
		{Mode: contenders.TCP, Backend: redis.Addr},
		{Mode: contenders.HTTP1, Backend: two.Addr},
	}})
	if len(pair.Addrs) != 4 || pair.Addr != pair.Addrs[0] {
		t.Fatalf("the addresses are %q, the first %q", pair.Addrs, pair.Addr)
	}
	if got := one.Via(pair.Addrs[0]).Get(t, "/name") + " " + two.Via(pair.Addrs[3]).Get(t, "/name"); got != "one two" {
		t.Errorf("the web servers are %q", got)
	}
	if got := server.Via(pair.Addrs[1]).Echo(t, "hello"); got != "hello" {
		t.Errorf("unary: %q", got)
	}
	if got := redis.Via(pair.Addrs[2]).Do(t, "PING"); got != "PONG" {
		t.Errorf("PING: %q", got)
	}
}
