package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is what a server may answer by UDP (RFC 9715: no fragments).
	udpSize = 1232

	// maxAddresses bounds the addresses taken from an answer.
	maxAddresses = 512

	// maxChain bounds the aliases followed within an answer.
	maxChain = 16
)

// ErrNotFound is in the error of a name that does not exist, or has no address.
var ErrNotFound = errors.New("no such name, or it has no address")

// records are a name's addresses of one family, and for how long they hold. No
// addresses and no error is an answer too.
type records struct {
	addresses []netip.Addr
	ttl       time.Duration
	err       error
}

// answer is what is known of a name: IPv4 and IPv6.
type answer [2]records

// families are asked in this order.
var families = [2]uint16{dns.TypeA, dns.TypeAAAA}

// client asks the servers of one configuration.
type client struct {
	servers  []string // host:port, asked in this order
	names    func(host string) []string
	timeout  time.Duration // of one question to one server
	attempts int
}

// newClient returns a client of what resolv.conf(5) says.
func newClient(c *dns.ClientConfig) *client {
	servers := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		servers[i] = net.JoinHostPort(s, c.Port)
	}
	return &client{
		servers: servers, names: c.NameList,
		timeout: time.Duration(c.Timeout) * time.Second, attempts: c.Attempts,
	}
}

// lookup returns all addresses of the host, of the first name of the search list
// that has any. A name that could not be looked up ends the search: the next
// one may be somebody else's.
func (c *client) lookup(ctx context.Context, host string) answer {
	var none answer
	for _, name := range c.names(host) {
		if _, ok := dns.IsDomainName(name); !ok {
			continue
		}
		a := c.both(ctx, name)
		for _, r := range a {
			if r.err != nil || len(r.addresses) > 0 {
				return a
			}
		}
		none = a
	}
	return none
}

// both asks for both families at once.
func (c *client) both(ctx context.Context, name string) (a answer) {
	second := make(chan records, 1)
	go func() { second <- c.family(ctx, name, families[1]) }()
	a[0] = c.family(ctx, name, families[0])
	a[1] = <-second
	return a
}

// family asks one server after the other, all of them several times.
func (c *client) family(ctx context.Context, name string, kind uint16) records {
	var errs []error
	for range max(c.attempts, 1) {
		for _, server := range c.servers {
			reply, err := c.ask(ctx, server, name, kind)
			if err == nil {
				return read(reply, name, kind)
			}
			if ctx.Err() != nil {
				return records{err: fmt.Errorf("%s: %w", server, context.Cause(ctx))}
			}
			errs = append(errs, fmt.Errorf("%s: %w", server, err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("no DNS server is configured"))
	}
	return records{err: errors.Join(dedup(errs)...)}
}

// dedup drops errors that say the same.
func dedup(errs []error) []error {
	return slices.CompactFunc(errs, func(a, b error) bool { return a.Error() == b.Error() })
}

// ask puts one question to one server: by UDP, and by TCP if the answer does not
// fit; once more without EDNS if the server does not know that.
func (c *client) ask(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	question := new(dns.Msg)
	question.SetQuestion(name, kind)
	question.SetEdns0(udpSize, false)
	reply, err := c.exchange(ctx, "udp", server, question)
	if err == nil && reply.Truncated {
		reply, err = c.exchange(ctx, "tcp", server, question)
	}
	if err != nil {
		return nil, err
	}
	if rc := reply.Rcode; rc == dns.RcodeFormatError || rc == dns.RcodeNotImplemented {
		question.Extra = nil
		if reply, err = c.exchange(ctx, "udp", server, question); err != nil {
			return nil, err
		}
	}
	switch reply.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return reply, nil
	default:
		return nil, fmt.Errorf("server answered %s", dns.RcodeToString[reply.Rcode])
	}
}

// exchange sends a question over a connection of its own, from a port that the
// system chooses at random, and takes only an answer to that question.
func (c *client) exchange(ctx context.Context, network, server string, question *dns.Msg) (*dns.Msg, error) {
	timeout := c.timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	question.Id = dns.Id()
	client := dns.Client{Net: network, UDPSize: udpSize, Timeout: timeout}
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	reply, _, err := client.ExchangeWithConnContext(ctx, question, conn)
	if err != nil {
		return nil, err
	}
	if !answers(reply, question) {
		return nil, errors.New("answer to another question")
	}
	return reply, nil
}

// answers reports whether a message is the answer to the question. Some servers
// leave the question off when they do not understand it.
func answers(reply, question *dns.Msg) bool {
	if !reply.Response || reply.Id != question.Id {
		return false
	}
	if len(reply.Question) == 0 {
		return reply.Rcode != dns.RcodeSuccess
	}
	got, want := reply.Question[0], question.Question[0]
	return len(reply.Question) == 1 && got.Qtype == want.Qtype && got.Qclass == want.Qclass && strings.EqualFold(got.Name, want.Name)
}

// read returns the addresses that an answer has for a name, through its aliases
// (RFC 1034, section 4.3.2), and the least TTL on the way. Other records are not
// the question's business.
func read(reply *dns.Msg, name string, kind uint16) records {
	ttl := ^uint32(0)
	for range maxChain {
		alias := ""
		var found []netip.Addr
		for _, rr := range reply.Answer {
			if h := rr.Header(); h.Class != dns.ClassINET || !strings.EqualFold(h.Name, name) {
				continue
			}
			var address netip.Addr
			switch rr := rr.(type) {
			case *dns.CNAME:
				alias, ttl = rr.Target, min(ttl, rr.Hdr.Ttl)
				continue
			case *dns.A:
				address, _ = netip.AddrFromSlice(rr.A)
			case *dns.AAAA:
				address, _ = netip.AddrFromSlice(rr.AAAA)
			}
			if rr.Header().Rrtype == kind && usable(address.Unmap()) && len(found) < maxAddresses {
				found, ttl = append(found, address.Unmap()), min(ttl, rr.Header().Ttl)
			}
		}
		if len(found) > 0 {
			return records{addresses: found, ttl: seconds(ttl)}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	return records{ttl: negativeTTL(reply)}
}

// usable refuses what no server has: connecting to the unspecified address, for
// one, reaches this machine.
func usable(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() }

// negativeTTL is for how long an answer without addresses holds (RFC 2308,
// section 5); 0 if it does not say.
func negativeTTL(reply *dns.Msg) time.Duration {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return seconds(min(soa.Hdr.Ttl, soa.Minttl))
		}
	}
	return 0
}

// seconds reads a TTL: one with the highest bit set is 0 (RFC 2181, section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}
