package apps_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hallmark-mesh/hallmark/test/apps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPostgres(t *testing.T) {
	for name, options := range map[string]apps.PostgresOptions{"plain": {}, "TLS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := apps.StartPostgres(t, options)
			want := "f"
			if options.TLS {
				want = "t"
			}
			if got := db.Query(t, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != want {
				t.Errorf("TLS in use: %q, want %q", got, want)
			}
			db.PgbenchInit(t)
			if r := db.Pgbench(t, "-c", "2", "-t", "10"); r.Processed != 20 || r.Failed != 0 {
				t.Errorf("pgbench: %+v", r)
			}
		})
	}
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	db := apps.StartMariaDB(t)
	if got := db.Query(t, "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2); SELECT SUM(a) FROM t"); got != "3" {
		t.Errorf("the sum is %q, want 3", got)
	}
	if out := db.Slap(t, 2, 20); !strings.Contains(out, "Number of clients running queries: 2") {
		t.Errorf("mariadb-slap printed:\n%s", out)
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	r := apps.StartRedis(t)
	if got := r.Do(t, "SET", "key", "value"); got != "OK" {
		t.Errorf("SET: %q", got)
	}
	if got := r.Do(t, "GET", "key"); got != "value" {
		t.Errorf("GET: %q", got)
	}
	rates := r.Benchmark(t, apps.RedisLoad{Clients: 4, Requests: 400, Pipeline: 16, Bytes: 100, Tests: []string{"set", "get"}})
	if rates["set"] <= 0 || rates["get"] <= 0 {
		t.Errorf("rates: %v", rates)
	}
}

func TestSSH(t *testing.T) {
	t.Parallel()
	s := apps.StartSSH(t)
	if got := s.Run(t, "echo 6*7 | sed s/6.7/42/"); got != "42\n" {
		t.Errorf("the command printed %q", got)
	}
	dir := t.TempDir()
	sent, there, back := filepath.Join(dir, "sent"), filepath.Join(dir, "there"), filepath.Join(dir, "back")
	content := make([]byte, 1<<20)
	_, _ = rand.Read(content)
	if err := os.WriteFile(sent, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Copy(t, sent, there)
	s.Fetch(t, there, back)
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back (%v), not the %d that were sent", len(got), err, len(content))
	}
}

func TestSMTP(t *testing.T) {
	t.Parallel()
	s := apps.StartSMTP(t)
	s.Send(t, "a@example.org", "b@example.org", "Subject: hello\n\n.\nworld\n")
	got := s.Received(t)
	if len(got) != 1 || !strings.Contains(got[0], "Subject: hello") || !strings.Contains(got[0], "\n.\nworld") {
		t.Errorf("received %q", got)
	}
}

func TestNginx(t *testing.T) {
	t.Parallel()
	n := apps.StartNginx(t, map[string][]byte{"hello": []byte("world")})
	if got := n.Get(t, "/hello"); got != "world" {
		t.Errorf("got %q", got)
	}
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	g := apps.StartGRPC(t)
	if got := g.Echo(t, "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	if got := g.EchoStream(t, "a", "b"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
}

func TestPrometheus(t *testing.T) {
	t.Parallel()
	first := apps.StartPrometheus(t, nil)
	p := apps.StartPrometheus(t, map[string][]string{"first": {first.Addr}})
	p.AwaitScraped(t)
	got := p.Await(t, `prometheus_build_info{job="first"}`, func(s []apps.Sample) bool { return len(s) == 1 })
	if got[0].Labels["instance"] != first.Addr || got[0].Value != "1" {
		t.Errorf("the sample is %+v", got[0])
	}
	series, err := p.Series(t.Context(), "prometheus_build_info")
	if err != nil || len(series) != 1 || series[0]["job"] != "first" {
		t.Errorf("series: %v, %v", series, err)
	}
	if _, err := p.Query(t.Context(), "sum("); err == nil {
		t.Error("a query that does not parse succeeded")
	}
}
