package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Defaults of a [Dialer].
const (
	// DefaultTimeout bounds a dial over all addresses.
	DefaultTimeout = 10 * time.Second

	// DefaultStagger is how long an attempt is waited for before the next one
	// is started beside it (RFC 8305, section 5: Connection Attempt Delay).
	DefaultStagger = 250 * time.Millisecond

	// minStagger is the least that RFC 8305 allows.
	minStagger = 10 * time.Millisecond
)

// unixPrefix marks the address of a unix socket.
const unixPrefix = "unix:"

// Conn is a stream with half-close.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Dialer connects to the addresses of one target, and shares its connections
// out among them: use one for each target. The zero value works; it is safe for
// concurrent use.
type Dialer struct {
	// Timeout bounds a dial over all addresses; 0 means [DefaultTimeout].
	Timeout time.Duration

	// Stagger replaces [DefaultStagger] unless it is 0; it is at least 10 ms.
	Stagger time.Duration

	// Prepare is given the connection that was made, to set its options. Nil
	// leaves it as it is.
	Prepare func(net.Conn)

	// Connect replaces the system's connect, in tests or for other networks.
	// Its network is "tcp" or "unix". It returns soon after its context ends.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)

	mu      sync.Mutex
	turn    uint64               // of the address to start with; random at first
	started bool                 // turn is set
	slow    map[string]time.Time // until when an address comes last
}

// Failure is why one address did not answer.
type Failure struct {
	Address string
	Err     error
}

// Error says of every address that was tried why it failed.
type Error struct {
	Failures []Failure

	// Untried is how many more addresses there were when time ran out.
	Untried int
}

// Error names every address that was tried.
func (e *Error) Error() string {
	if len(e.Failures) == 0 && e.Untried == 0 {
		return "dial: no address to connect to"
	}
	var b strings.Builder
	b.WriteString("dial: connect")
	for i, f := range e.Failures {
		if i > 0 {
			b.WriteString(";")
		}
		fmt.Fprintf(&b, " %s: %v", f.Address, f.Err)
	}
	if e.Untried > 0 {
		fmt.Fprintf(&b, " (%d more addresses were not tried in time)", e.Untried)
	}
	return b.String()
}

// Unwrap returns the causes, so that errors.Is finds each.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		errs[i] = f.Err
	}
	return errs
}

// Split returns the network and the address to connect to for "host:port" with a
// numeric host, or "unix:/path".
func Split(address string) (network, rest string, err error) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		if path == "" {
			return "", "", errors.New("dial: unix: names no socket: want unix:/path")
		}
		return "unix", path, nil
	}
	if _, err := netip.ParseAddrPort(address); err != nil {
		return "", "", fmt.Errorf("dial: %.80q is no address: want host:port with a numeric host, or unix:/path: %w", address, err)
	}
	return "tcp", address, nil
}

// Dial connects to one of the addresses, each "host:port" with a numeric host or
// "unix:/path". It tries them in the order of [Dialer.Order], the next one when
// one has failed or has not answered within the stagger, and takes the first
// that answers. If none does the error is an *[Error].
func (d *Dialer) Dial(ctx context.Context, addresses []string) (Conn, error) {
	conn, err := d.Race(ctx, d.Order(addresses), d.connect)
	if err == nil && d.Prepare != nil {
		d.Prepare(conn)
	}
	return conn, err
}

// Race is [Dialer.Dial] for addresses that are in order already and another way
// to connect to one, such as one that shares a connection that is there. Connect
// returns soon after its context ends, which is when the race is over: it must
// not bound the life of the connection.
func (d *Dialer) Race(ctx context.Context, ordered []string, connect func(ctx context.Context, address string) (Conn, error)) (Conn, error) {
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if len(ordered) == 1 {
		return d.only(ctx, ordered[0], connect)
	}
	r := round{dialer: d, connect: connect, waiting: ordered, answers: make(chan answer, len(ordered))}
	return r.run(ctx, cancel)
}
