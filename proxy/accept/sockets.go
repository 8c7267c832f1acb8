package accept

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets opens listening sockets, and takes those first that the process was
// given: by systemd's socket activation, or by the process that it replaces (see
// [TakeOver]). The zero value was given none. It is safe for concurrent use.
type Sockets struct {
	mu    sync.Mutex
	given []given
}

// given is a listening socket that was open before this process was.
type given struct {
	address  string // as it was configured, or as the socket says
	listener net.Listener
}

// FromSystemd adds the sockets of systemd's socket activation (sd_listen_fds(3))
// and returns how many there were. A descriptor that is no listening stream
// socket is an error: the unit is not what the configuration expects.
func (s *Sockets) FromSystemd() (int, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return 0, fmt.Errorf("accept: take sockets from systemd: %w", err)
	}
	for i, l := range listeners {
		if l == nil {
			return 0, fmt.Errorf("accept: take sockets from systemd: descriptor %d is no listening stream socket", i+3)
		}
		s.add(l.Addr().String(), l)
	}
	return len(listeners), nil
}

func (s *Sockets) add(address string, l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = append(s.given, given{address, l})
}

// Listen returns a TCP listener on the address: a given one if there is one for
// it, else a new one.
func (s *Sockets) Listen(ctx context.Context, address string) (net.Listener, error) {
	if l := s.take(address); l != nil {
		return l, nil
	}
	lc := net.ListenConfig{KeepAlive: -1} // a Server sets it, see Inherit
	lc.SetMultipathTCP(false)             // no client of ours speaks it, and its sockets pass on less
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("accept: listen on %s: %w", address, err)
	}
	if tcp, ok := l.(*net.TCPListener); ok {
		return fresh{tcp}, nil
	}
	return l, nil
}

// fresh is a socket that this process has opened. The connections that it accepts
// keep the options that they inherit, where those of a socket that was given get
// the defaults of package net.
type fresh struct{ *net.TCPListener }

// Inherits says so.
func (fresh) Inherits() bool { return true }

// take returns the given listener of the address, once, or nil.
func (s *Sockets) take(address string) net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, g := range s.given {
		if g.address == address || sameAddress(g.listener.Addr(), address) {
			s.given = append(s.given[:i], s.given[i+1:]...)
			return g.listener
		}
	}
	return nil
}

// Rest closes the given sockets that nothing has asked for, and returns their
// addresses: they would hold connections that nobody accepts.
func (s *Sockets) Rest() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var addresses []string
	for _, g := range s.given {
		addresses = append(addresses, g.address)
		_ = g.listener.Close()
	}
	s.given = nil
	return addresses
}

// sameAddress reports whether a socket bound to one address is what was asked
// for by the other: the unspecified address of either family is the same.
func sameAddress(bound net.Addr, asked string) bool {
	tcp, ok := bound.(*net.TCPAddr)
	if !ok {
		return false
	}
	want, err := net.ResolveTCPAddr("tcp", asked)
	if err != nil || want.Port == 0 || want.Port != tcp.Port {
		return false
	}
	unspecified := func(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }
	return want.IP.Equal(tcp.IP) || unspecified(want.IP) && unspecified(tcp.IP)
}

// file returns a duplicate of the listener's descriptor.
func file(l net.Listener) (*os.File, error) {
	f, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("%T has no descriptor", l)
	}
	return f.File()
}
