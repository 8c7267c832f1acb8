package tlsctx_test

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// BenchmarkBulk pairs, interleaved in one run, 8 MiB through a *tlsctx.Conn with
// 8 MiB through a plain *tls.Conn, both with 64 KiB writes, and reports the
// median ratio of the CPU time of both ends as the metric ratio.
func BenchmarkBulk(b *testing.B) {
	const size, chunk = 8 << 20, 64 << 10
	domain := ca.New(b, "example.org")
	source := identity.Static{Current: domain.Snapshot(b, "/a", identity.Attributes{})}
	near, far := tcpPair(b)
	accepted := make(chan net.Conn, 2)
	go func() {
		c, err := tlsctx.Server(b.Context(), far, &tlsctx.ServerConfig{Source: source})
		if err != nil {
			b.Error(err)
		}
		accepted <- c
	}()
	ours, err := tlsctx.Client(b.Context(), near, &tlsctx.ClientConfig{Source: source})
	if err != nil {
		b.Fatal(err)
	}
	pairs := [2][2]net.Conn{{ours, <-accepted}, plainTLSPair(b, source)}

	var ratios []float64
	buffer := make([]byte, chunk)
	b.SetBytes(2 * size)
	for i := 0; b.Loop(); i++ {
		var cpu [2]float64
		for j := range pairs {
			k := (i + j) % 2
			before := cpuSeconds(b)
			done := make(chan error, 1)
			go func() {
				_, err := io.CopyN(io.Discard, struct{ io.Reader }{pairs[k][1]}, size)
				done <- err
			}()
			for range size / chunk {
				if _, err := pairs[k][0].Write(buffer); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			cpu[k] = cpuSeconds(b) - before
		}
		ratios = append(ratios, cpu[0]/cpu[1])
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
}

func plainTLSPair(b *testing.B, source identity.Static) [2]net.Conn {
	b.Helper()
	near, far := tcpPair(b)
	cert := ca.TLSCertificate(source.Current.SVID)
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{cert}})
	go func() { _ = server.HandshakeContext(b.Context()) }()
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	if err := client.HandshakeContext(b.Context()); err != nil {
		b.Fatal(err)
	}
	return [2]net.Conn{client, server}
}

func tcpPair(tb testing.TB) (near, far net.Conn) {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	near, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	far, err = listener.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	return near, far
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
