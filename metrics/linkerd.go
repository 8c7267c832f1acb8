package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// linkerdNames are linkerd's names for the same traffic. For linkerd a
// connection through a proxy is two: peer="src" was accepted, peer="dst" was
// opened for it. There are fewer labels than in a combination, so combinations
// are summed up; those that went are remembered, or the sums would go down.
type linkerdNames struct {
	opened, closed, open, read, written *prometheus.Desc
	retired                             linkerdSums
	requests                            linkerdRequests
}

// linkerdKey are the values of linkerdLabels: what linkerd tells connections
// apart by.
type linkerdKey [6]string

type linkerdTotals struct {
	opened, read, written uint64
	open                  int64
	closed                map[string]uint64 // by errno
}

// linkerdLabels are the labels of linkerd's TCP metrics.
func linkerdLabels() []string {
	return []string{"direction", "peer", "tls", "no_tls_reason", "client_id", "server_id"}
}

func newLinkerdNames() *linkerdNames {
	labels := linkerdLabels()
	return &linkerdNames{
		opened:  prometheus.NewDesc("tcp_open_total", "Connections opened (linkerd's name).", labels, nil),
		closed:  prometheus.NewDesc("tcp_close_total", "Connections closed (linkerd's name).", append(labels, "errno"), nil),
		open:    prometheus.NewDesc("tcp_open_connections", "Connections open now (linkerd's name).", labels, nil),
		read:    prometheus.NewDesc("tcp_read_bytes_total", "Bytes read from peers (linkerd's name).", labels, nil),
		written: prometheus.NewDesc("tcp_write_bytes_total", "Bytes written to peers (linkerd's name).", labels, nil),
		retired: make(linkerdSums), requests: newLinkerdRequests(),
	}
}

func (n *linkerdNames) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		n.opened, n.closed, n.open, n.read, n.written, n.requests.requests, n.requests.responses, n.requests.latency,
	} {
		ch <- d
	}
}

// errno is the nearest that linkerd has to a flag: empty for an orderly end.
func (f Flag) errno() string {
	switch f {
	case FlagNone:
		return ""
	case FlagUpstreamFailure, FlagNoHealthyUpstream, FlagNoRoute:
		return "ECONNREFUSED"
	case FlagTimeout, FlagIdleTimeout:
		return "ETIMEDOUT"
	case FlagDenied, FlagRefused:
		return "EACCES"
	default:
		return "ECONNRESET"
	}
}

// linkerdSums are sums by labels.
type linkerdSums map[linkerdKey]*linkerdTotals

// add adds what a series has counted, once for the connections accepted and once
// for those opened for them.
func (sums linkerdSums) add(s *series) {
	sent, received := s.sent.Load(), s.received.Load()
	sums.addEnd(s, "src", sent, received)
	sums.addEnd(s, "dst", received, sent)
}

func (sums linkerdSums) addEnd(s *series, peer string, read, written uint64) {
	t := sums.at(s.linkerdKey(peer))
	t.read += read
	t.written += written
	t.opened += s.opened.Load()
	t.open += s.open.Load()
	for f := range Flag(flags) {
		if closed := s.closed[f].Load(); closed > 0 {
			t.closed[f.errno()] += closed
		}
	}
}

func (sums linkerdSums) at(key linkerdKey) *linkerdTotals {
	t := sums[key]
	if t == nil {
		t = &linkerdTotals{closed: make(map[string]uint64)}
		sums[key] = t
	}
	return t
}

// retire remembers what a series had counted that goes.
func (n *linkerdNames) retire(s *series) {
	if s.requests != nil {
		n.requests.retire(s)
		return
	}
	n.retired.add(s)
}

// sum adds up all series, and those that went. What no series is left of is
// forgotten. The traffic's lock is held, as in retire.
func (n *linkerdNames) sum(all []*series) linkerdSums {
	sums := make(linkerdSums)
	for _, s := range all {
		if s.requests == nil {
			sums.add(s)
		}
	}
	for key, before := range n.retired {
		t := sums[key]
		if t == nil {
			delete(n.retired, key)
			continue
		}
		t.opened += before.opened
		t.read += before.read
		t.written += before.written
		for errno, closed := range before.closed {
			t.closed[errno] += closed
		}
	}
	return sums
}

// collect exports the sums.
func (n *linkerdNames) collect(ch chan<- prometheus.Metric, sums linkerdSums) {
	for key, t := range sums {
		n.export(ch, key[:], t)
	}
}

func (n *linkerdNames) export(ch chan<- prometheus.Metric, labels []string, t *linkerdTotals) {
	ch <- prometheus.MustNewConstMetric(n.opened, prometheus.CounterValue, float64(t.opened), labels...)
	ch <- prometheus.MustNewConstMetric(n.open, prometheus.GaugeValue, float64(t.open), labels...)
	ch <- prometheus.MustNewConstMetric(n.read, prometheus.CounterValue, float64(t.read), labels...)
	ch <- prometheus.MustNewConstMetric(n.written, prometheus.CounterValue, float64(t.written), labels...)
	for errno, closed := range t.closed {
		ch <- prometheus.MustNewConstMetric(n.closed, prometheus.CounterValue, float64(closed), append(slices.Clip(labels), errno)...)
	}
}

// linkerdKey returns the values of linkerdLabels for one end. The application's
// end is on loopback and has no identity.
func (s *series) linkerdKey(peer string) linkerdKey {
	direction, network := "outbound", "dst"
	if s.reporter == Destination {
		direction, network = "inbound", "src"
	}
	switch {
	case peer != network:
		return linkerdKey{direction, peer, "no_identity", "loopback", "", ""}
	case !s.secured:
		return linkerdKey{direction, peer, "no_identity", "not_provided_by_remote", "", ""}
	case s.reporter == Destination:
		return linkerdKey{direction, peer, "true", "", s.peer.principal, ""}
	default:
		return linkerdKey{direction, peer, "true", "", "", s.peer.principal}
	}
}
