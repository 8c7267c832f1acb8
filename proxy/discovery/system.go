package discovery

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// system looks names up as this machine is configured to.
type system struct {
	config Config
	hosts  hostsFile
}

// lookup asks /etc/hosts, and then the servers of /etc/resolv.conf, both as they
// are now; or the runtime's resolver, which knows no TTLs, where there is no
// server to ask.
func (s *system) lookup(ctx context.Context, host string) answer {
	ctx, cancel := context.WithTimeout(ctx, s.config.timeout())
	defer cancel()
	if found := s.hosts.find(s.config.hostsPath(), host); len(found) > 0 {
		return sort(found, s.config.minTTL())
	}
	if isLocalhost(host) {
		return sort([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, s.config.maxTTL())
	}
	resolv, err := dns.ClientConfigFromFile(s.config.resolvPath())
	if len(s.config.Servers) > 0 {
		if err != nil {
			resolv = &dns.ClientConfig{Ndots: 1, Timeout: 5, Attempts: 2}
		}
		c := newClient(resolv)
		c.servers = s.config.Servers
		return c.lookup(ctx, host)
	}
	if err != nil || len(resolv.Servers) == 0 {
		return s.runtime(ctx, host)
	}
	return newClient(resolv).lookup(ctx, host)
}

// runtime asks the runtime's resolver.
func (s *system) runtime(ctx context.Context, host string) answer {
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	var dnsErr *net.DNSError
	switch {
	case errors.As(err, &dnsErr) && dnsErr.IsNotFound:
		return answer{}
	case err != nil:
		return answer{{err: err}, {err: err}}
	}
	return sort(found, s.config.defaultTTL())
}

// sort tells the families apart.
func sort(found []netip.Addr, ttl time.Duration) answer {
	a := answer{{ttl: ttl}, {ttl: ttl}}
	for _, address := range found {
		address = address.Unmap()
		family := 0
		if address.Is6() {
			family = 1
		}
		if usable(address) {
			a[family].addresses = append(a[family].addresses, address)
		}
	}
	return a
}

// isLocalhost reports whether the name always means this machine (RFC 6761,
// section 6.3).
func isLocalhost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// maxHosts bounds how much of a hosts file is read, in bytes.
const maxHosts = 16 << 20

// hostsFile is hosts(5) as it was when it last changed.
type hostsFile struct {
	mu      sync.Mutex
	changed time.Time
	size    int64
	names   map[string][]netip.Addr
}

// find returns the addresses of a name, none if there is no file.
func (h *hostsFile) find(path, host string) []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	if h.names == nil || !info.ModTime().Equal(h.changed) || info.Size() != h.size {
		f, err := os.Open(path)
		if err != nil {
			return nil
		}
		defer f.Close()
		h.names, h.changed, h.size = readHosts(io.LimitReader(f, maxHosts)), info.ModTime(), info.Size()
	}
	return h.names[hostsKey(host)]
}

func hostsKey(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// readHosts reads lines of an address and its names; what is not understood is
// left out.
func readHosts(r io.Reader) map[string][]netip.Addr {
	names := make(map[string][]netip.Addr)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		address, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			key := hostsKey(name)
			names[key] = append(names[key], address)
		}
	}
	return names
}

// splitTarget returns the host and the port of host:port.
func splitTarget(target string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(target)
	if err != nil {
		return "", 0, fmt.Errorf("discovery: %.80q is no target: want host:port or unix:/path: %w", target, err)
	}
	n, err := net.LookupPort("tcp", service)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("discovery: target %.80q has no port from 1 to 65535", target)
	}
	if _, ok := dns.IsDomainName(host); !ok || host == "" {
		return "", 0, fmt.Errorf("discovery: target %.80q has neither an IP address nor a DNS name before the port", target)
	}
	return host, uint16(n), nil
}
