package accept

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSocketOptions reads back from the kernel what a connection has inherited
// from its listener.
func TestSocketOptions(t *testing.T) {
	listener, err := new(Sockets).Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan map[int]int, 1)
	options := SocketOptions{KeepAliveIdle: 21 * time.Second, KeepAliveInterval: 7 * time.Second, KeepAliveCount: 4, UserTimeout: 42 * time.Second}
	s := NewServer(Config{Socket: options}, func(_ context.Context, c *Conn) {
		defer c.Close()
		got <- readOptions(t, c.Conn.(*net.TCPConn))
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	if !options.Inherit(listener) { // as Serve does, which the client below may be faster than
		t.Error("a new socket passes no options on")
	}
	go func() { served <- s.Serve(ctx, listener) }()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	values := <-got
	for option, want := range map[int]int{unix.TCP_KEEPIDLE: 21, unix.TCP_KEEPINTVL: 7, unix.TCP_KEEPCNT: 4, unix.TCP_USER_TIMEOUT: 42000} {
		if values[option] != want {
			t.Errorf("option %d is %d, want %d", option, values[option], want)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	s.Drain(t.Context())

	options.Apply(client) // of loopback: nothing is set
	options.UserTimeout, options.KeepAliveCount = 0, 3
	if before := readOptions(t, client.(*net.TCPConn)); before[unix.TCP_USER_TIMEOUT] != 0 {
		t.Errorf("a connection of loopback has %v", before)
	}
	if !options.set(client.(*net.TCPConn)) || readOptions(t, client.(*net.TCPConn))[unix.TCP_KEEPCNT] != 3 {
		t.Error("an option was not set")
	}
}

func readOptions(t *testing.T, c *net.TCPConn) map[int]int {
	values := make(map[int]int)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Error(err)
		return values
	}
	err = raw.Control(func(fd uintptr) {
		for _, option := range []int{unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT, unix.TCP_USER_TIMEOUT} {
			if values[option], err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	return values
}

// activated is set in the environment of the process that TestFromSystemd
// starts: the address that its descriptor is expected to have.
const activated = "HALLMARK_TEST_ACTIVATED"

// TestFromSystemd runs this test in a process that gets a socket as systemd
// gives it: descriptor 3, and LISTEN_PID and LISTEN_FDS.
func TestFromSystemd(t *testing.T) {
	if address := os.Getenv(activated); address != "" {
		serveActivated(t, address)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	f, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	client, err := net.Dial("tcp", listener.Addr().String()) // before anybody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// Only the process itself knows its number before it runs.
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0], "-test.run=^TestFromSystemd$")
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", activated+"="+listener.Addr().String())
	cmd.ExtraFiles = []*os.File{f}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := make([]byte, 16)
	if n, err := client.Read(b); err != nil || string(b[:n]) != "activated" {
		t.Errorf("read %q, %v", b[:n], err)
	}
}

// serveActivated takes the socket and answers who waits there.
func serveActivated(t *testing.T, address string) {
	var s Sockets
	if n, err := s.FromSystemd(); n != 1 || err != nil {
		t.Fatalf("got %d sockets, %v; want 1", n, err)
	}
	_, port, _ := strings.Cut(address, ":")
	if l := s.take(":" + port); l != nil {
		t.Fatal("a socket on loopback was taken for one on all addresses")
	}
	l, err := s.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if rest := s.Rest(); len(rest) != 0 {
		t.Errorf("%q is left", rest)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("activated"))
	_ = c.Close()
}
