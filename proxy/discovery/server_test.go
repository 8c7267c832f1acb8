package discovery

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// zone is a DNS server on loopback, by UDP and TCP on one port.
type zone struct {
	address string

	mu      sync.Mutex
	records map[string][]string // "name. A" or "name. AAAA": records
	rcode   map[string]int      // by the same key
	asked   []string            // keys, in order, with the network
	mangle  func(network string, reply *dns.Msg)
	silent  bool
}

func startZone(t *testing.T) *zone {
	t.Helper()
	z := &zone{records: map[string][]string{}, rcode: map[string]int{}}
	var packets net.PacketConn
	var listener net.Listener
	for packets == nil {
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if packets, err = net.ListenPacket("udp", listener.Addr().String()); err != nil {
			_ = listener.Close() // that port is taken for UDP: another one
		}
	}
	z.address = listener.Addr().String()
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: z.handler("udp")}, {Listener: listener, Handler: z.handler("tcp")}} {
		started, ended := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
			<-ended
		})
	}
	return z
}

func (z *zone) handler(network string) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		z.mu.Lock()
		defer z.mu.Unlock()
		q := question.Question[0]
		key := strings.ToLower(q.Name) + " " + dns.TypeToString[q.Qtype]
		z.asked = append(z.asked, network+" "+key)
		if z.silent {
			return
		}
		reply := new(dns.Msg)
		reply.SetReply(question)
		reply.Rcode = z.rcode[key]
		for _, text := range z.records[key] {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			if _, soa := rr.(*dns.SOA); soa {
				reply.Ns = append(reply.Ns, rr)
			} else {
				reply.Answer = append(reply.Answer, rr)
			}
		}
		if z.mangle != nil {
			z.mangle(network, reply)
		}
		if network == "udp" {
			size := dns.MinMsgSize
			if opt := question.IsEdns0(); opt != nil {
				size = int(opt.UDPSize())
			}
			reply.Truncate(size)
		}
		_ = w.WriteMsg(reply)
	})
}

// change changes what the server says from now on.
func (z *zone) change(f func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f()
}

// set replaces the records of a name and type.
func (z *zone) set(key string, records ...string) {
	z.change(func() { z.records[key] = records })
}

func (z *zone) fail(key string, rcode int) { z.change(func() { z.rcode[key] = rcode }) }

// questions returns what was asked, and forgets it.
func (z *zone) questions() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	asked := z.asked
	z.asked = nil
	return asked
}

// config returns a configuration whose resolv.conf has these lines, and whose
// servers are the zones.
func config(t *testing.T, resolv string, zones ...*zone) Config {
	t.Helper()
	dir := t.TempDir()
	c := Config{ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts")}
	for _, z := range zones {
		c.Servers = append(c.Servers, z.address)
	}
	write(t, c.ResolvConf, resolv+"\noptions timeout:1 attempts:1\n")
	write(t, c.Hosts, "127.0.0.1 localhost\n")
	return c
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// deadServer returns an address at which nothing answers, and the port is
// closed.
func deadServer(t *testing.T) string {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	return p.LocalAddr().String()
}

// many returns n address records.
func many(name string, n int) []string {
	records := make([]string, n)
	for i := range records {
		records[i] = fmt.Sprintf("%s 60 A 192.0.2.%d", name, i+1)
	}
	return records
}
