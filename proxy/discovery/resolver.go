package discovery

import (
	"cmp"
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Defaults of a [Config].
const (
	// DefaultTimeout bounds one lookup over all servers and attempts.
	DefaultTimeout = 10 * time.Second

	// DefaultMinTTL is the least time between two lookups of a name.
	DefaultMinTTL = 5 * time.Second

	// DefaultMaxTTL is the longest that an answer is trusted.
	DefaultMaxTTL = 5 * time.Minute

	// DefaultTTL is how long an answer holds whose source knows no TTL.
	DefaultTTL = 30 * time.Second

	// DefaultNegativeTTL is the longest that a name's having no address is
	// trusted.
	DefaultNegativeTTL = 30 * time.Second
)

// Config is how a [Resolver] looks names up. The zero value does as the system
// is configured.
type Config struct {
	// Servers replace those of resolv.conf; each is host:port. The rest of
	// resolv.conf holds.
	Servers []string

	// ResolvConf and Hosts replace /etc/resolv.conf and /etc/hosts. They are
	// read again when they change.
	ResolvConf, Hosts string

	// Timeout bounds one lookup; 0 means [DefaultTimeout].
	Timeout time.Duration

	// MinTTL, MaxTTL, DefaultTTL and NegativeTTL bound how long answers hold;
	// 0 means the default of the same name.
	MinTTL, MaxTTL, DefaultTTL, NegativeTTL time.Duration

	// OnLookup is told of every lookup. It must not block. Nil ignores it.
	OnLookup func(Lookup)

	// lookup replaces the system's in tests.
	lookup func(ctx context.Context, host string) answer
}

// Lookup is what happened when a name was looked up.
type Lookup struct {
	// Host is the name.
	Host string

	// Snapshot is what is known after it.
	Snapshot Snapshot

	// Changed says that the addresses are others than before.
	Changed bool

	// Took is how long it took, and Next when the name is looked up again.
	Took time.Duration
	Next time.Duration
}

func (c Config) timeout() time.Duration     { return cmp.Or(c.Timeout, DefaultTimeout) }
func (c Config) minTTL() time.Duration      { return cmp.Or(c.MinTTL, DefaultMinTTL) }
func (c Config) maxTTL() time.Duration      { return max(cmp.Or(c.MaxTTL, DefaultMaxTTL), c.minTTL()) }
func (c Config) defaultTTL() time.Duration  { return cmp.Or(c.DefaultTTL, DefaultTTL) }
func (c Config) negativeTTL() time.Duration { return cmp.Or(c.NegativeTTL, DefaultNegativeTTL) }
func (c Config) resolvPath() string         { return cmp.Or(c.ResolvConf, "/etc/resolv.conf") }
func (c Config) hostsPath() string          { return cmp.Or(c.Hosts, "/etc/hosts") }

// Resolver follows where targets are. It is safe for concurrent use.
type Resolver struct {
	config Config
	lookup func(ctx context.Context, host string) answer

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New returns a resolver; close it when it is not needed any more.
func New(config Config) *Resolver {
	r := &Resolver{config: config, lookup: config.lookup}
	if r.lookup == nil {
		r.lookup = (&system{config: config}).lookup
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends following every target, and waits until nothing is under way. What
// was known last remains.
func (r *Resolver) Close() {
	r.cancel()
	r.wg.Wait()
}

// Follow starts to follow a target: "host:port", the host being an address or a
// name, or "unix:/path". The first lookup is under way when it returns; see
// [Wait]. The caller closes the target.
func (r *Resolver) Follow(target string) (*Target, error) {
	if fixed, ok := literal(target); ok {
		return &Target{snapshot: Snapshot{Addresses: []string{fixed}}, cancel: func() {}}, nil
	}
	host, port, err := splitTarget(target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.ctx)
	t := &Target{
		host: host, port: port, resolver: r, cancel: cancel,
		changed: make(chan struct{}), hurry: make(chan struct{}, 1),
	}
	r.wg.Go(func() { t.follow(ctx) })
	return t, nil
}

// literal returns the address if the target is one.
func literal(target string) (string, bool) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok && path != "" {
		return target, true
	}
	if a, err := netip.ParseAddrPort(target); err == nil && a.Port() != 0 {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String(), true
	}
	return "", false
}
