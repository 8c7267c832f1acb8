package admin

import (
	"net"
	"net/netip"
	"sync"
)

// limited is a listener that drops connections past a number, in all and from
// one address.
type limited struct {
	net.Listener
	most, perSource int

	mu      sync.Mutex
	open    int
	sources map[netip.Addr]int
}

func limit(l net.Listener, most, perSource int) *limited {
	return &limited{Listener: l, most: most, perSource: perSource, sources: make(map[netip.Addr]int)}
}

// Accept returns the next connection within the limits.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOf(conn)
		if l.take(source) {
			return &counted{Conn: conn, free: sync.OnceFunc(func() { l.give(source) })}, nil
		}
		_ = conn.Close()
	}
}

// sourceOf returns who has connected: the zero address over a Unix socket.
func sourceOf(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func (l *limited) take(source netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most || source.IsValid() && l.sources[source] >= l.perSource {
		return false
	}
	l.open++
	l.sources[source]++
	return true
}

func (l *limited) give(source netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.sources[source]--; l.sources[source] == 0 {
		delete(l.sources, source)
	}
}

// counted is a connection that gives its place back.
type counted struct {
	net.Conn
	free func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.free()
	return c.Conn.Close()
}
