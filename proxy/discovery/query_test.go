package discovery

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// texts returns an answer's addresses, IPv4 first.
func (a answer) texts() (texts []string) {
	for _, r := range a {
		for _, address := range r.addresses {
			texts = append(texts, address.String())
		}
	}
	return texts
}

func (a answer) err() error { return errors.Join(a[0].err, a[1].err) }

func lookup(t *testing.T, c Config, host string) answer {
	t.Helper()
	return (&system{config: c}).lookup(t.Context(), host)
}

func TestLookup(t *testing.T) {
	z := startZone(t)
	z.set("both.test. A", "both.test. 60 A 192.0.2.1", "both.test. 30 A 192.0.2.2")
	z.set("both.test. AAAA", "both.test. 90 AAAA 2001:db8::1")
	z.set("v4.test. A", "v4.test. 60 A 192.0.2.3")
	z.set("v6.test. AAAA", "v6.test. 60 AAAA 2001:db8::6")
	z.set("alias.test. A", "alias.test. 10 CNAME Other.test.", "other.test. 60 CNAME v4.test.", "v4.test. 60 A 192.0.2.3")
	z.set("loop.test. A", "loop.test. 10 CNAME loop.test.")
	z.set("astray.test. A", "elsewhere.test. 10 A 192.0.2.66")
	z.set("nowhere.test. A", "nowhere.test. 10 A 0.0.0.0", "nowhere.test. 10 A 224.0.0.1")
	z.set("mapped.test. AAAA", "mapped.test. 10 AAAA ::ffff:192.0.2.9")
	z.set("wrong.test. A", "wrong.test. 10 AAAA 2001:db8::bad")
	z.set("big.test. A", many("big.test.", 250)...)
	z.set("a.search.test. A", "a.search.test. 60 A 192.0.2.4")
	z.set("a.b.search.test. A", "a.b.search.test. 60 A 192.0.2.5")
	z.fail("broken.test. A", dns.RcodeServerFailure)
	z.fail("broken.test. AAAA", dns.RcodeServerFailure)
	z.set("broken.test.search.test. A", "broken.test.search.test. 60 A 192.0.2.66")
	z.fail("gone.test. A", dns.RcodeNameError)
	z.fail("gone.test. AAAA", dns.RcodeNameError)
	z.set("gone.test. A", "test. 600 SOA ns.test. root.test. 1 7200 3600 1209600 20")
	c := config(t, "search search.test", z)
	for host, want := range map[string]struct {
		addresses []string
		ttl       time.Duration
		err       string
	}{
		"both.test":         {[]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}, 30 * time.Second, ""},
		"BOTH.test.":        {[]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}, 30 * time.Second, ""},
		"v4.test":           {[]string{"192.0.2.3"}, time.Minute, ""},
		"v6.test":           {[]string{"2001:db8::6"}, 0, ""},
		"alias.test":        {[]string{"192.0.2.3"}, 10 * time.Second, ""},
		"loop.test":         {},
		"astray.test":       {},
		"nowhere.test":      {},
		"wrong.test":        {},
		"mapped.test":       {[]string{"192.0.2.9"}, 0, ""},
		"a":                 {[]string{"192.0.2.4"}, time.Minute, ""},
		"a.b":               {[]string{"192.0.2.5"}, time.Minute, ""},
		"a.search.test":     {[]string{"192.0.2.4"}, time.Minute, ""},
		"broken.test":       {err: "SERVFAIL"},
		"gone.test.":        {ttl: 20 * time.Second},
		"unheard-of.":       {},
		"localhost":         {[]string{"127.0.0.1"}, DefaultMinTTL, ""},
		"db.localhost":      {[]string{"127.0.0.1", "::1"}, DefaultMaxTTL, ""},
		"not..a.name":       {},
		"x.y.z.search.test": {},
	} {
		a := lookup(t, c, host)
		if got := a.texts(); !slices.Equal(got, want.addresses) || a[0].ttl != want.ttl {
			t.Errorf("%s: %q for %s, want %q for %s", host, got, a[0].ttl, want.addresses, want.ttl)
		}
		if err := a.err(); (err == nil) != (want.err == "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%s: %v, want %q", host, err, want.err)
		}
	}
}

func TestTruncatedAnswersComeByTCP(t *testing.T) {
	z := startZone(t)
	z.set("big.test. A", many("big.test.", 250)...)
	a := lookup(t, config(t, "", z), "big.test")
	if n := len(a[0].addresses); n != 250 || a.err() != nil {
		t.Errorf("%d addresses, %v; want 250", n, a.err())
	}
	if asked := z.questions(); !slices.Contains(asked, "tcp big.test. A") {
		t.Errorf("asked %q", asked)
	}
}

