// Package contenders runs pairs of proxies with mutual TLS between them, each
// configured as its own documentation advises, for benchmarks and for tests that
// want a peer to compare with: ghostunnel, HAProxy, nginx, stunnel, a net/http
// ReverseProxy pair, Envoy and ztunnel where there is one, and none at all.
//
// The configurations are the files below this folder. They are alike where they
// can be: certificates of one authority, TLS 1.3 with AES-128-GCM and without
// resumption, X25519 (Go's own proxies use X25519MLKEM768, which the OpenSSL of
// Debian 12 lacks), keep-alive without limits, one worker for programs in C and
// C++, no access log.
package contenders

import (
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"text/template"
	"time"

	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/test/components"
)

//go:embed haproxy nginx stunnel envoy hallmark ztunnel
var files embed.FS

// Mode is the kind of traffic that a pair is configured for.
type Mode string

// The modes. In HTTP1 and GRPC both proxies parse messages.
const (
	TCP   Mode = "tcp"
	HTTP1 Mode = "http1" // HTTP/1.1 at both ends
	GRPC  Mode = "grpc"  // HTTP/2 in clear at both ends
	Mixed Mode = "mixed" // many services, each in one of the modes above
)

// Service is an application behind a pair.
type Service struct {
	Mode    Mode   // not Mixed
	Backend string // its address, host:port
}

// Contender is a kind of pair. Name and Modes are not empty; Modes of a program
// that only forwards TCP holds all the same those that it can carry.
type Contender struct {
	Name  string
	Modes []Mode
	// About says in a line what it is and how it differs.
	About string
	// Handshakes is set if it makes a handshake for every connection, in mode TCP.
	Handshakes bool

	start func(tb testing.TB, s *setting) *Pair
}

// Pair is a running pair.
type Pair struct {
	// Addr is the address of the outbound proxy that applications connect to, in
	// the form that package load takes: of the first service, if there are several.
	Addr string
	// Addrs are the addresses of all services, in their order.
	Addrs []string
	// Outbound and Inbound are the processes; nil where there is no proxy. Inbound
	// alone is nil where one process is both.
	Outbound, Inbound *components.Running
	// Startup is the time from the start of the first process until both
	// accepted connections.
	Startup time.Duration
	// OutboundAdmin and InboundAdmin are the addresses of profiles, if asked for.
	OutboundAdmin, InboundAdmin string
}

// Run is what a pair is started for.
type Run struct {
	Mode Mode
	// Backend is the application's address, host:port; not in mode Mixed.
	Backend string
	// Services are what there is in mode Mixed: each has a listener of its own at
	// either proxy, and sessions of its own between them, as if each were behind
	// another inbound proxy.
	Services []Service
	// Self is a command that runs [Main] of this package: the program's own, for
	// the contenders that are written in Go here.
	Self []string
	// Profile has Hallmark serve profiles.
	Profile bool
}

// Names of peers in the trust domain that [Start] makes.
const (
	domainName   = "bench.example"
	outboundPath = "/ns/bench/sa/client"
	inboundPath  = "/ns/bench/sa/server"
)

// setting is all that a configuration may need.
type setting struct {
	Run
	outbound, inbound side
	dir               string
}

// side is what one of the two proxies is configured with: the templates' data.
type side struct {
	Mode     Mode   // of the pair
	Dir      string // a folder of its own
	Own      identityFiles
	PeerID   string
	Services []forward // at least one
	Metrics  string    // host:port, for Hallmark
	Admin    string    // host:port, for Hallmark's profiles; empty without
	Variant  string    // of Hallmark
}

// forward is how a proxy carries one service.
type forward struct {
	Name           string // s0, s1, …
	Mode           Mode   // not Mixed
	Listen, Target string // host:port
}

// ListenPort is the port of Listen.
func (f forward) ListenPort() string { return portOf(f.Listen) }

// TargetPort is the port of Target.
func (f forward) TargetPort() string { return portOf(f.Target) }

// Listen is the address of a pair's only service.
func (s side) Listen() string { return s.Services[0].Listen }

// Target is where a pair's only service is forwarded to.
func (s side) Target() string { return s.Services[0].Target }

// HTTP reports whether any service is parsed as HTTP.
func (s side) HTTP() bool {
	return slices.ContainsFunc(s.Services, func(f forward) bool { return f.Mode != TCP })
}

// Streams reports whether any service is carried as a stream of bytes.
func (s side) Streams() bool {
	return slices.ContainsFunc(s.Services, func(f forward) bool { return f.Mode == TCP })
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address) // of an address that FreeAddr made
	return port
}

// identityFiles are PEM files.
type identityFiles struct {
	ca.Files
	Joined string // Chain and Key in one file
}

// Start runs a pair for as long as the test lasts. It does not send a byte
// through it.
func (c Contender) Start(tb testing.TB, run Run) *Pair {
	tb.Helper()
	s := prepare(tb, run)
	begun := time.Now()
	pair := c.start(tb, s)
	pair.Startup = time.Since(begun)
	return pair
}

