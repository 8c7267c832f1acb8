package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// sessions are the kinds of session that most faults are tried with.
var sessions = map[string]string{"mux": ",session=Mux", "raw": ",session=Raw"}

// each runs a test with each kind of session between a pair, whose ways are
// changed first.
func each(t *testing.T, backend func() string, change func(*e2e.Ways), test func(t *testing.T, pair *e2e.Pair)) {
	for name, keys := range sessions {
		t.Run(name, func(t *testing.T) {
			issuer := build.Issuer(t, twoWorkloads)
			ways := e2e.Ways{Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{backend()}, Keys: keys}
			if change != nil {
				change(&ways)
			}
			test(t, e2e.RunPair(t, ways))
		})
	}
}

// appRole makes the test binary an application that sends without end to
// whoever connects: its environment says where it listens.
const appRole = "HALLMARK_E2E_APPLICATION"

func beApplication(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			narrow(conn)
			for {
				if _, err := conn.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}()
	}
}

// application starts the test binary as an application.
func application(t *testing.T, address string) *components.Running {
	t.Helper()
	return components.Start(t, components.Process{
		Name: "application", Path: os.Args[0], Env: []string{appRole + "=" + address}, Ready: components.Accepts("tcp", address),
	})
}

// TestApplicationDies kills the application in the middle of its stream: the
// client is told, and the pair goes on when the application is back.
func TestApplicationDies(t *testing.T) {
	var address string
	each(t, func() string {
		address = components.FreeAddr(t)
		return address
	}, nil, func(t *testing.T, pair *e2e.Pair) {
		for range 2 {
			app := application(t, address)
			conn, err := net.Dial("tcp", pair.Addr(0))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.CopyN(io.Discard, conn, 10<<20); err != nil {
				t.Fatal(err)
			}
			app.Kill()
			if _, err := io.Copy(io.Discard, conn); err == nil {
				// An orderly end is what a killed process's kernel sends, if
				// everything that it got was read.
				t.Log("the client saw an orderly end")
			}
		}
	})
}

// TestPeerProxyDies kills the inbound proxy: clients see a reset, not an end
// that looks orderly, and go on when it is back.
func TestPeerProxyDies(t *testing.T) {
	each(t, func() string { return e2e.EchoServer(t) }, nil, func(t *testing.T, pair *e2e.Pair) {
		for range 3 {
			kept := e2e.Keep(t, pair.Addr(0))
			if err := kept.Echo(); err != nil {
				t.Fatal(err)
			}
			pair.Inbound.Kill()
			if err := kept.Echo(); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("after the peer proxy died the client saw %v, want a reset", err)
			}
			if err := e2e.Exchange(t.Context(), pair.Addr(0)); err == nil {
				t.Error("an exchange goes well without a peer")
			}
			pair.Inbound.Start(t)
			e2e.Eventually(t, "exchanges go well again", func() error { return e2e.Exchange(t.Context(), pair.Addr(0)) })
		}
	})
}

// TestNetworkCut cuts the network between the proxies without a trace, for
// connections that are busy and for new ones: they end in an error, or go on
// where they were once it is mended, and nothing waits for ever.
func TestNetworkCut(t *testing.T) {
	var relay *e2e.Relay
	each(t, func() string { return e2e.EchoServer(t) }, func(w *e2e.Ways) {
		w.Relay = func(inbound string) string {
			relay = e2e.StartRelay(t, inbound)
			return relay.Addr
		}
	}, func(t *testing.T, pair *e2e.Pair) {
		kept := e2e.Keep(t, pair.Addr(0))
		if err := kept.Echo(); err != nil {
			t.Fatal(err)
		}
		relay.Cut()
		busy, fresh := make(chan error, 1), make(chan error, 1)
		go func() { busy <- kept.Echo() }()
		go func() { fresh <- e2e.Exchange(t.Context(), pair.Addr(0)) }()
		// On a mux session all of it waits in one place.
		e2e.Eventually(t, "the network holds something up", func() error {
			if relay.Held() == 0 {
				return errors.New("nothing is held up")
			}
			return nil
		})
		relay.Mend()
		if err := <-busy; err != nil {
			t.Logf("the busy connection: %v", err)
		}
		if err := <-fresh; err != nil {
			t.Logf("the new connection: %v", err)
		}
		e2e.Eventually(t, "exchanges go well again", func() error { return e2e.Exchange(t.Context(), pair.Addr(0)) })
	})
}

