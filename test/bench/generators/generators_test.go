package generators_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"

	"github.com/hallmark-mesh/hallmark/test/bench/generators"
	"github.com/hallmark-mesh/hallmark/test/bench/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter is a server of 64 bytes that refuses every tenth request, if it is to.
type counter struct {
	refuses bool
	got     atomic.Int64
}

func (c *counter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if n := c.got.Add(1); c.refuses && n%10 == 0 {
		http.Error(w, "no", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Length", "64")
	_, _ = w.Write(make([]byte, 64))
}

// TestAllSeeTheSame has each generator make the same number of calls: all report
// as many as the server has got, and the refused ones as errors.
func TestAllSeeTheSame(t *testing.T) {
	const calls = 200
	for name, generate := range map[string]func(t *testing.T, address string) generators.Result{
		"own": func(t *testing.T, address string) generators.Result {
			r, err := load.Run(t.Context(), address, load.HTTP1{Path: "/", Size: 64}, load.Plan{Callers: 4, Calls: calls})
			if err != nil {
				t.Fatal(err)
			}
			return generators.Of(r)
		},
		"wrk": func(t *testing.T, address string) generators.Result {
			return generators.Wrk(t, generators.Run{URL: "http://" + address + "/", Connections: 1, Calls: calls})
		},
		"h2load": func(t *testing.T, address string) generators.Result {
			return generators.H2load(t, generators.Run{URL: "http://" + address + "/", Connections: 4, Calls: calls})
		},
		"h2load at a rate": func(t *testing.T, address string) generators.Result {
			return generators.H2load(t, generators.Run{URL: "http://" + address + "/", Connections: 4, Calls: calls, Rate: 2000})
		},
	} {
		for _, refuses := range []bool{false, true} {
			label := name
			if refuses {
				label += ", some refused"
			}
			t.Run(label, func(t *testing.T) {
				c := &counter{refuses: refuses}
				server := httptest.NewServer(c)
				defer server.Close()
				r := generate(t, strings.TrimPrefix(server.URL, "http://"))
				errors := 0
				if refuses {
					errors = calls / 10
				}
				if got := c.got.Load(); got != calls || r.Calls != calls-errors || r.Errors != errors {
					t.Errorf("%d calls and %d errors are reported, the server has got %d; want %d and %d", r.Calls, r.Errors, got, calls-errors, errors)
				}
				if r.Elapsed <= 0 || r.Rate() <= 0 || r.P50 <= 0 || r.P50 > r.P90 || r.P90 > r.P99 || r.P99 > r.P999 {
					t.Errorf("the result is %+v", r)
				}
			})
		}
	}
}

func TestGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- load.ServeGRPC(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		<-served
	})
	message, err := proto.Marshal(&grpc_testing.SimpleRequest{Payload: &grpc_testing.Payload{Body: make([]byte, 64)}})
	if err != nil {
		t.Fatal(err)
	}
	framed := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	const calls = 100
	r := generators.H2load(t, generators.Run{
		URL: "http://" + listener.Addr().String() + "/grpc.testing.TestService/UnaryCall", Connections: 4, Calls: calls, GRPC: framed,
	})
	if r.Calls != calls || r.Errors != 0 {
		t.Errorf("the result is %+v", r)
	}
}