func TestNextServerIsAsked(t *testing.T) {
	z, broken, silent := startZone(t), startZone(t), startZone(t)
	z.set("a.test. A", "a.test. 60 A 192.0.2.1")
	broken.fail("a.test. A", dns.RcodeRefused)
	broken.fail("a.test. AAAA", dns.RcodeServerFailure)
	silent.change(func() { silent.silent = true })
	c := config(t, "", silent, broken, z)
	c.Servers = append([]string{deadServer(t)}, c.Servers...)
	a := lookup(t, c, "a.test")
	if got := a.texts(); !slices.Equal(got, []string{"192.0.2.1"}) || a.err() != nil {
		t.Errorf("%q, %v", got, a.err())
	}
	c.Servers = c.Servers[:3]
	a = lookup(t, c, "a.test")
	for _, server := range c.Servers {
		if err := a[0].err; err == nil || !strings.Contains(err.Error(), server) {
			t.Errorf("the error does not name %s: %v", server, err)
		}
	}
}

// TestServersWithoutEDNS has a server that does not know EDNS refuse it.
func TestServersWithoutEDNS(t *testing.T) {
	z := startZone(t)
	z.set("a.test. A", "a.test. 60 A 192.0.2.1")
	z.change(func() {
		z.mangle = func(_ string, reply *dns.Msg) {
			if len(z.asked)%2 == 1 { // the first question of the two
				reply.Rcode, reply.Answer, reply.Question = dns.RcodeFormatError, nil, nil
			}
		}
	})
	reply, err := newClient(&dns.ClientConfig{Timeout: 5}).ask(t.Context(), z.address, "a.test.", dns.TypeA)
	if err != nil || len(reply.Answer) != 1 {
		t.Errorf("%v, %v", reply, err)
	}
}

func TestAnswersToOtherQuestionsAreRefused(t *testing.T) {
	for name, mangle := range map[string]func(string, *dns.Msg){
		"another name":  func(_ string, r *dns.Msg) { r.Question[0].Name = "b.test." },
		"another type":  func(_ string, r *dns.Msg) { r.Question[0].Qtype = dns.TypeMX },
		"a question":    func(_ string, r *dns.Msg) { r.Response = false },
		"no question":   func(_ string, r *dns.Msg) { r.Question = nil },
		"two questions": func(_ string, r *dns.Msg) { r.Question = append(r.Question, r.Question[0]) },
	} {
		z := startZone(t)
		z.set("a.test. A", "a.test. 60 A 192.0.2.1")
		z.change(func() { z.mangle = mangle })
		if a := lookup(t, config(t, "", z), "a.test"); len(a.texts()) > 0 || a.err() == nil {
			t.Errorf("%s: %q, %v", name, a.texts(), a.err())
		}
	}
}

func TestHostsComeFirst(t *testing.T) {
	z := startZone(t)
	z.set("a.test. A", "a.test. 60 A 192.0.2.1")
	c := config(t, "", z)
	s := &system{config: c}
	write(t, c.Hosts, "# comment\n192.0.2.7 A.test  other # more\n2001:db8::7\ta.test\nnonsense a.test\n192.0.2.8\n")
	if got := s.lookup(t.Context(), "a.TEST").texts(); !slices.Equal(got, []string{"192.0.2.7", "2001:db8::7"}) {
		t.Errorf("%q", got)
	}
	if asked := z.questions(); len(asked) > 0 {
		t.Errorf("DNS was asked %q", asked)
	}
	write(t, c.Hosts, "192.0.2.77 a.test\n")
	if got := s.lookup(t.Context(), "a.test").texts(); !slices.Equal(got, []string{"192.0.2.77"}) {
		t.Errorf("after a change: %q", got)
	}
	c.Hosts = filepath.Join(t.TempDir(), "none")
	if got := lookup(t, c, "a.test").texts(); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("without a hosts file: %q", got)
	}
}

// TestResolvConf takes the servers from the file, on a port of their own.
func TestResolvConf(t *testing.T) {
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, resolv, "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch one.test two.test\noptions ndots:2 timeout:3 attempts:4\n")
	parsed, err := dns.ClientConfigFromFile(resolv)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(parsed)
	if want := []string{"192.0.2.53:53", "[2001:db8::53]:53"}; !slices.Equal(c.servers, want) {
		t.Errorf("servers %q, want %q", c.servers, want)
	}
	if want := []string{"a.b.one.test.", "a.b.two.test.", "a.b."}; !slices.Equal(c.names("a.b"), want) {
		t.Errorf("names %q, want %q", c.names("a.b"), want)
	}
	if c.timeout != 3*time.Second || c.attempts != 4 {
		t.Errorf("timeout %s, attempts %d", c.timeout, c.attempts)
	}
}

func FuzzAnswer(f *testing.F) {
	reply := new(dns.Msg)
	reply.SetQuestion("a.test.", dns.TypeA)
	reply.Response = true
	for _, text := range []string{"a.test. 10 CNAME b.test.", "b.test. 5 A 192.0.2.1", "b.test. 5 AAAA ::1"} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		reply.Answer = append(reply.Answer, rr)
	}
	packed, err := reply.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		for _, kind := range families {
			r := read(m, "a.test.", kind)
			if len(r.addresses) > maxAddresses || r.ttl < 0 || slices.ContainsFunc(r.addresses, func(a netip.Addr) bool { return !usable(a) }) {
				t.Errorf("%+v", r)
			}
		}
	})
}

func FuzzHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost # x\n::1 a b\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, addresses := range readHosts(strings.NewReader(text)) {
			if name == "" && len(addresses) == 0 {
				t.Error("an entry of nothing")
			}
		}
	})
}