// TestWorkloadAPIDies kills the issuer and starts it again: the pair goes on
// with what it has, and takes new identities when there are any.
func TestWorkloadAPIDies(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	pair := e2e.RunPair(t, e2e.Ways{Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{e2e.EchoServer(t)}})
	traffic := e2e.StartTraffic(t, pair.Addr(0), 2, 2)
	for range 3 {
		traffic.Await(t, 50)
		before := expiries(t, pair)
		issuer.Kill()
		traffic.Await(t, 50)
		e2e.Eventually(t, "both sidecars know that the source is away", func() error {
			if up := pair.Outbound.Sum(t, "hallmark_identity_source_up") + pair.Inbound.Sum(t, "hallmark_identity_source_up"); up != 0 {
				return fmt.Errorf("%v are up", up)
			}
			return nil
		})
		traffic.Await(t, 50)
		issuer.Start(t)
		e2e.Eventually(t, "both sidecars have new identities", func() error { return differ(before, expiries(t, pair)) })
		traffic.Await(t, 50)
	}
	traffic.MustStop(t)
}

// expiries are the generations of both sidecars' identities.
func expiries(t *testing.T, pair *e2e.Pair) [2]float64 {
	t.Helper()
	return [2]float64{pair.Outbound.Sum(t, "hallmark_identity_generation"), pair.Inbound.Sum(t, "hallmark_identity_generation")}
}

func differ(before, now [2]float64) error {
	if before[0] == now[0] || before[1] == now[1] {
		return fmt.Errorf("from %v to %v", before, now)
	}
	return nil
}

// TestRotationUnderLoad replaces identities every second: no exchange fails, on
// connections that stay and on those that come.
func TestRotationUnderLoad(t *testing.T) {
	for name, keys := range sessions {
		t.Run(name, func(t *testing.T) {
			options := twoWorkloads
			options.SVIDTTL = 2 * time.Second
			issuer := build.Issuer(t, options)
			pair := e2e.RunPair(t, e2e.Ways{
				Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{e2e.EchoServer(t)}, Keys: keys,
			})
			traffic := e2e.StartTraffic(t, pair.Addr(0), 4, 4)
			for range 5 {
				before := expiries(t, pair)
				e2e.Eventually(t, "both have rotated", func() error { return differ(before, expiries(t, pair)) })
				traffic.Await(t, 20)
			}
			traffic.MustStop(t)
		})
	}
}

// TestBundleReplaced has a new authority take the place of the old one without
// notice: what stands on the old one ends, and the pair goes on by the new one.
func TestBundleReplaced(t *testing.T) {
	for name, keys := range sessions {
		t.Run(name, func(t *testing.T) {
			options := twoWorkloads
			options.Forgetful = true
			issuer := build.Issuer(t, options)
			pair := e2e.RunPair(t, e2e.Ways{
				Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{e2e.EchoServer(t)}, Keys: keys,
			})
			kept := e2e.Keep(t, pair.Addr(0))
			if err := kept.Echo(); err != nil {
				t.Fatal(err)
			}
			before := expiries(t, pair)
			issuer.Kill()
			issuer.Start(t)
			e2e.Eventually(t, "both have new identities", func() error { return differ(before, expiries(t, pair)) })
			e2e.Eventually(t, "what stands on the old bundle ends", func() error {
				if err := kept.Echo(); err == nil {
					return errors.New("it goes on")
				}
				return nil
			})
			e2e.Eventually(t, "exchanges go well", func() error { return e2e.Exchange(t.Context(), pair.Addr(0)) })
			e2e.StartTraffic(t, pair.Addr(0), 2, 2).Await(t, 50)
		})
	}
}

