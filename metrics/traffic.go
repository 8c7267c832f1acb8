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
// own rather than a handful of vectors: one lookup serves all the metrics of a
// combination, bytes are counted where they flow, and what is idle goes.
type traffic struct {
	r       *Recorder
	istio   *istioNames
	linkerd *linkerdNames // nil unless asked for
	open    *prometheus.Desc

	collecting sync.Mutex // held by a scrape

	mu     sync.RWMutex
	series map[combination]*series
}

// combination is what one series is counted under. Different ones have different
// labels: a scrape fails if two series have the same.
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

func newTraffic(r *Recorder, linkerd bool) *traffic {
	t := &traffic{r: r, istio: newIstioNames(), series: make(map[combination]*series)}
	t.open = prometheus.NewDesc("hallmark_connections_open", "TCP connections that are being forwarded.", []string{"reporter"}, nil)
	if linkerd {
		t.linkerd = newLinkerdNames()
	}
	return t
}

// begin counts a connection that opens.
func (t *traffic) begin(info *ConnectionInfo, own *own) *series {
	rules := own.rules
	key := combination{
		reporter: info.Reporter,
		secured:  info.Peer != nil && info.Peer.Secured(),
		own:      own.labels,
		peer:     rules.resolve(info.Peer, rules.believes(info.Peer, own)),
	}
	if !key.secured { // nobody has shown who they are by TLS, we neither
		key.own.principal = unknown
	}
	destination := &key.peer
	if info.Reporter == Destination {
		destination = &key.own
	}
	key.service = info.Service.complete(destination.values[namespaceSlot])
	return t.get(key, rules, info.Start)
}

// believes says whether the attributes of the peer's trust domain may fill
// labels.
func (r *rules) believes(peer *tlsctx.Peer, own *own) bool {
	if peer == nil {
		return false
	}
	td := peer.ID.TrustDomain()
	return td != (spiffeid.TrustDomain{}) && (own.peer != nil && own.peer.ID.TrustDomain() == td || r.foreign[td])
}

// get returns the series of the combination, with one more connection open since
// the given time.
func (t *traffic) get(key combination, rules *rules, since time.Time) *series {
	t.mu.RLock()
	s := t.series[key]
	if s != nil {
		s.begin(since) // under the lock, so that it is not taken out for being idle
	}
	t.mu.RUnlock()
	if s != nil {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s = t.series[key]
	if s == nil && len(t.series) >= rules.MaxCombinations {
		t.expire(rules, time.Now())
	}
	if s == nil && len(t.series) >= rules.MaxCombinations {
		t.r.process.overflowOf(trafficOverflow).Inc()
		key = key.overflow()
		s = t.series[key]
	}
	if s == nil {
		s = &series{combination: key, created: since}
		t.series[key] = s
	}
	s.begin(since)
	return s
}

// overflow is what a combination is counted under when there are too many.
func (c combination) overflow() combination {
	ends := allLabels(overflow)
	return combination{
		reporter: c.reporter, secured: c.secured, own: ends, peer: ends,
		service: Service{Host: overflow, Name: overflow, Namespace: overflow},
	}
}

// expire forgets what has been idle for long enough. The lock is held.
func (t *traffic) expire(rules *rules, now time.Time) {
	if rules.IdleExpiry < 0 {
		return
	}
	before := now.Add(-rules.IdleExpiry).UnixNano()
	for key, s := range t.series {
		if s.open.Load() == 0 && s.used.Load() <= before {
			delete(t.series, key)
			if t.linkerd != nil {
				t.linkerd.retire(s)
			}
		}
	}
}

func (s *series) begin(since time.Time) {
	s.opened.Add(1)
	s.open.Add(1)
	s.used.Store(since.UnixNano())
}

func (s *series) end(f Flag, now time.Time) {
	if int(f) >= flags {
		f = FlagNone
	}
	s.closed[f].Add(1)
	s.used.Store(now.UnixNano())
	s.open.Add(-1)
}

// complete fills in what the service's host name and the destination say.
func (s Service) complete(destinationNamespace string) Service {
	name, rest, _ := strings.Cut(s.Host, ".")
	namespace, rest, _ := strings.Cut(rest, ".")
	kubernetes := namespace != "" && (rest == "svc" || strings.HasPrefix(rest, "svc."))
	if s.Host == "" {
		s.Host = s.Name
	}
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
func (t *traffic) Describe(ch chan<- *prometheus.Desc) {
	ch <- t.open
	t.istio.describe(ch)
	if t.linkerd != nil {
		t.linkerd.describe(ch)
	}
}

// Collect implements prometheus.Collector: it takes the bytes of the open
// connections in, and forgets what is idle. Connections open and close meanwhile.
func (t *traffic) Collect(ch chan<- prometheus.Metric) {
	t.collecting.Lock()
	defer t.collecting.Unlock()
	t.r.live.flush()
	all, sums := t.take()
	open := map[Reporter]int64{Source: 0, Destination: 0}
	for _, s := range all {
		open[s.reporter] += s.open.Load()
		t.istio.collect(ch, s)
	}
	for reporter, n := range open {
		ch <- prometheus.MustNewConstMetric(t.open, prometheus.GaugeValue, float64(n), string(reporter))
	}
	if t.linkerd != nil {
		t.linkerd.collect(ch, sums)
	}
}

// take returns what there is to export: a lock that connections wait for is not
// held while somebody reads it.
func (t *traffic) take() (all []*series, sums linkerdSums) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(t.r.rules.Load(), time.Now())
	all = make([]*series, 0, len(t.series))
	for _, s := range t.series {
		all = append(all, s)
	}
	if t.linkerd != nil {
		sums = t.linkerd.sum(all)
	}
	return all, sums
}
