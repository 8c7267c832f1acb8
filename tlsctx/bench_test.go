package tlsctx_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// podAttributes are what a pod in a usual cluster says of itself.
func podAttributes(tb testing.TB, instance int) identity.Attributes {
	return ca.Attributes(tb,
		"service.instance.id", fmt.Sprintf("checkout-%06d", instance),
		"k8s.namespace.name", "shop",
		"k8s.pod.name", "checkout-7d9c6b9f4-x2x9q",
		"k8s.deployment.name", "checkout",
		"k8s.node.name", "ip-10-0-12-7.eu-west-1.compute.internal",
		"k8s.service_account.name", "checkout",
		"cloud.availability_zone", "eu-west-1a",
		"service.name", "checkout",
		"service.version", "2026.11.3",
	)
}

// changing is a source of which every snapshot says something else, so that no
// context is one that crypto/tls has parsed before.
type changing struct {
	snapshots []*identity.Snapshot
	next      atomic.Uint32
}

func newChanging(tb testing.TB, domain *ca.Domain, path string) *changing {
	first := domain.Snapshot(tb, path, identity.Attributes{})
	c := &changing{}
	for i := range 1000 {
		s := *first
		s.Attributes = podAttributes(tb, i)
		c.snapshots = append(c.snapshots, &s)
	}
	return c
}

func (c *changing) Snapshot() (*identity.Snapshot, error) {
	return c.snapshots[int(c.next.Add(1))%len(c.snapshots)], nil
}

// BenchmarkHandshake pairs, within one run and interleaved, a handshake that
// carries a fresh context both ways with one that carries none, and reports the
// median of the pairwise ratios of their durations as the metric ratio.
func BenchmarkHandshake(b *testing.B) {
	domain := ca.New(b, "example.org")
	template := tlsctx.MustTemplate("/ns/{k8s.namespace.name}/sa/{k8s.service_account.name}")
	policy := tlsctx.Policy{Templates: tlsctx.Templates{domain.TrustDomain(): {template}}}
	everything := tlsctx.Disclosure{Public: []string{tlsctx.AllAttributes}}
	server := tlsctx.ServerConfig{
		Source: newChanging(b, domain, "/ns/shop/sa/checkout"), Policy: policy, Disclosure: everything,
	}
	client := tlsctx.ClientConfig{
		Source: newChanging(b, domain, "/ns/shop/sa/checkout"), Policy: policy, Disclosure: everything,
		Detected: tlsctx.PostgreSQL, Target: "checkout-db",
	}
	without := client
	without.Sessions = []tlsctx.Session{}

	pair := newBenchPair(b, &server)
	var ratios []float64
	var spans [2]time.Duration
	for i := 0; b.Loop(); i++ {
		configs := [2]*tlsctx.ClientConfig{&client, &without}
		var took [2]time.Duration
		for j := range configs {
			k := (i + j) % 2 // neither is always first
			client.Trace = tlsctx.Traceparent{TraceID: [16]byte{1}, SpanID: [8]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}}
			start := time.Now()
			pair.shake(b, configs[k])
			took[k] = time.Since(start)
			spans[k] += took[k]
		}
		ratios = append(ratios, float64(took[0])/float64(took[1]))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(float64(spans[0].Microseconds())/float64(len(ratios)), "µs/context")
	b.ReportMetric(float64(spans[1].Microseconds())/float64(len(ratios)), "µs/plain")
}

// benchPair is a server over loopback that shakes hands and answers one byte,
// so that the client has waited for the whole of it.
type benchPair struct{ listener net.Listener }

func newBenchPair(b *testing.B, config *tlsctx.ServerConfig) *benchPair {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			conn, err := tlsctx.Server(context.Background(), raw, config)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = conn.Write([]byte{1})
			_ = conn.Close()
		}
	}()
	return &benchPair{listener}
}

func (p *benchPair) shake(b *testing.B, config *tlsctx.ClientConfig) {
	b.Helper()
	raw, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	conn, err := tlsctx.Client(b.Context(), raw, config)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	_ = conn.Close()
}
