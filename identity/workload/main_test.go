package workload

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/identity/issuer"
	"github.com/hallmark-mesh/hallmark/test/ca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience only stops a hang.
const patience = time.Minute

var (
	td  = spiffeid.RequireTrustDomainFromString("example.org")
	web = spiffeid.RequireFromString("spiffe://example.org/web")
	db  = spiffeid.RequireFromString("spiffe://example.org/db")
)

// socket returns the path of a socket that does not exist.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "workload") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// registered is a registration of this process.
func registered(id spiffeid.ID, hint string) issuer.Workload {
	return issuer.Workload{ID: id, Hint: hint, Selectors: issuer.Selectors{UID: new(uint32(os.Getuid()))}}
}

// agent is an issuer that a test stops and starts again.
type agent struct {
	*issuer.Issuer
	stop func()
}

// serve runs an issuer until the test ends or stop is called.
func serve(t *testing.T, c issuer.Config) *agent {
	t.Helper()
	c.TrustDomain = td
	i, err := issuer.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Serve(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return &agent{i, stop}
}

// open follows the API at the socket until the test ends.
func open(t *testing.T, path string, c Config) *Source {
	t.Helper()
	c.Address = "unix://" + path
	c.MinBackoff, c.MaxBackoff = time.Millisecond, 20*time.Millisecond
	if c.Confirm == 0 {
		c.Confirm = 20 * time.Millisecond
	}
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// until waits until the source is as wanted, and returns its snapshot.
func until(t *testing.T, s *Source, what string, is func(snapshot *identity.Snapshot, trouble error) bool) *identity.Snapshot {
	t.Helper()
	return ca.Await(t, &s.Store, what, is)
}

// well is a condition for until: an identity is in force and nothing is wrong.
func well(snapshot *identity.Snapshot, trouble error) bool { return snapshot != nil && trouble == nil }

func leaf(s *identity.Snapshot) *x509.Certificate { return s.SVID.Certificates[0] }

// observed returns a logger whose entries the test reads.
func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

// fakeAPI answers with what the test says, for what no issuer of ours sends.
type fakeAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	answer func(workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error
}

func (f *fakeAPI) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	return f.answer(stream)
}

// serveFake runs a fake API on a fresh socket until the test ends.
func serveFake(t *testing.T, answer func(workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error) (path string) {
	t.Helper()
	path = socket(t)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, &fakeAPI{answer: answer})
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}
