package trace

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines are fields of a message, name: value.
type lines []string

func (l *lines) values(name string) (all []string) {
	for _, line := range *l {
		if n, v, _ := strings.Cut(line, ": "); n == name {
			all = append(all, v)
		}
	}
	return all
}

func (l *lines) Get(name string) string {
	all := l.values(name)
	if len(all) == 1 || name == tracestate {
		return strings.Join(all, ",")
	}
	return ""
}

func (l *lines) Set(name, value string) {
	l.Del(name)
	*l = append(*l, name+": "+value)
}

func (l *lines) Del(name string) {
	*l = slices.DeleteFunc(*l, func(line string) bool { return strings.HasPrefix(line, name+": ") })
}

func (l *lines) Keys() (names []string) {
	for _, line := range *l {
		n, _, _ := strings.Cut(line, ": ")
		names = append(names, n)
	}
	return names
}

// tracer returns a tracer with the settings, closed when the test ends.
func tracer(tb testing.TB, s Settings) *Tracer {
	tb.Helper()
	t := New(Config{Version: "v1", Log: zap.NewNop()})
	tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		t.Close(ctx)
	})
	if err := t.Apply(s); err != nil {
		tb.Fatal(err)
	}
	return t
}

// nowhere is a collector that nobody listens for.
const nowhere = "http://127.0.0.1:9"

func snapshot(tb testing.TB) *identity.Snapshot {
	tb.Helper()
	return ca.New(tb, "example.org").Snapshot(tb, "/ns/shop/sa/web", ca.Attributes(tb, "service.name", "web", "k8s.pod.name", "web-1"))
}

// event is a request that has ended well.
func event(tb testing.TB) *metrics.RequestEvent {
	tb.Helper()
	id := snapshot(tb).ID()
	return &metrics.RequestEvent{
		RequestsInfo: metrics.RequestsInfo{
			Reporter: metrics.Destination, Session: tlsctx.H2, Target: "app", Listener: "in",
			Peer: &tlsctx.Peer{ID: id, Attributes: tlsctx.Attributes{
				{Name: "k8s.namespace.name", Value: "shop", Provenance: tlsctx.Verified},
				{Name: "service.name", Value: "mine", Provenance: tlsctx.Asserted},
			}},
		},
		Request: metrics.Request{
			Method: "GET", Authority: "app.example:8080", Path: "/a?b=c", Protocol: tlsctx.HTTP1, Status: 200, GRPC: -1,
			Start: time.Now(), Duration: time.Millisecond, Attempts: 1, Outcome: metrics.Outcome{Reason: metrics.ReasonOK},
		},
	}
}
