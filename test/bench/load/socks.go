package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
)

// viaScheme begins addresses that are reached through a SOCKS5 proxy (RFC 1928).
const viaScheme = "socks5://"

// Via returns the address of a target, IP:port, behind a SOCKS5 proxy that asks for
// no authentication, host:port: what Open of every [Kind] takes.
func Via(proxy, target string) string { return viaScheme + proxy + "/" + target }

// direct splits an address into the proxy, which may be empty, and the target.
func direct(address string) (proxy, target string) {
	rest, ok := strings.CutPrefix(address, viaScheme)
	if !ok {
		return "", address
	}
	proxy, target, _ = strings.Cut(rest, "/")
	return proxy, target
}

// dial connects, with the context's deadline on the connection.
func dial(ctx context.Context, address string) (net.Conn, error) {
	proxy, target := direct(address)
	first := target
	if proxy != "" {
		first = proxy
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", first)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if proxy == "" {
		return conn, nil
	}
	if err := connect(conn, target); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("load: %s through the SOCKS5 proxy %s: %w", target, proxy, err)
	}
	return conn, nil
}

// The bytes of SOCKS5 that are used here.
const (
	socksVersion = 5
	socksNoAuth  = 0
	socksConnect = 1
	socksIPv4    = 1
	socksIPv6    = 4
)

// connect asks a SOCKS5 proxy for a connection, RFC 1928 sections 3 to 6.
func connect(conn net.Conn, target string) error {
	to, err := netip.ParseAddrPort(target)
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte{socksVersion, 1, socksNoAuth}); err != nil {
		return err
	}
	var answer [4]byte
	if _, err := io.ReadFull(conn, answer[:2]); err != nil {
		return err
	}
	if answer[0] != socksVersion || answer[1] != socksNoAuth {
		return fmt.Errorf("it answers %d to a greeting without authentication", answer[:2])
	}
	kind := byte(socksIPv4)
	if to.Addr().Is6() {
		kind = socksIPv6
	}
	request := append([]byte{socksVersion, socksConnect, 0, kind}, to.Addr().AsSlice()...)
	if _, err := conn.Write(append(request, byte(to.Port()>>8), byte(to.Port()))); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[0] != socksVersion || answer[1] != 0 {
		return fmt.Errorf("it answers %d", answer[:2])
	}
	bound := net.IPv4len
	switch answer[3] {
	case socksIPv4:
	case socksIPv6:
		bound = net.IPv6len
	default:
		return fmt.Errorf("it names an address of kind %d", answer[3])
	}
	_, err = io.CopyN(io.Discard, conn, int64(bound+2))
	return err
}
