package e2e_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// TestOutboundProxyDies kills the proxy at the client's side in the middle of its
// streams: the application sees resets, and never an end that looks orderly,
// since it cannot know that more was to come.
func TestOutboundProxyDies(t *testing.T) {
	var ends chan error
	each(t, func() string {
		told := make(chan error, 100)
		ends = told
		return listen(t, func(c *net.TCPConn) {
			_, err := io.Copy(c, c)
			told <- err
		})
	}, nil, func(t *testing.T, pair *e2e.Pair) {
		for range 10 {
			conn, err := net.Dial("tcp", pair.Addr(0))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := fmt.Fprintln(conn, "hello"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
		}
		pair.Outbound.Kill()
		for range 10 {
			if err := <-ends; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("the application saw its client end with %v, want a reset", err)
			}
		}
		pair.Outbound.Start(t)
		if err := speak(pair.Addr(0)); err != nil {
			t.Error(err)
		}
	})
}

// listen serves connections for as long as the test lasts, and returns where.
func listen(t *testing.T, handle func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.AcceptTCP()
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

// speak has a line echoed, whatever the application is otherwise.
func speak(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return err
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello\n" {
		return fmt.Errorf("got %q: %w", got, err)
	}
	return nil
}

// TestGarbageEverywhere throws at each port what it is not for: random bytes,
// zeros, other protocols' beginnings, and connections that say nothing or leave at
// once. The sidecars stay up and serve.
func TestGarbageEverywhere(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	pair := e2e.RunPair(t, e2e.Ways{
		Client: issuer.Workload(t, client), Server: issuer.Workload(t, server),
		Backends: []string{listen(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })},
	})
	noise := make([]byte, 256<<10)
	_, _ = rand.Read(noise)
	garbage := map[string][]byte{
		"nothing": nil, "noise": noise, "zeros": make([]byte, 256<<10),
		"HTTP/1":       []byte("GET / HTTP/1.1\r\nHost: \x00\r\n\r\n"),
		"HTTP/2":       []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
		"endless line": []byte("GET /" + strings.Repeat("a", 256<<10)),
		"half a hello": clientHello(t)[:100],
		"hello twice":  append(clientHello(t), clientHello(t)...),
		"TLS record":   append([]byte{22, 3, 3, 255, 255}, noise...),
	}
	for where, address := range map[string]string{
		"inbound": pair.Between, "outbound": pair.Addr(0),
		"inbound metrics": pair.Inbound.Metrics, "outbound metrics": pair.Outbound.Metrics,
		"inbound admin": pair.Inbound.Admin, "outbound admin": pair.Outbound.Admin,
	} {
		for what, bytes := range garbage {
			for _, leave := range []func(*net.TCPConn) error{(*net.TCPConn).CloseWrite, func(c *net.TCPConn) error { return c.SetLinger(0) }} {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatalf("%s does not accept after %s: %v", where, what, err)
				}
				go func() { _, _ = io.Copy(io.Discard, conn) }() // an echo must not stand still
				_, _ = conn.Write(bytes)
				_ = leave(conn.(*net.TCPConn))
				_ = conn.Close()
			}
		}
		if err := speak(pair.Addr(0)); err != nil {
			t.Errorf("after garbage to %s: %v", where, err)
		}
	}
	for _, s := range []*e2e.Sidecar{pair.Inbound, pair.Outbound} {
		if n := s.Sum(t, "hallmark_build_info"); n != 1 {
			t.Errorf("%v at /metrics", n)
		}
		if page := s.Page(t, "/peers"); page == "" {
			t.Error("nothing at /peers")
		}
	}
}

// TestBadConfiguration: a file that is wrong changes nothing, is said to be
// wrong, and shows in the metrics; so does that it is right again.
func TestBadConfiguration(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	backend := listen(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	file := filepath.Join(t.TempDir(), "more.yaml")
	write := func(text string) {
		if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	const good = "apiVersion: hallmark.dev/v1alpha1\nkind: Proxy\nmetadata: {name: p}\nspec: {timeouts: {dial: 4s}}\n"
	write(good)
	pair := e2e.RunPair(t, e2e.Ways{
		Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{backend},
		OutboundArgs: []string{"--config", file},
	})
	reloaded := func(want float64) func() error {
		return func() error {
			if got := pair.Outbound.Sum(t, "hallmark_config_last_reload_successful"); got != want {
				return fmt.Errorf("it is %v", got)
			}
			return nil
		}
	}
	for what, bad := range map[string]string{
		"no YAML": "{{{", "an unknown field": strings.Replace(good, "dial", "dail", 1),
		"a port that cannot be bound": good + "---\napiVersion: hallmark.dev/v1alpha1\nkind: Inbound\nmetadata: {name: taken}\nspec: {listen: " + backend + ", targets: [{name: a, address: 127.0.0.1:1}]}\n",
	} {
		write(bad)
		e2e.Eventually(t, "it shows that the last reload failed ("+what+")", reloaded(0))
		if err := speak(pair.Addr(0)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if page := pair.Outbound.Page(t, "/config"); !strings.Contains(page, "4s") {
			t.Errorf("%s: the configuration in force is\n%s", what, page)
		}
		write(good)
		pair.Outbound.Signal(syscall.SIGHUP)
		e2e.Eventually(t, "it shows that the last reload succeeded", reloaded(1))
	}
	if log := pair.Outbound.Output(); !strings.Contains(log, "dail") {
		t.Errorf("the log does not say what was wrong:\n%s", log)
	}
}
