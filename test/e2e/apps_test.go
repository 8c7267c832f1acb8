package e2e_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/e2e"
	"github.com/hallmark-mesh/hallmark/test/spire"
)

// TestApplications runs real applications' own clients and benchmarks through a
// pair with identities of real SPIRE.
func TestApplications(t *testing.T) {
	domain := spire.Run(t, e2e.TrustDomain, spire.Options{})
	workloads := build.SPIRE(t, domain, "/ns/shop/sa/cart", "/ns/db/sa/all")
	plain, secure := apps.StartPostgres(t, apps.PostgresOptions{}), apps.StartPostgres(t, apps.PostgresOptions{TLS: true})
	mariadb, redis, ssh, smtp := apps.StartMariaDB(t), apps.StartRedis(t), apps.StartSSH(t), apps.StartSMTP(t)
	pair := e2e.RunPair(t, e2e.Ways{Client: workloads[0], Server: workloads[1], Backends: []string{
		plain.Addr, secure.Addr, mariadb.Addr, redis.Addr, ssh.Addr, smtp.Addr,
	}})

	t.Run("PostgreSQL", func(t *testing.T) { checkPostgres(t, plain.Via(pair.Addr(0)), "f") })
	t.Run("PostgreSQL with TLS", func(t *testing.T) { checkPostgres(t, secure.Via(pair.Addr(1)), "t") })
	t.Run("MariaDB", func(t *testing.T) { checkMariaDB(t, mariadb.Via(pair.Addr(2))) })
	t.Run("Redis", func(t *testing.T) { checkRedis(t, redis.Via(pair.Addr(3))) })
	t.Run("SSH", func(t *testing.T) { checkSSH(t, ssh.Via(pair.Addr(4))) })
	t.Run("SMTP", func(t *testing.T) { checkSMTP(t, smtp.Via(pair.Addr(5))) })
	checkCounted(t, pair, workloads)
}

// TestHTTPApplications is the same for what speaks HTTP.
func TestHTTPApplications(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	nginx, grpc := apps.StartNginx(t, map[string][]byte{"hello": []byte("world")}), apps.StartGRPC(t)
	pair := e2e.RunPair(t, e2e.Ways{Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{nginx.Addr, grpc.Addr}})
	t.Run("nginx", func(t *testing.T) {
		if got := nginx.Via(pair.Addr(0)).Get(t, "/hello"); got != "world" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("gRPC", func(t *testing.T) {
		through := grpc.Via(pair.Addr(1))
		if got := through.Echo(t, "hello"); got != "hello" {
			t.Errorf("unary: %q", got)
		}
		if got := through.EchoStream(t, "a", "b", "c"); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("stream: %q", got)
		}
	})
}

func checkPostgres(t *testing.T, db *apps.Postgres, tls string) {
	if got := db.Query(t, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != tls {
		t.Errorf("TLS in use: %q, want %q", got, tls)
	}
	db.PgbenchInit(t)
	for _, args := range [][]string{{"-c", "8", "-j", "2", "-t", "50"}, {"-C", "-c", "4", "-t", "10"}, {"-M", "prepared", "-S", "-c", "4", "-t", "100"}} {
		r := db.Pgbench(t, args...)
		if r.Failed != 0 || r.Processed == 0 {
			t.Errorf("pgbench %q: %d transactions, %d failed:\n%s", args, r.Processed, r.Failed, r.Output)
		}
	}
	if got := db.Query(t, "SELECT repeat('hallmark', 2500000)"); got != strings.Repeat("hallmark", 2500000) {
		t.Errorf("a big value has %d bytes, or is garbled", len(got))
	}
}

func checkMariaDB(t *testing.T, db *apps.MariaDB) {
	if got := db.Query(t, "SELECT 6*7"); got != "42" {
		t.Errorf("6*7 is %q", got)
	}
	db.Slap(t, 8, 400)
}

func checkRedis(t *testing.T, r *apps.Redis) {
	if got := r.Do(t, "SET", "key", strings.Repeat("v", 100000)); got != "OK" {
		t.Errorf("SET: %q", got)
	}
	if got := r.Do(t, "STRLEN", "key"); got != "100000" {
		t.Errorf("STRLEN: %q", got)
	}
	for _, pipeline := range []int{1, 64} {
		load := apps.RedisLoad{Clients: 20, Requests: 5000, Pipeline: pipeline, Bytes: 256, Tests: []string{"set", "get", "incr", "lpush"}}
		for name, rate := range r.Benchmark(t, load) {
			if rate <= 0 {
				t.Errorf("%s: %v a second", name, rate)
			}
		}
	}
}

func checkSSH(t *testing.T, s *apps.SSH) {
	if got := s.Run(t, "echo $((6*7))"); got != "42\n" {
		t.Errorf("the command printed %q", got)
	}
	dir := t.TempDir()
	content := make([]byte, 8<<20)
	_, _ = rand.Read(content)
	if err := os.WriteFile(filepath.Join(dir, "sent"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Copy(t, filepath.Join(dir, "sent"), filepath.Join(dir, "there"))
	s.Fetch(t, filepath.Join(dir, "there"), filepath.Join(dir, "back"))
	if got, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back (%v), not the %d that were sent", len(got), err, len(content))
	}
}

func checkSMTP(t *testing.T, s *apps.SMTP) {
	s.Send(t, "a@example.org", "b@example.org", "Subject: hello\n\n.\nworld\n")
	got := s.Received(t)
	if len(got) != 1 || !strings.Contains(got[0], "Subject: hello") || !strings.Contains(got[0], "\n.\nworld") {
		t.Errorf("received %q", got)
	}
}

// checkCounted wants both sidecars to have counted connections under both names,
// and none under any other.
func checkCounted(t *testing.T, pair *e2e.Pair, workloads []e2e.Workload) {
	for reporter, sidecar := range map[string]*e2e.Sidecar{"source": pair.Outbound, "destination": pair.Inbound} {
		families, err := sidecar.Scrape(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		opened := families["istio_tcp_connections_opened_total"].GetMetric()
		if len(opened) == 0 {
			t.Errorf("%s: no connections were counted", reporter)
		}
		for _, m := range opened {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["reporter"] != reporter || labels["source_principal"] != workloads[0].ID || labels["destination_principal"] != workloads[1].ID {
				t.Errorf("%s: %v connections of %v", reporter, m.GetCounter().GetValue(), labels)
			}
		}
	}
}
