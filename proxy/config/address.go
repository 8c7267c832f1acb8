package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// listenAddress is a parsed address to listen on. An invalid IP means all.
type listenAddress struct {
	ip   netip.Addr
	port uint16
}

// parseListen parses [IP]:port.
func parseListen(text string) (listenAddress, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return listenAddress{}, fmt.Errorf("%.80q is no address to listen on: want [IP]:port, such as :8443 or 127.0.0.1:8443", text)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return listenAddress{}, fmt.Errorf("%.80q has no port from 0 to 65535", text)
	}
	a := listenAddress{port: uint16(n)}
	if host == "" {
		return a, nil
	}
	if a.ip, err = netip.ParseAddr(host); err != nil {
		return listenAddress{}, fmt.Errorf("%.80q has no IP address before the port: a name may stand for several, write the one that is meant", text)
	}
	a.ip = a.ip.Unmap()
	return a, nil
}

// overlaps reports whether both cannot be listened on. Port 0 is any that is
// free.
func (a listenAddress) overlaps(b listenAddress) bool {
	switch {
	case a.port != b.port || a.port == 0:
		return false
	case a.everywhere() || b.everywhere():
		return true
	case a.ip.Is4() && b.ip.Is4():
		return a.ip == b.ip || a.ip.IsUnspecified() || b.ip.IsUnspecified()
	default:
		return a.ip == b.ip
	}
}

// everywhere reports whether it is all addresses of both families: so it is for
// "::" as well, as systems listen on both unless told otherwise.
func (a listenAddress) everywhere() bool {
	return !a.ip.IsValid() || a.ip.Is6() && a.ip.IsUnspecified()
}

// parseDial parses host:port, the host being an IP address or a DNS name, and
// returns the port.
func parseDial(text string) (uint16, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return 0, fmt.Errorf("%.80q is no address: want host:port, such as 127.0.0.1:5432 or db.internal:8443", text)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.80q has no port from 1 to 65535", text)
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return 0, fmt.Errorf("%.80q has neither an IP address nor a DNS name before the port", text)
	}
	return uint16(n), nil
}

// isHostName reports whether s is a name to be asked of DNS: more is allowed
// than in names of hosts (RFC 1123), as underscores are in use.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	return len(s) <= 253 && all(strings.Split(s, "."), func(label string) bool {
		return isDNSLabel(strings.ToLower(strings.ReplaceAll(label, "_", "x")))
	})
}