// TestLogsCannotBeWritten has logs that go nowhere, because the disk is full or
// because nobody reads the pipe: traffic goes on, and what is lost is counted.
func TestLogsCannotBeWritten(t *testing.T) {
	for name, log := range map[string]func(t *testing.T) string{
		"full disk": func(*testing.T) string { return "/dev/full" },
		"full pipe": fullPipe,
	} {
		t.Run(name, func(t *testing.T) {
			issuer := build.Issuer(t, twoWorkloads)
			pair := e2e.RunPair(t, e2e.Ways{
				Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{e2e.EchoServer(t)},
				InboundArgs: []string{"--access-log", log(t)}, OutboundArgs: []string{"--access-log", log(t)},
			})
			traffic := e2e.StartTraffic(t, pair.Addr(0), 8, 1)
			e2e.Eventually(t, "both have dropped lines", func() error {
				in, out := pair.Inbound.Sum(t, "hallmark_log_lines_dropped_total"), pair.Outbound.Sum(t, "hallmark_log_lines_dropped_total")
				if in == 0 || out == 0 {
					return fmt.Errorf("%v and %v", in, out)
				}
				return nil
			})
			traffic.Await(t, 100)
			traffic.MustStop(t)
		})
	}
}

// fullPipe returns a named pipe that somebody holds open and nobody reads.
func fullPipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close() })
	return path
}

// TestRestartsUnderLoad replaces each proxy by a new process twenty times, which
// takes the listening sockets over: no connect fails.
func TestRestartsUnderLoad(t *testing.T) {
	for _, which := range []string{"inbound", "outbound"} {
		t.Run(which, func(t *testing.T) {
			issuer := build.Issuer(t, twoWorkloads)
			handover := func(name string) []string {
				return []string{"--handover", filepath.Join(components.TempDirFor(t, nil), name+".sock"), "--drain", "20s"}
			}
			pair := e2e.RunPair(t, e2e.Ways{
				Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{e2e.EchoServer(t)},
				InboundArgs: handover("inbound"), OutboundArgs: handover("outbound"),
			})
			sidecar := pair.Inbound
			if which == "outbound" {
				sidecar = pair.Outbound
			}
			traffic := e2e.StartTraffic(t, pair.Addr(0), 8, 0)
			for range 20 {
				old := sidecar.Running
				sidecar.Start(t)
				if err := old.Wait(t.Context()); err != nil {
					t.Errorf("the old process: %v", err)
				}
				traffic.Await(t, 10)
			}
			traffic.MustStop(t)
		})
	}
}

// TestSilentPeers has peers that complete the handshake and then say nothing, in
// both roles, and clients that do not even begin: others do not notice.
func TestSilentPeers(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	pair := e2e.RunPair(t, e2e.Ways{Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{e2e.EchoServer(t)}})
	for range 50 {
		defer shake(t, issuer.Workload(t, client), pair.Between, "hallmark/1/mux/unknown").Close()
		defer shake(t, issuer.Workload(t, client), pair.Between, "hallmark/1/raw/unknown").Close()
		for _, address := range []string{pair.Between, pair.Addr(0)} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
	}
	traffic := e2e.StartTraffic(t, pair.Addr(0), 4, 4)
	traffic.Await(t, 200)
	traffic.MustStop(t)
}

// TestHandshakeFlood has one source open handshakes by the hundred that it never
// completes, and throw them away: others do not notice.
func TestHandshakeFlood(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	pair := e2e.RunPair(t, e2e.Ways{Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{e2e.EchoServer(t)}, Keys: ",session=Raw"})
	flood := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	hello := clientHello(t)
	traffic := e2e.StartTraffic(t, pair.Addr(0), 4, 4)
	for i := range 1000 {
		conn, err := flood.Dial("tcp", pair.Between)
		if err != nil {
			continue // refused, as it may be
		}
		defer conn.Close()
		_, _ = conn.Write(hello[:len(hello)-i%2]) // every other one stays incomplete
	}
	traffic.Await(t, 200)
	traffic.MustStop(t)
	if n := pair.Inbound.Sum(t, "hallmark_limits_met_total"); n == 0 {
		t.Error("a thousand handshakes from one source met no limit")
	}
}

