package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/trace"
	"github.com/hallmark-mesh/hallmark/proxy/accept"
	"github.com/hallmark-mesh/hallmark/proxy/config"
	"github.com/hallmark-mesh/hallmark/test/ca"
)

// workload is a sidecar in a test.
type workload struct {
	*Proxy

	tb     testing.TB
	domain *ca.Domain
	path   string
	store  *identity.Store
	record *metrics.Recorder
	trace  *trace.Tracer // off, unless a test turns it on
	events *events
}

// newWorkload returns a sidecar with an identity of the domain.
func newWorkload(tb testing.TB, domain *ca.Domain, path string, attributes ...string) *workload {
	tb.Helper()
	w := &workload{tb: tb, domain: domain, path: path, store: new(identity.Store), events: &events{}}
	w.publish(attributes...)
	w.start()
	return w
}

// start makes the proxy.
func (w *workload) start() {
	var err error
	w.trace = trace.New(trace.Config{Version: "test", Identity: w.store})
	w.record, err = metrics.New(metrics.Config{Identity: w.store, Sinks: []metrics.Sink{w.events}, Spans: w.trace.Counts})
	if err != nil {
		w.tb.Fatal(err)
	}
	w.Proxy = New(Options{
		Identity: w.store, Sockets: new(accept.Sockets), Record: w.record, Trace: w.trace,
		Log: zaptest.NewLogger(w.tb, zaptest.Level(zapcore.WarnLevel), zaptest.WrapOptions(zap.AddStacktrace(zap.FatalLevel))),
	})
	w.tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.Drain(ctx)
		w.trace.Close(ctx)
	})
}

// publish gives the workload a new SVID.
func (w *workload) publish(attributes ...string) {
	w.tb.Helper()
	if err := w.store.Publish(w.domain.Snapshot(w.tb, w.path, ca.Attributes(w.tb, attributes...))); err != nil {
		w.tb.Fatal(err)
	}
}

// apply puts a configuration in force.
func (w *workload) apply(yaml string) {
	w.tb.Helper()
	if err := w.Apply(w.tb.Context(), parsed(w.tb, yaml)); err != nil {
		w.tb.Fatal(err)
	}
}

func parsed(tb testing.TB, yaml string) *config.Config {
	tb.Helper()
	c, err := config.Parse("test.yaml", []byte(yaml))
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// address returns the bound address of the configured one.
func (w *workload) address(configured string) string {
	w.tb.Helper()
	a, ok := w.Addresses()[configured]
	if !ok {
		w.tb.Fatalf("nothing listens at %s: %v", configured, w.Addresses())
	}
	return a.String()
}

// metric returns the sum of the samples whose line the pattern matches.
func (w *workload) metric(pattern string) float64 {
	w.tb.Helper()
	rec := httptest.NewRecorder()
	w.record.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	re := regexp.MustCompile(pattern)
	sum := 0.0
	for line := range strings.Lines(rec.Body.String()) {
		if !strings.HasPrefix(line, "#") && re.MatchString(line) {
			var v float64
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err != nil {
				w.tb.Fatalf("%q: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}

// openMetrics reports whether a line of the metrics in OpenMetrics matches.
func (w *workload) openMetrics(pattern string) bool {
	w.tb.Helper()
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	rec := httptest.NewRecorder()
	w.record.Handler().ServeHTTP(rec, req)
	return regexp.MustCompile(pattern).MatchString(rec.Body.String())
}

// inboundYAML is an inbound listener in front of an application.
func inboundYAML(address string, more ...string) string {
	return fmt.Sprintf(`
apiVersion: hallmark.dev/v1alpha1
kind: Inbound
metadata: {name: in}
spec:
  listen: 127.0.0.1:0
  targets:
  - name: app
    address: %s
%s`, address, strings.Join(more, "\n"))
}

// outboundYAML is an outbound listener to a peer.
func outboundYAML(to, expect string, more ...string) string {
	return fmt.Sprintf(`
apiVersion: hallmark.dev/v1alpha1
kind: Outbound
metadata: {name: out}
spec:
  listen: 127.0.0.1:0
  to: %s
  expect: [{id: "%s"}]
%s`, to, expect, strings.Join(more, "\n"))
}

// pair is an outbound and an inbound sidecar, and an application behind.
type pair struct {
	client, server *workload
	address        string // where the client's application connects to
}

// newPair starts one; more is added to the specs of the outbound and the inbound.
func newPair(tb testing.TB, app string, out, in []string) *pair {
	tb.Helper()
	domain := ca.New(tb, "example.org")
	p := &pair{
		client: newWorkload(tb, domain, "/ns/shop/sa/cart", "service.name", "cart"),
		server: newWorkload(tb, domain, "/ns/data/sa/db"),
	}
	p.server.apply(inboundYAML(app, in...))
	p.client.apply(outboundYAML(p.server.address("127.0.0.1:0"), "spiffe://example.org/ns/data/sa/db", out...))
	p.address = p.client.address("127.0.0.1:0")
	return p
}

// clientFirst has a sidecar wait for its client's first bytes, however late they
// are on a loaded machine, before it opens anything on speculation: for tests that
// count what is opened.
const clientFirst = `
---
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: client-first}
spec: {detection: {grace: 1m}}
`

// connect connects to an address.
func connect(tb testing.TB, address string) *net.TCPConn {
	tb.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		tb.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// ask connects to an address, says something and returns the first answer: for
// connections that may be refused, where connecting itself may be what a reset
// ends.
func ask(address, text string) (string, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	answer := make([]byte, 64)
	n, err := c.Read(answer)
	return string(answer[:n]), err
}

// say writes a line, and returns the line that comes back.
func say(tb testing.TB, c net.Conn, line string) string {
	tb.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		tb.Fatalf("write %q: %v", line, err)
	}
	return hear(tb, c)
}

func hear(tb testing.TB, c net.Conn) string {
	tb.Helper()
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		tb.Fatalf("read: %v", err)
	}
	return strings.TrimSuffix(answer, "\n")
}

// serve serves each connection by a function until the test ends.
func serve(tb testing.TB, handle func(net.Conn)) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Addr().String()
}

// echo gives back what comes, and then ends.
func echo(tb testing.TB) string {
	return serve(tb, func(c net.Conn) { _, _ = io.Copy(c, c) })
}

// greeter speaks first, and then echoes.
func greeter(tb testing.TB) string {
	return serve(tb, func(c net.Conn) {
		_, _ = io.WriteString(c, "220 mail.example.org ESMTP\n")
		_, _ = io.Copy(c, c)
	})
}

// eventually waits until a condition holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			tb.Fatalf("never: %s", what)
		}
	}
}

// emptyStore has no identity yet.
func emptyStore() *identity.Store { return new(identity.Store) }
