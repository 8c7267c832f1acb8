package issuer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
)

// patience only stops a hang.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		os.Exit(child(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

var (
	td  = spiffeid.RequireTrustDomainFromString("example.org")
	idA = spiffeid.RequireFromString("spiffe://example.org/ns/a/sa/a")
	idB = spiffeid.RequireFromString("spiffe://example.org/ns/b/sa/b")
)

// myUID is this process's uid, for selectors.
func myUID() *uint32 { return new(uint32(os.Getuid())) }

// open makes an issuer that the test closes.
func open(t testing.TB, c Config) *Issuer {
	t.Helper()
	if c.TrustDomain.IsZero() {
		c.TrustDomain = td
	}
	i, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

// run serves until the test ends or stop is called.
func run(t testing.TB, i *Issuer) (stop func()) {
	t.Helper()
	if err := i.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Serve(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// socketDir returns a directory that every uid can enter, with a short name.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "issuer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// limited returns a context that only stops a hang.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func client(t testing.TB, socket string) *workloadapi.Client {
	t.Helper()
	c, err := workloadapi.New(limited(t), workloadapi.WithAddr("unix://"+socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dial returns a raw gRPC connection through the given dialer.
func dial(t testing.TB, dialer func(context.Context, string) (net.Conn, error)) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:issuer", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dialer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// api returns a raw Workload API client through the given dialer, and a context
// with the security header.
func api(t testing.TB, dialer func(context.Context, string) (net.Conn, error)) (workload.SpiffeWorkloadAPIClient, context.Context) {
	t.Helper()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), securityHeader, "true"))
	t.Cleanup(cancel)
	return workload.NewSpiffeWorkloadAPIClient(dial(t, dialer)), ctx
}

// fake is a caller that says of itself what the test wants.
type fake struct {
	uid, gid     uint32
	path, sha256 string
	err          error
}

func (f fake) ids() (uid, gid uint32)         { return f.uid, f.gid }
func (f fake) runs(path string) (bool, error) { return f.path == path, f.err }
func (f fake) digest() (string, error)        { return f.sha256, f.err }
func (f fake) String() string                 { return "fake" }

// inMemory serves the shared socket's workloads to one fake caller, without any
// socket, until the test ends.
func inMemory(t testing.TB, i *Issuer, c caller) func(context.Context, string) (net.Conn, error) {
	t.Helper()
	listener := bufconn.Listen(64 << 10)
	server := i.newServerWith("", func(net.Conn) (caller, error) { return c, nil })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, server, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
}

func attributes(t testing.TB, namesAndValues ...string) identity.Attributes {
	return ca.Attributes(t, namesAndValues...)
}

// childArg makes the test binary a workload: see child.
const childArg = "issuer-test-child"

// child runs as a workload in a process of its own. Its arguments are a socket
// and an optional action before it asks; it prints the SPIFFE IDs that it was
// given, or the error.
func child(args []string) int {
	if len(args) > 1 {
		if err := before(args[1:]); err != nil {
			fmt.Println("before:", err)
			return 1
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := workloadapi.New(ctx, workloadapi.WithAddr("unix://"+args[0]))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer c.Close()
	svids, err := c.FetchX509SVIDs(ctx)
	if err != nil {
		fmt.Println(err)
		return 0
	}
	for _, svid := range svids {
		fmt.Println(svid.ID)
	}
	return 0
}

// before performs a child's action: "wait" for a line on the standard input, or
// "mount" its own executable over another and run as that.
func before(action []string) error {
	switch action[0] {
	case "wait":
		fmt.Println("ready")
		_, err := bufio.NewReader(os.Stdin).ReadString('\n')
		return err
	case "mount":
		return mountOverAndExec(action[1], os.Args[2])
	default:
		return fmt.Errorf("no such action: %q", action[0])
	}
}

// executable copies the test binary to where every uid can run it.
func executable(t testing.TB, path string) (digest string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, hash), in)
	if closeErr := out.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	if resolved, err := filepath.EvalSymlinks(path); err != nil || resolved != path {
		t.Fatalf("the temporary directory goes through a symbolic link: %s", path)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// wantIDs compares a child's output with the SPIFFE IDs that it should have got.
func wantIDs(t testing.TB, output string, want ...spiffeid.ID) {
	t.Helper()
	var lines []string
	for _, id := range want {
		lines = append(lines, id.String())
	}
	if got := strings.TrimSpace(output); got != strings.Join(lines, "\n") {
		t.Errorf("the workload got %q, want %q", got, lines)
	}
}

// wantRefused checks that a child was issued nothing.
func wantRefused(t testing.TB, output string) {
	t.Helper()
	if !strings.Contains(output, "PermissionDenied") || !strings.Contains(output, "no identity issued") {
		t.Errorf("the workload got %q, want no identity issued", output)
	}
}
