package observability

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// crowd is a sidecar that is called by many, of whom none comes twice.
type crowd struct {
	*e2e.Sidecar

	process *components.Running
	domain  *ca.Domain
	address string
	came    atomic.Int64
}

// startCrowd starts a sidecar with so many combinations of labels at the most, in
// front of an application of HTTP.
func startCrowd(t *testing.T, most int) *crowd {
	t.Helper()
	dir := t.TempDir()
	c := &crowd{domain: ca.New(t, "example.org"), address: components.FreeAddr(t), Sidecar: &e2e.Sidecar{Metrics: components.FreeAddr(t)}}
	files := ca.WritePEM(t, dir, c.domain.Snapshot(t, cart, ca.Attributes(t)))
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("apiVersion: hallmark.dev/v1alpha1\nkind: Proxy\nmetadata: {name: sidecar}\nspec: {metrics: {maxSeries: %d}, accessLog: {output: none}}\n", most)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.process = components.Start(t, components.Process{
		Path: build.Binary(t),
		Args: []string{
			"run", "--config", config, "--inbound", c.address + "=" + shop(t), "--metrics", c.Metrics,
			"--cert", files.Chain, "--key", files.Key, "--bundle", files.Bundle,
		},
		Ready: components.Responds("http://" + c.Metrics + "/readyz"),
	})
	return c
}

// call has n more callers come, each with an identity, a path and a host that
// nobody has had.
func (c *crowd) call(t *testing.T, n int) {
	t.Helper()
	callers := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range callers {
				if err := c.once(t, i); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			}
		})
	}
	for range n {
		callers <- int(c.came.Add(1))
	}
	close(callers)
	wg.Wait()
}

// once makes one request, as somebody new.
func (c *crowd) once(t *testing.T, i int) error {
	svid := c.domain.SVID(t, fmt.Sprintf("/ns/crowd/sa/caller-%d", i))
	conn, err := tls.Dial("tcp", c.address, &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		Certificates: []tls.Certificate{ca.TLSCertificate(svid)},
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /path-%d HTTP/1.1\r\nHost: host-%d.example\r\nConnection: close\r\n\r\n", i, i); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("got %s", res.Status)
	}
	return nil
}

// check wants as many series as there may be, every request in them, and those
// that have no series of their own counted as such.
func (c *crowd) check(t *testing.T, most int) {
	t.Helper()
	all := float64(c.came.Load())
	e2e.Eventually(t, "every request is counted", func() error {
		if n := c.Sum(t, "istio_requests_total"); n != all {
			return fmt.Errorf("%v are, of %v", n, all)
		}
		return nil
	})
	families, err := c.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(families["istio_requests_total"].GetMetric()); n != most+1 {
		t.Errorf("%d series of requests, want %d and the one of the overflow", n, most)
	}
	over := c.Sum(t, "istio_requests_total", "source_principal", "overflow")
	if counted := c.Sum(t, "hallmark_metrics_overflowed_total", "metric", "istio_requests"); over != all-float64(most) || counted != over {
		t.Errorf("%v of %v requests are under overflow, and %v are said to be", over, all, counted)
	}
}

// TestCrowd is called by more than there may be series.
func TestCrowd(t *testing.T) {
	const most = 50
	c := startCrowd(t, most)
	c.call(t, 300)
	c.check(t, most)
}
