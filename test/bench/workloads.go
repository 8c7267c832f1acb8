package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
	"github.com/hallmark-mesh/hallmark/test/bench/load"
)

// backend is an application that workloads are run against.
type backend string

// The backends.
const (
	tcpBackend   backend = "tcp"
	echoBackend  backend = "echo" // of one exchange for each connection
	greetBackend backend = "greet"
	httpBackend  backend = "http"
	grpcBackend  backend = "grpc"
)

// workload is one way of loading a pair.
type workload struct {
	Name    string
	About   string
	Mode    contenders.Mode
	Backend backend
	Kind    load.Kind
	Callers int
	Rate    float64 // calls per second in an open loop; 0: closed loop, at saturation
	Unit    string  // what a call is, such as request
	Idle    bool    // only hold the callers' connections, and measure memory
	// Services are called, rather than Backend with Kind, in mode Mixed.
	Services []service

	// Only are the contenders that it makes sense for; nil means all.
	Only []string
}

// service is one of many in mode Mixed.
type service struct {
	mode    contenders.Mode
	backend backend
	kind    load.Kind
}

// The services of the workloads in mode Mixed.
const mixed = 50

// services returns services of four kinds, in turn: the most called one speaks
// HTTP/1.1, the next gRPC, and so on.
func services() []service {
	kinds := []service{
		{contenders.HTTP1, httpBackend, load.HTTP1{Path: "/1KB", Size: 1 << 10}},
		{contenders.GRPC, grpcBackend, load.GRPC{Size: 64}},
		{contenders.TCP, tcpBackend, load.TCP{Operation: load.Echo, Size: 64}},
		{contenders.HTTP1, httpBackend, load.HTTP1{Path: "/64B", Size: 64}},
		{contenders.TCP, greetBackend, load.Greeting{}},
	}
	var all []service
	for i := range mixed {
		all = append(all, kinds[i%len(kinds)])
	}
	return all
}

// backends returns the backends that a workload needs.
func (w workload) backends() []backend {
	if w.Services == nil {
		return []backend{w.Backend}
	}
	var all []backend
	for _, s := range w.Services {
		all = append(all, s.backend)
	}
	return all
}

// connections is how many connections stay open to the pair.
func (w workload) connections() int {
	each := 1
	if w.Services != nil {
		each = 0
		for _, s := range w.Services {
			if s.backend != greetBackend {
				each++
			}
		}
	}
	return w.Callers * each
}

// kind is what is called through a pair.
func (w workload) kind(pair *contenders.Pair) load.Kind {
	if w.Services == nil {
		return w.Kind
	}
	mix := new(load.Mix)
	for i, s := range w.Services {
		mix.Services = append(mix.Services, load.Service{Kind: s.kind, Address: pair.Addrs[i]})
	}
	return mix
}

// workloads returns all of them, in the order in which they run.
func workloads() []workload {
	return slices.Concat(httpWorkloads(), tcpWorkloads(), mixWorkloads())
}

func httpWorkloads() []workload {
	var all []workload
	for _, size := range []int{64, 1 << 10, 64 << 10} {
		all = append(all, workload{
			Name: "http1-" + short(size), About: fmt.Sprintf("HTTP/1.1, GET of %s, 64 connections, closed loop", short(size)),
			Mode: contenders.HTTP1, Backend: httpBackend, Kind: load.HTTP1{Path: "/" + short(size), Size: size}, Callers: 64, Unit: "request",
		})
	}
	return append(all,
		workload{
			Name: "http1-1KB-1000rps", About: "HTTP/1.1, GET of 1KB, 64 connections, open loop at 1,000 a second",
			Mode: contenders.HTTP1, Backend: httpBackend, Kind: load.HTTP1{Path: "/1KB", Size: 1 << 10}, Callers: 64, Rate: 1000, Unit: "request",
		},
		workload{
			Name: "grpc-unary", About: "gRPC, unary calls of 64 bytes, 16 connections, closed loop",
			Mode: contenders.GRPC, Backend: grpcBackend, Kind: load.GRPC{Size: 64}, Callers: 16, Unit: "call",
		},
		workload{
			Name: "grpc-unary-1000rps", About: "gRPC, unary calls of 64 bytes, 16 connections, open loop at 1,000 a second",
			Mode: contenders.GRPC, Backend: grpcBackend, Kind: load.GRPC{Size: 64}, Callers: 16, Rate: 1000, Unit: "call",
		},
		workload{
			Name: "grpc-stream", About: "gRPC, messages of 64 bytes each way on a stream, 16 connections, closed loop",
			Mode: contenders.GRPC, Backend: grpcBackend, Kind: load.GRPC{Size: 64, Stream: true}, Callers: 16, Unit: "message",
		},
	)
}

func mixWorkloads() []workload {
	about := fmt.Sprintf("%d services behind one sidecar, by Zipf's law: HTTP/1.1, gRPC, TCP, server first; 8 callers with a connection to each", mixed)
	return []workload{
		{Name: "mix", About: about + ", closed loop", Mode: contenders.Mixed, Services: services(), Callers: 8, Unit: "call"},
		{Name: "mix-1000rps", About: about + ", open loop at 1,000 a second", Mode: contenders.Mixed, Services: services(), Callers: 8, Rate: 1000, Unit: "call"},
	}
}

