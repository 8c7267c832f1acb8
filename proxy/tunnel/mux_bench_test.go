package tunnel

import (
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
)

// BenchmarkMux pairs, interleaved in one run, bulk from a TCP connection to a TCP
// connection through two pipes and mutual TLS between: in a stream of a mux
// session, and raw. It reports the median ratio of the CPU time of everything as
// the metric ratio, and that of the wall time as time-ratio.
func BenchmarkMux(b *testing.B) {
	const size = 32 << 20
	servers := make(chan *net.TCPConn, 1)
	m := newMuxed(b, Config{}, forwardTo(func() *net.TCPConn {
		up, server := tcpPair(b)
		servers <- server
		return up
	}))
	pieces := make([]byte, 64<<10)
	carry := func(from, to *net.TCPConn) {
		go func() {
			for range size / len(pieces) {
				_, _ = from.Write(pieces)
			}
			_ = from.CloseWrite()
		}()
		if n, err := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{to}); n != size || err != nil {
			b.Errorf("%d bytes of %d: %v", n, size, err)
		}
		_ = to.CloseWrite()
	}
	// Each makes a stream ready and returns what is measured: neither a
	// handshake nor dialling is.
	mux := func() func() {
		client, down := tcpPair(b)
		up, err := m.Open(b.Context(), Info{})
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = Pipe{Down: down, Up: up}.Run(b.Context()) }()
		server := <-servers
		return func() { carry(client, server) }
	}
	raw := func() func() {
		client, down := tcpPair(b)
		near, far := tlsPair(b)
		up, server := tcpPair(b)
		go func() { _ = Pipe{Down: down, Up: near.(Conn)}.Run(b.Context()) }()
		go func() { _ = Pipe{Down: far.(Conn), Up: up}.Run(b.Context()) }()
		return func() { carry(client, server) }
	}
	ways := [2]func() func(){mux, raw}
	var ratios, times []float64
	b.SetBytes(2 * size)
	for i := 0; b.Loop(); i++ {
		var cpu, wall [2]float64
		for j := range ways {
			k := (i + j) % 2
			measured := ways[k]()
			before, began := cpuSeconds(b), b.Elapsed()
			measured()
			cpu[k], wall[k] = cpuSeconds(b)-before, (b.Elapsed() - began).Seconds()
		}
		ratios = append(ratios, cpu[0]/cpu[1])
		times = append(times, wall[0]/wall[1])
	}
	slices.Sort(ratios)
	slices.Sort(times)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(times[len(times)/2], "time-ratio")
}

func cpuSeconds(tb testing.TB) float64 {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

// BenchmarkMuxRoundTrip pairs, interleaved in one run, 64 bytes there and back
// through two pipes and mutual TLS between: in a stream of a mux session, and
// raw. ratio is that of CPU time, time-ratio that of wall time.
func BenchmarkMuxRoundTrip(b *testing.B) {
	const turns = 500
	servers := make(chan *net.TCPConn, 1)
	m := newMuxed(b, Config{}, forwardTo(func() *net.TCPConn {
		up, server := tcpPair(b)
		servers <- server
		return up
	}))
	muxClient, down := tcpPair(b)
	up, err := m.Open(b.Context(), Info{})
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = Pipe{Down: down, Up: up}.Run(b.Context()) }()
	muxServer := <-servers

	rawClient, rawDown := tcpPair(b)
	near, far := tlsPair(b)
	rawUp, rawServer := tcpPair(b)
	go func() { _ = Pipe{Down: rawDown, Up: near.(Conn)}.Run(b.Context()) }()
	go func() { _ = Pipe{Down: far.(Conn), Up: rawUp}.Run(b.Context()) }()

	for _, server := range []net.Conn{muxServer, rawServer} {
		go func() { _, _ = io.Copy(struct{ io.Writer }{server}, struct{ io.Reader }{server}) }()
	}
	clients := [2]net.Conn{muxClient, rawClient}
	var ratios, times []float64
	message := make([]byte, 64)
	for i := 0; b.Loop(); i++ {
		var cpu, wall [2]float64
		for j := range clients {
			k := (i + j) % 2
			before, began := cpuSeconds(b), b.Elapsed()
			for range turns {
				if _, err := clients[k].Write(message); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(clients[k], message); err != nil {
					b.Fatal(err)
				}
			}
			cpu[k], wall[k] = cpuSeconds(b)-before, (b.Elapsed() - began).Seconds()
		}
		ratios = append(ratios, cpu[0]/cpu[1])
		times = append(times, wall[0]/wall[1])
	}
	slices.Sort(ratios)
	slices.Sort(times)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(times[len(times)/2], "time-ratio")
}
