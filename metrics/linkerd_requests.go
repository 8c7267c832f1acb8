package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// linkerdRequests are linkerd's names for requests, which it counts once at each
// end, and not twice like connections. They are summed up in the same way.
type linkerdRequests struct {
	requests, responses, latency *prometheus.Desc
	retired                      linkerdRequestSums
}

// linkerdRequestKey is what linkerd tells responses apart by: the values of
// linkerdRequestLabels, and of linkerdResponseLabels.
type linkerdRequestKey struct {
	request  [5]string
	response [3]string
}

// linkerdRequestTotals are the requests of one key.
type linkerdRequestTotals struct {
	count, answered uint64
	latency         []uint64 // by bucket, not cumulative
	beyond          uint64   // the latency of which was past the last
	sum             uint64   // of latencies, in nanoseconds
}

// linkerdRequestLabels are the labels of request_total: those of connections
// without peer.
func linkerdRequestLabels() []string {
	return []string{"direction", "tls", "no_tls_reason", "client_id", "server_id"}
}

// linkerdResponseLabels are those that the response sets.
func linkerdResponseLabels() []string {
	return []string{"status_code", "classification", "grpc_status"}
}

// linkerdBuckets are linkerd's, in milliseconds.
func linkerdBuckets() []float64 {
	var bounds []float64
	for power := 1.0; power <= 10_000; power *= 10 {
		for n := 1.0; n <= 5; n++ {
			bounds = append(bounds, n*power)
		}
	}
	return bounds
}

func newLinkerdRequests() linkerdRequests {
	labels := linkerdRequestLabels()
	responses := append(linkerdRequestLabels(), linkerdResponseLabels()...)
	return linkerdRequests{
		requests:  prometheus.NewDesc("request_total", "Requests (linkerd's name).", labels, nil),
		responses: prometheus.NewDesc("response_total", "Responses (linkerd's name).", responses, nil),
		latency:   prometheus.NewDesc("response_latency_ms", "How long it took until a response began, in milliseconds (linkerd's name).", responses, nil),
		retired:   make(linkerdRequestSums),
	}
}

// linkerdRequestSums are sums by labels.
type linkerdRequestSums map[linkerdRequestKey]*linkerdRequestTotals

// add adds what a series has counted.
func (sums linkerdRequestSums) add(s *series) {
	end := "dst"
	if s.reporter == Destination {
		end = "src"
	}
	connection := s.linkerdKey(end)
	request := [5]string{connection[0], connection[2], connection[3], connection[4], connection[5]}
	for _, a := range s.requests.all() {
		class := "failure"
		if a.success() {
			class = "success"
		}
		sums.at(linkerdRequestKey{request, [3]string{a.status(), class, a.grpcStatus()}}).take(a)
	}
}

func (sums linkerdRequestSums) at(key linkerdRequestKey) *linkerdRequestTotals {
	t := sums[key]
	if t == nil {
		t = &linkerdRequestTotals{latency: make([]uint64, len(linkerdBuckets()))}
		sums[key] = t
	}
	return t
}

// take adds what was answered in one way.
func (t *linkerdRequestTotals) take(a *answers) {
	t.count += a.duration.count()
	var within uint64
	for i := range a.firstByte.classic {
		n := a.firstByte.classic[i].Load()
		t.latency[i] += n
		within += n
	}
	answered := a.firstByte.count() // after the buckets, which it is not less than then
	t.answered += answered
	t.beyond += answered - within
	t.sum += a.firstByte.sum.Load()
}

// merge adds other totals.
func (t *linkerdRequestTotals) merge(other *linkerdRequestTotals) {
	t.count += other.count
	t.answered += other.answered
	t.beyond += other.beyond
	t.sum += other.sum
	for i, n := range other.latency {
		t.latency[i] += n
	}
}

// retire remembers what a series had counted that goes.
func (n *linkerdRequests) retire(s *series) { n.retired.add(s) }

// sum adds up all series, and those that went. What no series is left of is
// forgotten. The traffic's lock is held, as in retire.
func (n *linkerdRequests) sum(all []*series) linkerdRequestSums {
	sums := make(linkerdRequestSums)
	for _, s := range all {
		if s.requests != nil {
			sums.add(s)
		}
	}
	for key, before := range n.retired {
		if t := sums[key]; t != nil {
			t.merge(before)
		} else {
			delete(n.retired, key)
		}
	}
	return sums
}

// collect exports the sums.
func (n *linkerdRequests) collect(ch chan<- prometheus.Metric, sums linkerdRequestSums) {
	requests := make(map[[5]string]uint64)
	for key, t := range sums {
		requests[key.request] += t.count
		labels := append(slices.Clone(key.request[:]), key.response[:]...)
		if t.answered == 0 {
			continue
		}
		ch <- prometheus.MustNewConstMetric(n.responses, prometheus.CounterValue, float64(t.answered), labels...)
		ch <- &histogramSample{n.latency, prometheus.MakeLabelPairs(n.latency, labels), t.histogram()}
	}
	for labels, count := range requests {
		ch <- prometheus.MustNewConstMetric(n.requests, prometheus.CounterValue, float64(count), labels[:]...)
	}
}

// histogram returns the latencies as Prometheus has them, in classic buckets
// alone: linkerd has no others.
func (t *linkerdRequestTotals) histogram() *dto.Histogram {
	h := &dto.Histogram{SampleSum: new(float64(t.sum) / 1e6)}
	var below uint64
	for i, bound := range linkerdBuckets() {
		below += t.latency[i]
		h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: new(below), UpperBound: new(bound)})
	}
	h.SampleCount = new(below + t.beyond)
	return h
}
