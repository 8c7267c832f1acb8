package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// traffic are clients that connect, exchange a little and end, again and again,
// beside some that keep their connections.
type traffic struct {
	stop context.CancelFunc
	all  sync.WaitGroup

	mu        sync.Mutex
	exchanges int
	failures  []error
}

// busy starts so many clients of each kind.
func busy(tb testing.TB, address string, clients int) *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	f := &traffic{stop: cancel}
	for i := range 2 * clients {
		f.all.Go(func() {
			if i%2 == 0 {
				f.loop(ctx, func() error { return exchange(address, 1) })
				return
			}
			f.loop(ctx, func() error { return exchange(address, 50) })
		})
	}
	tb.Cleanup(func() { f.end(tb) })
	return f
}

func (f *traffic) loop(ctx context.Context, do func() error) {
	for ctx.Err() == nil {
		err := do()
		f.mu.Lock()
		f.exchanges++
		if err != nil {
			f.failures = append(f.failures, err)
		}
		f.mu.Unlock()
	}
}

// count returns how many connections have been made and ended.
func (f *traffic) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.exchanges
}

// end stops the clients, and fails the test if any of them saw a failure.
func (f *traffic) end(tb testing.TB) {
	tb.Helper()
	f.stop()
	f.all.Wait()
	for i, err := range f.failures {
		if i == 5 {
			tb.Errorf("and %d more", len(f.failures)-i)
			break
		}
		tb.Errorf("one of %d connections: %v", f.exchanges, err)
	}
	f.failures = nil
}

// exchange says so many lines on one connection, wants each of them back, and
// then the end.
func exchange(address string, lines int) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	for i := range lines {
		line := fmt.Sprintf("line %d of %s\n", i, c.LocalAddr())
		if _, err := io.WriteString(c, line); err != nil {
			return fmt.Errorf("write %d: %w", i, err)
		}
		if got, err := r.ReadString('\n'); got != line {
			return fmt.Errorf("answer %d: %q instead of %q: %w", i, got, line, err)
		}
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
		return fmt.Errorf("at the end: %q, %w", rest, err)
	}
	return nil
}

// TestReloadStorm: two hundred reloads of everything that can change, while
// clients come and go, and none of them notices.
func TestReloadStorm(t *testing.T) {
	for _, kind := range append(kinds(), "Auto") {
		t.Run(kind, func(t *testing.T) {
			apps := []string{echo(t), echo(t)}
			p := newPair(t, apps[0], []string{"  session: " + kind}, nil)
			to, expect := p.server.address("127.0.0.1:0"), "spiffe://example.org/ns/data/sa/db"
			clients := busy(t, p.address, 4)
			settings := []string{
				"{}",
				"{sessions: {idle: 1m}}",
				"{limits: {streamsPerSession: 100, connections: 5000}}",
				"{timeouts: {handshake: 20s}}",
				"{keepAlive: {idle: 40s}, sessions: {maxAge: 10m}}",
			}
			for i := range 200 {
				spec := "\n---\napiVersion: hallmark.dev/v1alpha1\nkind: Proxy\nmetadata: {name: p}\nspec: " + settings[i%len(settings)]
				rules := authorization([]string{"ALLOW", "DENY"}[i%2], "Enforce", []string{onlyShop, strings.ReplaceAll(onlyShop, "shop", "nobody")}[i%2])
				header := []string{"", "  acceptProxyProtocol: {from: [192.0.2.0/24]}"}[i/2%2]
				p.server.apply(inboundYAML(apps[i/3%2], header, rules, spec))
				p.client.apply(outboundYAML(to, expect, "  session: "+kind, header, spec))
				before := clients.count()
				eventually(t, "clients are served", func() bool { return clients.count() > before })
			}
			clients.end(t)
			t.Logf("%d connections", clients.count())
		})
	}
}

// TestRotationStorm: both ends get a new SVID again and again, while clients
// come and go, and none of them notices.
func TestRotationStorm(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			p := newPair(t, echo(t), []string{"  session: " + kind}, nil)
			clients := busy(t, p.address, 4)
			for i := range 40 {
				p.client.publish("service.version", fmt.Sprint(i))
				if i%3 == 0 {
					p.server.publish()
				}
				before := clients.count()
				eventually(t, "clients are served", func() bool { return clients.count() > before+4 })
			}
			clients.end(t)
			t.Logf("%d connections", clients.count())
		})
	}
}
