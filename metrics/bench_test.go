package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// BenchmarkConnection opens and closes the guard of a connection whose
// combination is known.
func BenchmarkConnection(b *testing.B) {
	f := newFixture(b, Config{})
	info := inbound(web(b, tlsctx.Attribute{Name: "service.name", Value: "web", Provenance: tlsctx.Attested}))
	b.ReportAllocs()
	for b.Loop() {
		f.OpenConnection(info).Close(Outcome{})
	}
}

// BenchmarkConnectionParallel does it on all processors.
func BenchmarkConnectionParallel(b *testing.B) {
	f := newFixture(b, Config{})
	info := inbound(web(b))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f.OpenConnection(info).Close(Outcome{})
		}
	})
}

// BenchmarkRequest records a request of a kind that is known, of one session.
func BenchmarkRequest(b *testing.B) {
	q, request := benchRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		q.Record(request)
	}
}

// BenchmarkRequestParallel does it on all processors.
func BenchmarkRequestParallel(b *testing.B) {
	q, request := benchRequest(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			q.Record(request)
		}
	})
}

func benchRequest(b *testing.B) (*Requests, Request) {
	f := newFixture(b, Config{})
	s := f.OpenSession(SessionInfo{Side: Server, Kind: tlsctx.H2, Peer: web(b)})
	b.Cleanup(func() { s.Close("ended") })
	info := toUs(web(b))
	info.Via = s
	return f.Requests(info), Request{
		Method: "GET", Authority: "shop.example", Path: "/carts/17", Status: 200, GRPC: -1,
		RequestBytes: 64, ResponseBytes: 1024, Start: time.Now(), Duration: 1234567, FirstByte: 1200000, Attempts: 1,
	}
}

// BenchmarkScrape answers a scrape of so many combinations with so many open
// connections.
func BenchmarkScrape(b *testing.B) {
	for _, size := range []struct{ combinations, connections int }{{10, 10}, {100, 10000}, {2000, 10}} {
		b.Run(fmt.Sprintf("combinations=%d/open=%d", size.combinations, size.connections), func(b *testing.B) {
			f := newFixture(b, Config{})
			for i := range max(size.combinations, size.connections) {
				info := inbound(peer(b, fmt.Sprintf("spiffe://example.org/ns/shop/sa/w%d", i%size.combinations)))
				c := f.OpenConnection(info)
				if i >= size.connections {
					c.Close(Outcome{})
				}
			}
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			handler := f.Handler()
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(discard{make(http.Header)}, r)
			}
		})
	}
}

// BenchmarkScrapeRequests answers a scrape of so many combinations, each with
// requests that ended in two ways.
func BenchmarkScrapeRequests(b *testing.B) {
	for _, combinations := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("combinations=%d", combinations), func(b *testing.B) {
			f := newFixture(b, Config{})
			for i := range combinations {
				q := f.Requests(toUs(peer(b, fmt.Sprintf("spiffe://example.org/ns/shop/sa/w%d", i))))
				for n := range 100 {
					q.Record(Request{Status: 200, Duration: time.Duration(n*n) * time.Millisecond, ResponseBytes: int64(n * n)})
				}
				q.Record(Request{Status: 500})
			}
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
			handler := f.Handler()
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(discard{make(http.Header)}, r)
			}
		})
	}
}

// discard is a response that nobody reads.
type discard struct{ header http.Header }

// Header implements http.ResponseWriter.
func (d discard) Header() http.Header { return d.header }

// Write implements http.ResponseWriter.
func (d discard) Write(b []byte) (int, error) { return io.Discard.Write(b) }

// WriteHeader implements http.ResponseWriter.
func (d discard) WriteHeader(int) {}
