package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// unrest is a configuration under which sessions grow old at once.
const unrest = `apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: { name: unrest }
spec:
  sessions: { maxAge: %s }
`

// TestNoRequestLost: while SVIDs rotate, sessions grow old, the application closes
// connections when it likes, configurations change and either proxy is replaced,
// every request is answered, and by its own answer.
func TestNoRequestLost(t *testing.T) { loseNone(t, 400) }

// loseNone makes at least so many requests of each kind, and goes on until
// everything that is to change has changed.
func loseNone(t *testing.T, requests int) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, fmt.Sprintf(unrest, "200ms"))
	handover := func(name string) []string {
		return []string{"--handover", filepath.Join(components.TempDirFor(t, nil), name+".sock"), "--drain", "60s", "--config", file, "--access-level", "Warn"}
	}
	m := newMesh(t, e2e.IssuerOptions{SVIDTTL: 4 * time.Second}, func(w *e2e.Ways) {
		w.InboundArgs, w.OutboundArgs = handover("inbound"), handover("outbound")
	}, fickle(t), apps.StartGRPC(t).Addr)

	calls := newCalls(t)
	for range 4 {
		calls.repeat("HTTP/1", ask(browser(t, 1), "http://"+m.Addr(0)))
		calls.repeat("HTTP/1 on a new connection", askAnew("http://"+m.Addr(0)))
		calls.repeat("HTTP/2", ask(browser(t, 2), "http://"+m.Addr(0)))
		calls.repeat("gRPC", askGRPC(t, m.Addr(1)))
	}
	round := requests / 4
	calls.await(t, 4*round)
	for i, replace := range []*e2e.Sidecar{m.Inbound, m.Outbound, m.Inbound, m.Outbound} {
		old := replace.Running
		replace.Start(t)
		if err := old.Wait(t.Context()); err != nil {
			t.Errorf("the old process: %v", err)
		}
		change(t, file, fmt.Sprintf(unrest, []string{"300ms", "200ms"}[i%2]))
		calls.await(t, 4*round)
	}
	for _, s := range []*e2e.Sidecar{m.Inbound, m.Outbound} {
		until := s.Sum(t, "hallmark_identity_generation") + 1
		e2e.Eventually(t, "its SVID is replaced", func() error {
			if got := s.Sum(t, "hallmark_identity_generation"); got < until {
				return fmt.Errorf("generation %v", got)
			}
			return nil
		})
	}
	calls.stop(t)
}

// change replaces a file at once.
func change(t *testing.T, file, content string) {
	t.Helper()
	write(t, file+".new", content)
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// fickle runs an application that mirrors, and closes connections at random: after
// an answer that says so, and when they have been idle for a moment.
func fickle(t *testing.T) string {
	server := &http.Server{
		// With less, HTTP/2 would end on a busy machine before it has begun.
		Protocols: new(http.Protocols), IdleTimeout: 100 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rand.IntN(10) == 0 {
				w.Header().Set("Connection", "close")
			}
			mirror(w, r)
		}),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return serve(t, server)
}

// ask has something mirrored, now and then with a large body; only requests that
// are safe to send again, as those with an effect are not sent again by anybody.
func ask(client *http.Client, url string) func(context.Context, int) error {
	return func(ctx context.Context, n int) error {
		want := fmt.Sprintf("%d %s", n, strings.Repeat("x", 1<<(n%16)))
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(want))
		if err != nil {
			return err
		}
		// net/http sends again by itself what meets a closed connection. We
		// would not see what the proxy loses.
		req.GetBody = nil
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || string(got) != want {
			return fmt.Errorf("request %d: %s, %d bytes of %d: %w", n, res.Status, len(got), len(want), errors.Join(err, errOf(got, res)))
		}
		return nil
	}
}

// errOf is what the proxy says of an answer of its own.
func errOf(body []byte, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("%q %q", res.Header.Get("Proxy-Status"), body)
}

// askAnew is ask by HTTP/1.1 on a new connection each time.
func askAnew(url string) func(context.Context, int) error {
	return ask(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, url)
}

// askGRPC has something echoed, by a call and by a stream in turn.
func askGRPC(t *testing.T, address string) func(context.Context, int) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	service := grpc_testing.NewTestServiceClient(conn)
	return func(ctx context.Context, n int) error {
		payload := &grpc_testing.Payload{Body: fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 1<<(n%16)))}
		if n%2 == 0 {
			got, err := service.UnaryCall(ctx, &grpc_testing.SimpleRequest{Payload: payload})
			return same(n, payload, got.GetPayload(), err)
		}
		stream, err := service.FullDuplexCall(ctx)
		if err != nil {
			return err
		}
		for range 3 {
			if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{Payload: payload}); err != nil {
				_, err = stream.Recv() // says why
				return fmt.Errorf("stream %d: send: %w", n, err)
			}
			got, err := stream.Recv()
			if err := same(n, payload, got.GetPayload(), err); err != nil {
				return err
			}
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("stream %d: ended with %w", n, err)
		}
		return nil
	}
}

func same(n int, want, got *grpc_testing.Payload, err error) error {
	if err != nil || string(got.GetBody()) != string(want.GetBody()) {
		return fmt.Errorf("call %d: %d bytes of %d: %w", n, len(got.GetBody()), len(want.GetBody()), err)
	}
	return nil
}

// calls are requests that are made all the time.
type calls struct {
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
	count  atomic.Int64

	mu     sync.Mutex
	failed []error
}

func newCalls(t *testing.T) *calls {
	c := &calls{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		c.cancel()
		c.all.Wait()
	})
	return c
}

// repeat makes one kind of request, one after the other.
func (c *calls) repeat(kind string, call func(ctx context.Context, n int) error) {
	c.all.Go(func() {
		for c.ctx.Err() == nil {
			n := int(c.count.Add(1))
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // only stops a hang
			err := call(ctx, n)
			cancel()
			if err != nil {
				c.mu.Lock()
				c.failed = append(c.failed, fmt.Errorf("%s: %s: %w", time.Now().UTC().Format("15:04:05.000"), kind, err))
				c.mu.Unlock()
			}
		}
	})
}

// await waits for so many more requests.
func (c *calls) await(t *testing.T, more int) {
	t.Helper()
	until := c.count.Load() + int64(more)
	e2e.Eventually(t, "enough requests have been made", func() error {
		if got := c.count.Load(); got < until {
			return fmt.Errorf("%d of %d", got, until)
		}
		return nil
	})
}

// stop ends it, and fails the test for each request that failed.
func (c *calls) stop(t *testing.T) {
	t.Helper()
	c.cancel()
	c.all.Wait()
	t.Logf("%d requests, %d lost", c.count.Load(), len(c.failed))
	for _, err := range c.failed[:min(len(c.failed), 20)] {
		t.Error(err)
	}
}