// prepare makes certificates and picks ports.
func prepare(tb testing.TB, run Run) *setting {
	tb.Helper()
	dir := components.TempDirFor(tb, nil)
	domain := ca.New(tb, domainName)
	s := &setting{Run: run, dir: dir}
	s.outbound = side{Mode: run.Mode, Dir: filepath.Join(dir, "outbound"), PeerID: domain.ID(tb, inboundPath).String(), Metrics: components.FreeAddr(tb)}
	s.inbound = side{Mode: run.Mode, Dir: filepath.Join(dir, "inbound"), PeerID: domain.ID(tb, outboundPath).String(), Metrics: components.FreeAddr(tb)}
	services := run.Services
	if run.Mode != Mixed {
		services = []Service{{run.Mode, run.Backend}}
	}
	for i, service := range services {
		name, between := fmt.Sprintf("s%d", i), components.FreeAddr(tb)
		s.outbound.Services = append(s.outbound.Services, forward{name, service.Mode, components.FreeAddr(tb), between})
		s.inbound.Services = append(s.inbound.Services, forward{name, service.Mode, between, service.Backend})
	}
	if run.Profile {
		s.outbound.Admin, s.inbound.Admin = components.FreeAddr(tb), components.FreeAddr(tb)
	}
	s.outbound.Own = write(tb, domain, outboundPath, s.outbound.Dir)
	s.inbound.Own = write(tb, domain, inboundPath, s.inbound.Dir)
	return s
}

// write makes an identity, with a DNS name for peers that insist on one, in dir.
func write(tb testing.TB, domain *ca.Domain, path, dir string) identityFiles {
	tb.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatalf("contenders: %v", err)
	}
	snapshot := domain.Snapshot(tb, path, ca.Attributes(tb), ca.WithDNSNames("localhost"), ca.WithTTL(24*time.Hour-time.Minute))
	f := identityFiles{Files: ca.WritePEM(tb, dir, snapshot), Joined: filepath.Join(dir, "joined.pem")}
	var joined []byte
	for _, name := range []string{f.Chain, f.Key} {
		content, err := os.ReadFile(name)
		if err != nil {
			tb.Fatalf("contenders: %v", err)
		}
		joined = append(joined, content...)
	}
	if err := os.WriteFile(f.Joined, joined, 0o600); err != nil {
		tb.Fatalf("contenders: %v", err)
	}
	return f
}

// configure fills in a template of this folder and returns the file's path.
func (s side) configure(tb testing.TB, name string) string {
	tb.Helper()
	parsed, err := template.ParseFS(files, name)
	if err != nil {
		tb.Fatalf("contenders: %v", err)
	}
	path := filepath.Join(s.Dir, filepath.Base(name))
	file, err := os.Create(path)
	if err != nil {
		tb.Fatalf("contenders: %v", err)
	}
	defer file.Close()
	if err := parsed.Execute(file, s); err != nil {
		tb.Fatalf("contenders: fill in %s: %v", name, err)
	}
	return path
}

// run starts one proxy and waits until it accepts connections.
func (s side) run(tb testing.TB, path string, args ...string) *components.Running {
	tb.Helper()
	return s.start(tb, components.Process{Path: path, Args: args})
}

// start is run with more to say of the process.
func (s side) start(tb testing.TB, p components.Process) *components.Running {
	tb.Helper()
	if s.Admin != "" {
		p.Env = append(p.Env, "GODEBUG=memprofilerate=65536") // a proxy allocates little
	}
	p.Name, p.Ready, p.ReadyPoll = filepath.Base(p.Path)+" "+s.name(), s.accepts, time.Millisecond
	return components.Start(tb, p)
}

// accepts returns nil once every listener accepts connections.
func (s side) accepts(ctx context.Context) error {
	for _, f := range s.Services {
		if err := components.Accepts("tcp", f.Listen)(ctx); err != nil {
			return err
		}
	}
	return nil
}

// both starts a pair whose two processes differ in their side only.
func (s *setting) both(start func(side) *components.Running) *Pair {
	inbound := start(s.inbound)
	outbound := start(s.outbound)
	pair := &Pair{Inbound: inbound, Outbound: outbound, InboundAdmin: s.inbound.Admin, OutboundAdmin: s.outbound.Admin}
	for _, f := range s.outbound.Services {
		pair.Addrs = append(pair.Addrs, f.Listen)
	}
	pair.Addr = pair.Addrs[0]
	return pair
}

// All returns the contenders of other projects that this machine has, and the
// names of those that it has not, with the reason.
func All() (present []Contender, absent map[string]string) {
	present = []Contender{HAProxy(), Ghostunnel(), NetHTTP()} // those that bars compare with
	absent = map[string]string{}
	if c, err := Envoy(); err != nil {
		absent["envoy"] = err.Error()
	} else {
		present = append(present, c)
	}
	absent["linkerd2-proxy"] = errLinkerd.Error()
	if c, err := Ztunnel(); err != nil {
		absent["ztunnel"] = err.Error()
	} else {
		present = append(present, c)
	}
	return append(present, Nginx(), Stunnel(), None()), absent
}

// Known returns every contender that there is, whether this machine has its
// program or not, in the order in which they are shown. They cannot be started.
func Known() []Contender {
	all := []Contender{Hallmark(""), HallmarkBaseline(""), HAProxy(), Ghostunnel(), NetHTTP(), envoy(""), ztunnel("")}
	return append(all, Nginx(), Stunnel(), None(), HallmarkQuiet(""), HallmarkRaw(""))
}

// Named returns the contender of that name.
func Named(tb testing.TB, name string) Contender {
	tb.Helper()
	present, absent := All()
	for _, c := range present {
		if c.Name == name {
			return c
		}
	}
	tb.Fatalf("contenders: no %q: %s", name, fmt.Sprint(absent[name]))
	return Contender{}
}

// name is outbound or inbound.
func (s side) name() string { return filepath.Base(s.Dir) }
