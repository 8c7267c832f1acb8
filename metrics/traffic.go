package metrics

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// traffic counts TCP connections by who talks to whom. It is a collector of its
// own rather than four vectors: one lookup serves all the metrics of a
// combination, bytes are counted where they flow, and what is idle goes.
type traffic struct {
	config  Config
	live    *live
	uses    map[string][]use
	foreign map[spiffeid.TrustDomain]bool
	names   *trafficNames

	overflowed atomic.Uint64

	mu     sync.RWMutex
	series map[combination]*series
}

// combination is what one series is counted under.
type combination struct {
	reporter  Reporter
	secured   bool
	own, peer identityLabels
	service   Service
}

// series is what is counted under one combination.
type series struct {
	combination
	created        time.Time
	opened         atomic.Uint64
	closed         [flags]atomic.Uint64
	sent, received atomic.Uint64 // upstream, and back
	open           atomic.Int64
	used           atomic.Int64 // when a connection last opened or closed, in Unix nanoseconds
	rendered       atomic.Pointer[rendered]
}

func newTraffic(c Config, l *live) *traffic {
	t := &traffic{
		config: c, live: l, uses: c.Labels.uses(),
		foreign: make(map[spiffeid.TrustDomain]bool),
		names:   newTrafficNames(c.Linkerd),
		series:  make(map[combination]*series),
	}
	for _, td := range c.Foreign {
		t.foreign[td] = true
	}
	return t
}

// open counts a connection that opens.
func (t *traffic) open(info *ConnectionInfo, own *own) *series {
	key := combination{
		reporter: info.Reporter,
		secured:  info.Peer != nil && info.Peer.Secured(),
		own:      own.labels,
		peer:     resolve(info.Peer, t.uses, t.config.MinProvenance, t.believes(info.Peer, own)),
		service:  info.Service,
	}
	if !key.secured { // nobody has shown who they are by TLS, we neither
		key.own.principal = unknown
	}
	return t.get(key, info.Start)
}

// believes says whether the attributes of the peer's trust domain may fill
// labels.
func (t *traffic) believes(peer *tlsctx.Peer, own *own) bool {
	if peer == nil {
		return false
	}
	td := peer.ID.TrustDomain()
	return own.peer != nil && own.peer.ID.TrustDomain() == td || t.foreign[td]
}

// get returns the series of the combination, with one more connection open.
func (t *traffic) get(key combination, now time.Time) *series {
	t.mu.RLock()
	s := t.series[key]
	if s != nil {
		s.begin(now) // under the lock, so that it is not idle when it is taken out
	}
	t.mu.RUnlock()
	if s != nil {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s = t.series[key]
	if s == nil && len(t.series) >= t.config.MaxCombinations {
		t.expire(now)
	}
	if s == nil && len(t.series) >= t.config.MaxCombinations {
		t.overflowed.Add(1)
		key = combination{
			reporter: key.reporter, secured: key.secured,
			own: allLabels(overflow), peer: allLabels(overflow),
			service: Service{Host: overflow, Name: overflow, Namespace: overflow},
		}
		s = t.series[key]
	}
	if s == nil {
		s = &series{combination: key, created: now}
		t.series[key] = s
	}
	s.begin(now)
	return s
}

// expire forgets what has been idle for long enough. The lock is held.
func (t *traffic) expire(now time.Time) {
	if t.config.IdleExpiry < 0 {
		return
	}
	before := now.Add(-t.config.IdleExpiry).UnixNano()
	for key, s := range t.series {
		if s.open.Load() == 0 && s.used.Load() < before {
			delete(t.series, key)
		}
	}
}

func (s *series) begin(now time.Time) {
	s.opened.Add(1)
	s.open.Add(1)
	s.used.Store(now.UnixNano())
}

func (s *series) close(f Flag) {
	if int(f) >= flags {
		f = FlagNone
	}
	s.closed[f].Add(1)
	s.used.Store(time.Now().UnixNano())
	s.open.Add(-1)
}

// complete fills in what the service's host name and the destination say.
func (s Service) complete(destinationNamespace string) Service {
	name, rest, _ := strings.Cut(s.Host, ".")
	namespace, rest, _ := strings.Cut(rest, ".")
	kubernetes := namespace != "" && (rest == "svc" || strings.HasPrefix(rest, "svc."))
	if s.Name == "" {
		s.Name = s.Host
		if kubernetes {
			s.Name = name
		}
	}
	if s.Namespace == "" {
		s.Namespace = destinationNamespace
		if kubernetes {
			s.Namespace = namespace
		}
	}
	return Service{Host: clean(s.Host), Name: clean(s.Name), Namespace: clean(s.Namespace)}
}

// Describe implements prometheus.Collector.
func (t *traffic) Describe(ch chan<- *prometheus.Desc) { t.names.describe(ch) }

// Collect implements prometheus.Collector: it takes the bytes of the open
// connections in, and forgets what is idle.
func (t *traffic) Collect(ch chan<- prometheus.Metric) {
	t.live.flush()
	t.mu.Lock()
	t.expire(time.Now())
	t.mu.Unlock()
	t.mu.RLock()
	defer t.mu.RUnlock()
	t.names.collectOpen(ch, t.series)
	for _, s := range t.series {
		t.names.collect(ch, s)
	}
	t.names.collectOverflow(ch, t.overflowed.Load())
}