// TestNeverReading has clients that ask for much on one session and never read:
// others on the same session do not notice.
func TestNeverReading(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	address := components.FreeAddr(t)
	application(t, address)
	pair := e2e.RunPair(t, e2e.Ways{
		Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{address, e2e.EchoServer(t)}, Keys: ",session=Mux",
	})
	for range 1000 {
		conn, err := net.Dial("tcp", pair.Addr(0))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		narrow(conn)
	}
	fast, err := net.Dial("tcp", pair.Addr(0))
	if err != nil {
		t.Fatal(err)
	}
	defer fast.Close()
	if _, err := io.CopyN(io.Discard, fast, 10<<20); err != nil {
		t.Errorf("beside a thousand that never read: %v", err)
	}
	traffic := e2e.StartTraffic(t, pair.Addr(1), 4, 4)
	traffic.Await(t, 200)
	traffic.MustStop(t)
}

// narrow keeps a connection's buffers small: those of a thousand that nobody
// reads would be all the memory that the system has for TCP, and then every
// socket of the machine stalls.
func narrow(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(16 << 10)
		_ = tcp.SetWriteBuffer(16 << 10)
	}
}

// TestIdleConnections keeps some hundreds of idle connections, which all still
// work in the end.
func TestIdleConnections(t *testing.T) {
	for name, keys := range sessions {
		t.Run(name, func(t *testing.T) { keepIdle(t, keys, 300) })
	}
}

// keepIdle keeps so many connections and returns what each costs the proxies,
// in bytes.
func keepIdle(t *testing.T, keys string, n int) (outbound, inbound int64) {
	t.Helper()
	issuer := build.Issuer(t, twoWorkloads)
	pair := e2e.RunPair(t, e2e.Ways{
		Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{e2e.EchoServer(t)}, Keys: keys,
	})
	if err := e2e.Exchange(t.Context(), pair.Addr(0)); err != nil {
		t.Fatal(err)
	}
	out, in := memory(t, pair.Outbound), memory(t, pair.Inbound)
	kept := make([]*e2e.Kept, n)
	for i := range kept {
		kept[i] = e2e.Keep(t, pair.Addr(0))
		if err := kept[i].Echo(); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	outbound, inbound = (memory(t, pair.Outbound)-out)/int64(n), (memory(t, pair.Inbound)-in)/int64(n)
	for i, k := range kept {
		if err := k.Echo(); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		k.Close()
	}
	return outbound, inbound
}

// TestNamespaceCut takes the network between the proxies away for good, where
// that needs privileges: the kernel says nothing, and connections end all the
// same, by their timeouts. As an ordinary user the relay of TestNetworkCut has
// to do.
func TestNamespaceCut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: see TestNetworkCut")
		return
	}
	network := newNamespace(t)
	issuer := build.Issuer(t, twoWorkloads)
	const impatient = `apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: { name: impatient }
spec:
  keepAlive: { idle: 1s, interval: 1s, count: 2, userTimeout: 3s }
  timeouts: { dial: 2s, handshake: 2s }
`
	between := network.inside + ":8443"
	front := components.FreeAddr(t)
	backend := network.echo(t)
	network.sidecar(t, e2e.Options{Workload: issuer.Workload(t, server), Inbound: []string{between + "=" + backend}, Config: impatient})
	for name, keys := range sessions {
		t.Run(name, func(t *testing.T) {
			outbound := e2e.Run(t, e2e.Options{
				Workload: issuer.Workload(t, client), Outbound: []string{front + "=" + between + keys},
				Expect: []string{issuer.Workload(t, server).ID}, Config: impatient,
			})
			kept := e2e.Keep(t, front)
			if err := kept.Echo(); err != nil {
				t.Fatal(err)
			}
			network.down(t)
			if err := kept.Echo(); err == nil {
				t.Error("an exchange goes well without a network")
			}
			if err := e2e.Exchange(t.Context(), front); err == nil {
				t.Error("a new exchange goes well without a network")
			}
			network.up(t)
			e2e.Eventually(t, "exchanges go well again", func() error { return e2e.Exchange(t.Context(), front) })
			outbound.Stop()
		})
	}
}

// ip runs ip(8).
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(components.Command(t, "ip"), args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %q: %v: %s", args, err, bytes.TrimSpace(out))
	}
}
