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

// traffic counts TCP connections and requests by who talks to whom. It is a collector of its
// own rather than a handful of vectors: one lookup serves all the metrics of a
// combination, bytes are counted where they flow, and what is idle goes.
type traffic struct {
	r       *Recorder
	istio   *istioNames
	linkerd *linkerdNames // nil unless asked for
	open    *prometheus.Desc
	scales  scales
	ways    atomic.Int64 // of requests being answered, beyond the first of each combination

	collecting sync.Mutex // held by a scrape

	mu      sync.RWMutex
	series  map[combination]*series
	expired time.Time // when what is idle was last looked for
}

// combination is what one series is counted under. Different ones have different
// labels: a scrape fails if two series have the same.
type combination struct {
	protocol  string
	reporter  Reporter
	secured   bool
	own, peer identityLabels
	service   Service
}

// The values of request_protocol.
const (
	protocolTCP  = "tcp"
	protocolHTTP = "http"
	protocolGRPC = "grpc"
)

// series is what is counted under one combination.
type series struct {
	combination
	created  time.Time
	used     atomic.Int64 // when last, in Unix nanoseconds: a request, or a connection that opened or closed
	rendered atomic.Pointer[rendered]
	known    atomic.Pointer[known] // of the peer that was met last

	// Of requests; nil of connections. Nobody says when requests end for good:
	// one that comes when the series is gone gets another.
	requests *requestTotals
	gone     atomic.Bool

	// Of connections.
	opened         atomic.Uint64
	closed         [flags]atomic.Uint64
	sent, received atomic.Uint64 // upstream, and back
	open           atomic.Int64
	spoken         atomic.Pointer[tlsctx.Protocol] // the last that was detected
}

func newTraffic(r *Recorder, linkerd bool) *traffic {
	t := &traffic{r: r, istio: newIstioNames(), series: make(map[combination]*series)}
	t.open = prometheus.NewDesc("hallmark_connections_open", "TCP connections that are being forwarded.", []string{"reporter"}, nil)
	const millisecond = float64(time.Millisecond) // durations are observed in nanoseconds
	t.scales = scales{duration: newScale(millisecond, istioBuckets()), bytes: newScale(1, istioBuckets())}
	if linkerd {
		t.linkerd = newLinkerdNames()
		t.scales.firstByte = newScale(millisecond, linkerdBuckets())
	}
	return t
}

// begin counts a connection that opens.
func (t *traffic) begin(info *ConnectionInfo, own *own) *series {
	s := t.get(own.combination(info.Reporter, info.Peer, info.Service), own.rules, info.Start)
	s.meet(info.Peer)
	s.speak(info.Protocol)
	return s
}

// combination returns what connections with the peer are counted under.
func (own *own) combination(reporter Reporter, peer *tlsctx.Peer, service Service) combination {
	key := combination{
		protocol: protocolTCP,
		reporter: reporter,
		secured:  peer != nil && peer.Secured(),
		own:      own.labels,
		peer:     own.rules.resolve(peer, own.rules.believes(peer, own)),
	}
	if key.secured && own.peer != nil && own.peer.ID.TrustDomain() == peer.ID.TrustDomain() {
		key.peer.settle(own.rules.Cluster)
	}
	if !key.secured { // nobody has shown who they are by TLS, we neither
		key.own.principal = unknown
	}
	destination := &key.peer
	if reporter == Destination {
		destination = &key.own
	}
	key.service = service.complete(destination.values[namespaceSlot])
	return key
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

// get returns the series of the combination, used at the given time: with one
// more connection open since then, if it is one of connections.
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
		if now := time.Now(); now.Sub(t.expired) >= expiryPause {
			t.expire(rules, now)
		}
	}
	overflowed := s == nil && len(t.series) >= rules.MaxCombinations
	if overflowed {
		if key.protocol == protocolTCP { // requests are counted one by one
			t.r.process.overflowOf(trafficOverflow).Inc()
		}
		key = key.overflow()
		s = t.series[key]
	}
	if s == nil {
		s = &series{combination: key, created: since}
		if key.protocol != protocolTCP {
			s.requests = &requestTotals{traffic: t, overflowed: overflowed}
		}
		t.series[key] = s
	}
	s.begin(since)
	return s
}

// expiryPause is how long it takes, while there are too many combinations, until
// idle ones are looked for again.
const expiryPause = time.Second

// overflow is what a combination is counted under when there are too many.
func (c combination) overflow() combination {
	ends := allLabels(overflow)
	return combination{
		protocol: c.protocol, reporter: c.reporter, secured: c.secured, own: ends, peer: ends,
		service: Service{Host: overflow, Name: overflow, Namespace: overflow},
	}
}

// expire forgets what has been idle for long enough. The lock is held.
func (t *traffic) expire(rules *rules, now time.Time) {
	if rules.IdleExpiry < 0 {
		return
	}
	t.expired = now
	before := now.Add(-rules.IdleExpiry).UnixNano()
	for key, s := range t.series {
		if s.leave(before) {
			delete(t.series, key)
			if s.requests != nil {
				t.ways.Add(-int64(max(len(s.requests.all())-1, 0)))
			}
			if t.linkerd != nil {
				t.linkerd.retire(s)
			}
		}
	}
}

// leave reports whether the series is idle since before the given time, and of
// requests sees to it that none is counted in it any more.
func (s *series) leave(before int64) bool {
	if s.open.Load() != 0 || s.used.Load() > before {
		return false
	}
	s.gone.Store(true)
	if s.used.Load() > before { // see use: one of us sees the other
		s.gone.Store(false)
		return false
	}
	return true
}

// use says that a request ends at the given time, and reports whether it can be
// counted here.
func (s *series) use(end time.Time) bool {
	s.used.Store(end.UnixNano())
	return !s.gone.Load()
}

// begin says that a connection has opened, or that requests come.
func (s *series) begin(since time.Time) {
	s.used.Store(since.UnixNano())
	if s.requests == nil {
		s.opened.Add(1)
		s.open.Add(1)
	}
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
		if s.requests != nil {
			t.istio.collectRequests(ch, s)
			continue
		}
		open[s.reporter] += s.open.Load()
		t.istio.collect(ch, s)
	}
	for reporter, n := range open {
		ch <- prometheus.MustNewConstMetric(t.open, prometheus.GaugeValue, float64(n), string(reporter))
	}
	if t.linkerd != nil {
		t.linkerd.collect(ch, sums.connections)
		t.linkerd.requests.collect(ch, sums.requests)
	}
}

// linkerdTaken is what is exported under linkerd's names.
type linkerdTaken struct {
	connections linkerdSums
	requests    linkerdRequestSums
}

// take returns what there is to export: a lock that connections wait for is not
// held while somebody reads it.
func (t *traffic) take() (all []*series, sums linkerdTaken) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(t.r.rules.Load(), time.Now())
	all = make([]*series, 0, len(t.series))
	for _, s := range t.series {
		all = append(all, s)
	}
	if t.linkerd != nil {
		sums = linkerdTaken{t.linkerd.sum(all), t.linkerd.requests.sum(all)}
	}
	return all, sums
}
