package components

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// The ports that FreePort hands out: below those that Linux picks for outgoing
// connections (from 32768), one of which could take a port before its server does.
const (
	firstPort = 20000
	lastPort  = 31999
)

// portLocks is the file in the cache whose byte n is locked while port n is
// reserved.
const portLocks = "ports.lock"

// FreePort returns a TCP port of 127.0.0.1 that nobody listens on and that no
// other test gets from FreePort, in this process or another one of the same
// user, until this test ends.
func FreePort(tb testing.TB) int {
	tb.Helper()
	dir, err := Dir()
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatalf("components: reserve a port: %v", err)
	}
	const ports = lastPort - firstPort + 1
	start := rand.IntN(ports)
	for i := range ports {
		port := firstPort + (start+i)%ports
		if lock, err := tryLockByte(filepath.Join(dir, portLocks), int64(port)); err == nil {
			if unused(port) {
				tb.Cleanup(func() { lock.Close() })
				return port
			}
			lock.Close()
		}
	}
	tb.Fatalf("components: reserve a port: none is free from %d to %d (reserved in %s)", firstPort, lastPort, filepath.Join(dir, portLocks))
	return 0
}

// FreeAddr returns a [FreePort] as an address, 127.0.0.1:port.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(tb)))
}

// unused reports whether the port can be listened on, on every address.
func unused(port int) bool {
	for _, host := range []string{"", "127.0.0.1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// Accepts returns a check for [Process].Ready: something accepts connections at
// the address. The connection is closed at once.
func Accepts(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// Responds returns a check for [Process].Ready: an HTTP GET of the URL answers
// with status 200.
func Responds(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, res.Status)
		}
		return nil
	}
}

// Exists returns a check for [Process].Ready: the file, perhaps a socket, is there.
func Exists(file string) func(context.Context) error {
	return func(context.Context) error {
		_, err := os.Stat(file)
		return err
	}
}