func tcpWorkloads() []workload {
	echo := load.TCP{Operation: load.Echo, Size: 64}
	return []workload{
		{
			Name: "tcp-echo", About: "TCP, 64 bytes each way, 64 connections, closed loop",
			Mode: contenders.TCP, Backend: tcpBackend, Kind: echo, Callers: 64, Unit: "exchange",
		},
		{
			Name: "tcp-echo-1000rps", About: "TCP, 64 bytes each way, 64 connections, open loop at 1,000 a second",
			Mode: contenders.TCP, Backend: tcpBackend, Kind: echo, Callers: 64, Rate: 1000, Unit: "exchange",
		},
		{
			Name: "tcp-upload", About: "TCP, bulk from client to server, 1 connection",
			Mode: contenders.TCP, Backend: tcpBackend, Kind: load.TCP{Operation: load.Upload, Size: 8 << 20}, Callers: 1, Unit: "8MB",
		},
		{
			Name: "tcp-bulk", About: "TCP, bulk from server to client, 4 connections",
			Mode: contenders.TCP, Backend: tcpBackend, Kind: load.TCP{Operation: load.Download, Size: 8 << 20}, Callers: 4, Unit: "8MB",
		},
		{
			Name: "tcp-both", About: "TCP, bulk both ways at once, 4 connections",
			Mode: contenders.TCP, Backend: tcpBackend, Kind: load.TCP{Operation: load.Both, Size: 8 << 20}, Callers: 4, Unit: "16MB",
		},
		{
			Name: "connect", About: "TCP, a new connection for each exchange of 64 bytes, 8 at once, closed loop",
			Mode: contenders.TCP, Backend: echoBackend, Kind: load.Connect{TCP: echo}, Callers: 8, Unit: "connection",
		},
		{
			Name: "connect-100rps", About: "TCP, a new connection for each exchange of 64 bytes, 8 at once, open loop at 100 a second",
			Mode: contenders.TCP, Backend: tcpBackend, Kind: load.Connect{TCP: echo}, Callers: 8, Rate: 100, Unit: "connection",
		},
		{
			Name: "server-first", About: "TCP, a new connection until the server's greeting is there, 1 at a time",
			Mode: contenders.TCP, Backend: greetBackend, Kind: load.Greeting{}, Callers: 1, Unit: "connection",
		},
		{
			Name: "idle", About: "TCP, 1,000 connections that have exchanged 64 bytes and are silent",
			Mode: contenders.TCP, Backend: tcpBackend, Kind: echo, Callers: 1000, Unit: "connection", Idle: true,
		},
	}
}

func short(size int) string {
	if size < 1<<10 {
		return fmt.Sprintf("%dB", size)
	}
	return fmt.Sprintf("%dKB", size>>10)
}

// figure is a number that a sample yields.
type figure struct {
	name string
	of   func(Sample) float64
}

// The figures that bars compare.
var (
	cpuPerCall  = figure{"CPU per call", func(s Sample) float64 { return s.CPUPerCall() }}
	cpuPerByte  = figure{"CPU per byte", func(s Sample) float64 { return s.CPUPerByte() }}
	callRate    = figure{"calls per second", func(s Sample) float64 { return s.Rate }}
	medianDelay = figure{"median latency", func(s Sample) float64 { return float64(s.P50) }}
)

// bar is a comparison with a limit.
type bar struct {
	Name      string
	Workload  string
	Contender string // this one's figure is divided by
	Against   string // this one's
	Figure    figure
	Limit     float64
	AtLeast   bool // the limit is a lower one
}

// bars returns what the project holds itself to.
func bars() []bar {
	return []bar{
		{"http-64B-cpu/haproxy", "http1-64B", "hallmark", "haproxy", cpuPerCall, 1.2, false},
		{"http-1KB-cpu/haproxy", "http1-1KB", "hallmark", "haproxy", cpuPerCall, 1.2, false},
		{"http-64B-cpu/nethttp", "http1-64B", "hallmark", "nethttp", cpuPerCall, 0.35, false},
		{"http-1KB-cpu/nethttp", "http1-1KB", "hallmark", "nethttp", cpuPerCall, 0.35, false},
		{"tcp-echo-cpu/ghostunnel", "tcp-echo", "hallmark", "ghostunnel", cpuPerByte, 1.05, false},
		{"tcp-bulk-cpu/ghostunnel", "tcp-bulk", "hallmark", "ghostunnel", cpuPerByte, 1.05, false},
		{"connect-rate/ghostunnel", "connect", "hallmark", "ghostunnel", callRate, 5, true},
		{"server-first/ghostunnel", "server-first", "hallmark", "ghostunnel", medianDelay, 1.05, false},
	}
}

// barred reports whether a bar compares the contender under the workload.
func barred(w workload, contender string) bool {
	for _, b := range bars() {
		if b.Workload == w.Name && (b.Contender == contender || b.Against == contender) {
			return true
		}
	}
	return false
}

// plan says how much is measured.
type plan struct {
	Rounds       int           // of every contender and workload
	BarredRounds int           // of those that a bar compares
	CheckRounds  int           // of every load generator; 0: the generators are not compared
	Warm         time.Duration // before measuring
	Measure      time.Duration
	Calls        int // instead of Warm and Measure, and at most as many callers, if not zero: for tests
}
