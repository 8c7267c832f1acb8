//go:build long

package conformance_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/proc"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// impatient waits for as little as a test wants to.
const impatient = `apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: { name: impatient }
spec:
  http: { timeouts: { header: 1s, body: 1s } }
`

const (
	attackers  = 2
	neighbours = 2
	rounds     = 2
	perRound   = 25 // requests of each neighbour
)

// TestAbuse: while somebody does their worst, as an application beside the
// outbound sidecar or as an authenticated peer of the inbound one, all others are
// served; each connection that does it is cut, and the limit that it met counted;
// and neither proxy grows by it. How much slower the others are is reported.
func TestAbuse(t *testing.T) {
	gone := make(chan struct{})
	app := web(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/never" {
			_, _ = io.WriteString(w, "served")
			return
		}
		select { // its body is not read
		case <-r.Context().Done():
		case <-gone:
		}
	})
	t.Cleanup(func() { close(gone) })
	m := newMesh(t, e2e.IssuerOptions{}, func(w *e2e.Ways) {
		w.InboundConfig, w.OutboundConfig = impatient, impatient
	}, app)
	faces := map[string]func(version int) face{
		"outbound": func(int) face { return face{m.Outbound, m.Addr(0), nil} },
		"inbound": func(version int) face {
			return face{m.Inbound, m.Between, credentials(t, m.client, map[int]string{1: "http/1.1", 2: "h2"}[version])}
		},
	}
	for _, name := range []string{"outbound", "inbound"} {
		for _, f := range floods() {
			t.Run(name+"/"+f.name, func(t *testing.T) { abuse(t, m, faces[name](f.version), f) })
		}
	}
}

// face is where somebody who means harm connects, with credentials or without.
type face struct {
	*e2e.Sidecar

	address string
	tls     *tls.Config
}

func (f face) dial(ctx context.Context) (net.Conn, error) {
	if f.tls == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", f.address)
	}
	return (&tls.Dialer{Config: f.tls}).DialContext(ctx, "tcp", f.address)
}

// abuse measures the others without a flood and with it, in turn.
func abuse(t *testing.T, m *mesh, face face, f flood) {
	before := face.Sum(t, "hallmark_limits_met_total", "limit", f.limit)
	held := memory(t, face.Sidecar)
	var quiet, flooded []time.Duration
	cuts, spent := 0, time.Duration(0)
	for range rounds {
		quiet = append(quiet, serveNeighbours(t, m)...)
		cpu := used(t, face.Sidecar)
		attack := startAttack(face, f)
		for first := true; first || !attack.failed(t, face, f, before) && t.Context().Err() == nil; first = false {
			flooded = append(flooded, serveNeighbours(t, m)...)
		}
		attack.stop()
		cuts += int(attack.cuts.Load())
		spent += used(t, face.Sidecar) - cpu
	}
	met := face.Sum(t, "hallmark_limits_met_total", "limit", f.limit) - before
	grown := memory(t, face.Sidecar) - held
	t.Logf("%d connections cut, %v of CPU each with the others' requests, limit met %v times; others: median %.2f, 99th percentile %.2f times what it is without (%v, %v); grown by %d KiB",
		cuts, (spent / time.Duration(max(cuts, 1))).Round(time.Millisecond), met,
		ratio(flooded, quiet, 50), ratio(flooded, quiet, 99), percentile(quiet, 50), percentile(quiet, 99), grown>>10)
	if cuts == 0 && !f.streams || met == 0 {
		t.Errorf("%d connections were cut, and the limit %s met %v times; all limits: %v", cuts, f.limit, met, limits(t, face.Sidecar))
	}
	if little := int64(96 << 20); grown > little {
		t.Errorf("the proxy grew by %d MiB", grown>>20)
	}
}

// serveNeighbours has requests made by others, all of which have to be served, and
// returns how long each took.
func serveNeighbours(t *testing.T, m *mesh) []time.Duration {
	var all sync.WaitGroup
	took := make([][]time.Duration, neighbours)
	for i := range neighbours {
		all.Go(func() {
			client := browser(t, 1+i%2)
			defer client.CloseIdleConnections()
			for range perRound {
				began := time.Now()
				if err := served(t.Context(), client, "http://"+m.Addr(0)); err != nil {
					t.Errorf("somebody else's request: %v", err)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	all.Wait()
	return slices.Concat(took...)
}

func served(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute) // only stops a hang
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "served" {
		return fmt.Errorf("%s %q: %w", res.Status, body, errors.Join(err, errOf(body, res)))
	}
	return nil
}

// attack is a flood under way.
type attack struct {
	cancel context.CancelFunc
	all    sync.WaitGroup
	cuts   atomic.Int64
}

func startAttack(face face, f flood) *attack {
	a := &attack{}
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(context.Background())
	for range attackers {
		a.all.Go(func() {
			for ctx.Err() == nil {
				if a.once(ctx, face, f); ctx.Err() == nil {
					a.cuts.Add(1)
				}
			}
		})
	}
	return a
}

// failed reports whether something of the flood has been cut.
func (a *attack) failed(t *testing.T, face face, f flood, before float64) bool {
	t.Helper()
	return a.cuts.Load() > 0 || f.streams && face.Sum(t, "hallmark_limits_met_total", "limit", f.limit) > before
}

func (a *attack) stop() {
	a.cancel()
	a.all.Wait()
}

// once floods one connection until it ends.
func (a *attack) once(ctx context.Context, face face, f flood) {
	conn, err := face.dial(ctx)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	h := &hostile{Conn: conn, stream: 2}
	if f.version == 2 {
		err = h.greet()
	}
	if err == nil {
		err = f.run(h)
	}
	if !errors.Is(err, errWaits) {
		_ = conn.Close()
	}
	<-ended
}

// limits says which limits a sidecar has met how often.
func limits(t *testing.T, s *e2e.Sidecar) map[string]float64 {
	t.Helper()
	families, err := s.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	met := make(map[string]float64)
	for _, one := range families["hallmark_limits_met_total"].GetMetric() {
		met[one.GetLabel()[0].GetValue()] = one.GetCounter().GetValue()
	}
	return met
}

// used returns the CPU time that a sidecar has used.
func used(t *testing.T, s *e2e.Sidecar) time.Duration {
	t.Helper()
	cpu, err := proc.CPU(s.Pid())
	if err != nil {
		t.Fatal(err)
	}
	return cpu
}

// ratio compares a percentile of two sets.
func ratio(of, to []time.Duration, percent int) float64 {
	return float64(percentile(of, percent)) / float64(max(percentile(to, percent), 1))
}

func percentile(of []time.Duration, percent int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[min(len(of)*percent/100, len(of)-1)].Round(time.Microsecond)
}
