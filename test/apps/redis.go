package apps

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// Redis is a running Redis server that keeps nothing. The client speaks first.
type Redis struct {
	Addr   string // host:port that clients connect to
	Server *components.Running
}

// StartRedis runs Redis.
func StartRedis(tb testing.TB) *Redis {
	tb.Helper()
	r := &Redis{Addr: components.FreeAddr(tb)}
	_, port, _ := net.SplitHostPort(r.Addr) // made by FreeAddr
	r.Server = components.Start(tb, components.Process{
		Path: components.Command(tb, "redis-server"),
		Args: []string{"--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", components.TempDirFor(tb, nil)},
		// The line comes before it accepts.
		ReadyOutput: "Ready to accept connections", Ready: components.Accepts("tcp", r.Addr),
	})
	return r
}

// Via returns the handle of the same server behind another address.
func (r *Redis) Via(addr string) *Redis {
	other := *r
	other.Addr = addr
	return &other
}

func (r *Redis) flags() []string {
	at, port, _ := net.SplitHostPort(r.Addr) // an address that StartRedis or a proxy made
	return []string{"-h", at, "-p", port}
}

// Do runs one command with redis-cli and returns the reply as it prints it.
func (r *Redis) Do(tb testing.TB, command ...string) string {
	tb.Helper()
	return strings.TrimSpace(run(tb, "redis-cli", nil, append(append(r.flags(), "-e"), command...)...))
}

// RedisLoad is a load for [Redis.Benchmark].
type RedisLoad struct {
	Clients  int      // connections at once
	Requests int      // of each test, in all
	Pipeline int      // requests that are sent before a reply is awaited
	Bytes    int      // size of values
	Tests    []string // such as "set", "get", "lrange_100"
}

// Benchmark runs redis-benchmark, returns the requests per second of each of
// its tests, and fails the test if it does, or if one of its tests is missing.
func (r *Redis) Benchmark(tb testing.TB, load RedisLoad) map[string]float64 {
	tb.Helper()
	out := run(tb, "redis-benchmark", nil, append(r.flags(), "--csv", "-e",
		"-c", strconv.Itoa(load.Clients), "-n", strconv.Itoa(load.Requests), "-P", strconv.Itoa(load.Pipeline),
		"-d", strconv.Itoa(load.Bytes), "-t", strings.Join(load.Tests, ","))...)
	if strings.Contains(out, "Error") || strings.Contains(out, "ERR") {
		tb.Fatalf("apps: redis-benchmark:\n%s", out)
	}
	rates := map[string]float64{}
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		if len(fields) < 2 {
			continue
		}
		rate, err := strconv.ParseFloat(strings.Trim(fields[1], `"`), 64)
		if err != nil {
			continue // the heading
		}
		name := strings.Trim(fields[0], `"`)
		rates[strings.ToLower(name)] = rate
	}
	if len(rates) < len(load.Tests) {
		tb.Fatalf("apps: redis-benchmark ran %d tests of %q:\n%s", len(rates), load.Tests, out)
	}
	return rates
}
