package contenders

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// None is no proxy: clients connect to the application.
func None() Contender {
	return Contender{
		Name: "none", Modes: []Mode{TCP, HTTP1, GRPC, Mixed}, About: "no proxy, in clear",
		start: func(_ testing.TB, s *setting) *Pair {
			pair := new(Pair)
			for _, f := range s.inbound.Services {
				pair.Addrs = append(pair.Addrs, f.Target)
			}
			pair.Addr = pair.Addrs[0]
			return pair
		},
	}
}

// Ghostunnel is a TCP proxy in Go with a TLS connection for every connection.
func Ghostunnel() Contender {
	return Contender{
		Name: "ghostunnel", Handshakes: true, Modes: []Mode{TCP, HTTP1, GRPC}, About: "TCP only; a handshake for each connection; connections not logged",
		start: func(tb testing.TB, s *setting) *Pair {
			path := components.Path(tb, components.Ghostunnel)
			return s.both(func(p side) *components.Running {
				args := []string{"--cert=" + p.Own.Chain, "--key=" + p.Own.Key, "--cacert=" + p.Own.Bundle, "--quiet=all"}
				if p.Dir == s.inbound.Dir {
					return p.run(tb, path, append(args, "server", "--listen="+p.Listen(), "--target="+p.Target(), "--allow-uri="+p.PeerID)...)
				}
				return p.run(tb, path, append(args, "client", "--listen="+p.Listen(), "--target="+p.Target(), "--verify-uri="+p.PeerID, "--override-server-name=localhost")...)
			})
		},
	}
}

// HAProxy speaks HTTP/2 between the proxies in the HTTP modes.
func HAProxy() Contender {
	return Contender{
		Name: "haproxy", Handshakes: true, Modes: []Mode{TCP, HTTP1, GRPC, Mixed}, About: "one thread; HTTP/2 between in the HTTP modes",
		start: func(tb testing.TB, s *setting) *Pair {
			path := components.Command(tb, "haproxy")
			return s.both(func(p side) *components.Running {
				return p.run(tb, path, "-db", "-f", p.configure(tb, "haproxy/"+p.name()+".cfg"))
			})
		},
	}
}

// Nginx speaks HTTP/1.1 between the proxies, as it cannot do otherwise, and
// HTTP/2 for gRPC.
func Nginx() Contender {
	return Contender{
		Name: "nginx", Handshakes: true, Modes: []Mode{TCP, HTTP1, GRPC, Mixed}, About: "one worker; HTTP/1.1 between in mode http1",
		start: func(tb testing.TB, s *setting) *Pair {
			path := components.Command(tb, "nginx")
			return s.both(func(p side) *components.Running {
				return p.run(tb, path, "-p", p.Dir, "-c", p.configure(tb, "nginx/"+p.name()+".conf"), "-e", "stderr")
			})
		},
	}
}

// Stunnel is a TCP proxy in C with a thread for every connection.
func Stunnel() Contender {
	return Contender{
		Name: "stunnel", Handshakes: true, Modes: []Mode{TCP, HTTP1, GRPC, Mixed}, About: "TCP only; a thread and a handshake for each connection",
		start: func(tb testing.TB, s *setting) *Pair {
			path := components.Command(tb, "stunnel4")
			return s.both(func(p side) *components.Running {
				return p.run(tb, path, p.configure(tb, "stunnel/"+p.name()+".conf"))
			})
		},
	}
}

// Envoy is the program that the environment variable ENVOY names, or the one in
// the cache of package components.
func Envoy() (Contender, error) {
	path := os.Getenv("ENVOY")
	if path == "" {
		var err error
		if path, err = components.Lookup(components.Envoy); err != nil {
			return Contender{}, errors.New("set ENVOY to the path of its program, or run `go run ./test/components/cmd/components -bench`")
		}
	}
	if err := executable(path); err != nil {
		return Contender{}, fmt.Errorf("ENVOY: %w", err)
	}
	return envoy(path), nil
}

func envoy(path string) Contender {
	return Contender{
		Name: "envoy", Handshakes: true, Modes: []Mode{TCP, HTTP1, GRPC, Mixed}, About: "one worker; HTTP/2 between in the HTTP modes",
		start: func(tb testing.TB, s *setting) *Pair {
			return s.both(func(p side) *components.Running {
				return p.run(tb, path, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart", "-c", p.configure(tb, "envoy/"+p.name()+".yaml"))
			})
		},
	}
}
