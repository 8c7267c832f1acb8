package contenders

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/load"
	"github.com/hallmark-mesh/hallmark/test/components"
)

// Where ztunnel listens: it has no setting for these.
const (
	ztunnelSOCKS = "127.0.0.1:15080"
	ztunnelReady = "http://127.0.0.1:15021/healthz/ready"
)

// Ztunnel is the program that the environment variable ZTUNNEL names, which has to
// be built with its feature "testing": others cannot do without Istio's CA.
//
// It runs as its own documentation has it run without a cluster: one process, in
// dedicated mode, is both ends. Elsewhere connections are redirected to it; here
// they come by SOCKS5, two more exchanges for each that is made.
func Ztunnel() (Contender, error) {
	path := os.Getenv("ZTUNNEL")
	if path == "" {
		return Contender{}, errors.New("set ZTUNNEL to the path of its program, built with --features testing")
	}
	if err := executable(path); err != nil {
		return Contender{}, fmt.Errorf("ZTUNNEL: %w", err)
	}
	return ztunnel(path), nil
}

func ztunnel(path string) Contender {
	return Contender{
		Name: "ztunnel", Modes: []Mode{TCP, HTTP1, GRPC, Mixed},
		About: "TCP only, many connections on one; one process is both proxies, one worker; certificates of its own; by SOCKS5",
		start: func(tb testing.TB, s *setting) *Pair {
			running := components.Start(tb, components.Process{
				Path: path, Args: []string{"proxy"}, Env: s.outbound.ztunnelEnv(tb), Dir: s.outbound.Dir,
				ReadyPoll: time.Millisecond, Ready: func(ctx context.Context) error {
					return errors.Join(components.Accepts("tcp", ztunnelSOCKS)(ctx), components.Responds(ztunnelReady)(ctx))
				},
			})
			pair := &Pair{Outbound: running}
			for _, f := range s.inbound.Services {
				pair.Addrs = append(pair.Addrs, load.Via(ztunnelSOCKS, f.Target))
			}
			pair.Addr = pair.Addrs[0]
			return pair
		},
	}
}

// ztunnelEnv is how ztunnel is configured: by its environment and a file that stands
// in for the control plane.
func (s side) ztunnelEnv(tb testing.TB) []string {
	tb.Helper()
	return []string{
		"LOCAL_XDS_PATH=" + s.configure(tb, "ztunnel/workloads.yaml"),
		"XDS_ADDRESS=", // no control plane
		"FAKE_CA=true",
		"PROXY_MODE=dedicated", "PROXY_WORKLOAD_INFO=default/local/default", "NODE_NAME=local",
		"UNSTABLE_ENABLE_SOCKS5=true", "ENABLE_ORIG_SRC=false", "ISTIO_META_DNS_CAPTURE=false",
		"ZTUNNEL_WORKER_THREADS=1", "RUST_LOG=error", // which leaves out its access log
	}
}

// errLinkerd says why linkerd2-proxy is not among the contenders, with a path to
// its program or without.
var errLinkerd = errors.New("it learns where a connection goes from the kernel alone (SO_ORIGINAL_DST), so that everything would have to run " +
	"in a network namespace with redirection, and it forwards nothing before a control plane has given it a certificate, policy and destinations " +
	"over gRPC. A stand-in for that which nobody has run it with would be measured along with it: LINKERD2_PROXY is not used")

// executable returns an error unless the path is that of a program.
func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not a program", path)
	}
	return nil
}
