package metrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// istioNames are Istio's standard metrics: those of TCP with the labels that
// ztunnel gives them, those of requests with the ones that sidecars do.
type istioNames struct {
	opened, closed, sent, received    *prometheus.Desc
	requests, duration                *prometheus.Desc
	requestBytes, responseBytes       *prometheus.Desc
	requestMessages, responseMessages *prometheus.Desc
}

// flagsLabel is the one label that the end of a connection sets.
const flagsLabel = "response_flags"

// istioLabels are the labels but flagsLabel, in the order of [series.values].
func istioLabels() []string {
	names := []string{"reporter", "request_protocol", "connection_security_policy"}
	for _, end := range []string{"source_", "destination_"} {
		for _, slot := range slots() {
			names = append(names, end+string(slot))
		}
		names = append(names, end+"principal")
	}
	return append(names, "destination_service", "destination_service_name", "destination_service_namespace")
}

// values returns the values of istioLabels.
func (s *series) values() []string {
	source, destination := &s.own, &s.peer
	if s.reporter == Destination {
		source, destination = &s.peer, &s.own
	}
	security := "none"
	if s.secured {
		security = "mutual_tls"
	}
	values := []string{string(s.reporter), s.protocol, security}
	for _, end := range []*identityLabels{source, destination} {
		values = append(values, end.values[:]...)
		values = append(values, end.principal)
	}
	return append(values, s.service.Host, s.service.Name, s.service.Namespace)
}

func newIstioNames() *istioNames {
	labels := append(istioLabels(), flagsLabel)
	requests := append(istioLabels(), answerLabels()...)
	return &istioNames{
		requests:         prometheus.NewDesc("istio_requests_total", "Requests.", requests, nil),
		duration:         prometheus.NewDesc("istio_request_duration_milliseconds", "How long requests took, from their head to the end of the response.", requests, nil),
		requestBytes:     prometheus.NewDesc("istio_request_bytes", "Bytes of the bodies of requests.", requests, nil),
		responseBytes:    prometheus.NewDesc("istio_response_bytes", "Bytes of the bodies of responses.", requests, nil),
		requestMessages:  prometheus.NewDesc("istio_request_messages_total", "Messages of gRPC that clients sent.", istioLabels(), nil),
		responseMessages: prometheus.NewDesc("istio_response_messages_total", "Messages of gRPC that servers sent.", istioLabels(), nil),

		opened:   prometheus.NewDesc("istio_tcp_connections_opened_total", "TCP connections opened.", labels, nil),
		closed:   prometheus.NewDesc("istio_tcp_connections_closed_total", "TCP connections closed.", labels, nil),
		sent:     prometheus.NewDesc("istio_tcp_sent_bytes_total", "Bytes that the destination sent to the source: the response, whoever reports.", labels, nil),
		received: prometheus.NewDesc("istio_tcp_received_bytes_total", "Bytes that the destination received from the source: the request, whoever reports.", labels, nil),
	}
}

func (n *istioNames) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		n.opened, n.closed, n.sent, n.received, n.requests, n.duration,
		n.requestBytes, n.responseBytes, n.requestMessages, n.responseMessages,
	} {
		ch <- d
	}
}

// rendered is a combination's labels in the form in which they are exported.
type rendered struct {
	common  []*dto.LabelPair
	byFlag  [flags][]*dto.LabelPair // nil as long as there is none of it
	created *timestamppb.Timestamp
}

// render returns the labels but those that the end sets, made once.
// traffic.collecting is held.
func (s *series) render() *rendered {
	r := s.rendered.Load()
	if r == nil {
		r = &rendered{created: timestamppb.New(s.created)}
		values := s.values()
		for i, name := range istioLabels() {
			r.common = append(r.common, label(name, values[i]))
		}
		r.common = r.with()
		s.rendered.Store(r)
	}
	return r
}

// flagged returns the labels of connections that ended so, made once.
func (r *rendered) flagged(f Flag) []*dto.LabelPair {
	if r.byFlag[f] == nil {
		r.byFlag[f] = r.with(label(flagsLabel, f.String()))
	}
	return r.byFlag[f]
}

// with returns the common labels and more of them, sorted.
func (r *rendered) with(more ...*dto.LabelPair) []*dto.LabelPair {
	pairs := append(slices.Clone(r.common), more...)
	slices.SortFunc(pairs, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return pairs
}

func label(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: new(name), Value: new(value)}
}

// sample is one series at a scrape, with labels that are rendered already.
type sample struct {
	desc    *prometheus.Desc
	labels  []*dto.LabelPair
	created *timestamppb.Timestamp
	value   float64
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *sample) Write(m *dto.Metric) error {
	m.Label = s.labels
	m.Counter = &dto.Counter{Value: &s.value, CreatedTimestamp: s.created}
	return nil
}

// collect exports one combination. Bytes and openings have no flag yet.
func (n *istioNames) collect(ch chan<- prometheus.Metric, s *series) {
	r := s.render()
	for _, m := range []struct {
		desc  *prometheus.Desc
		value uint64
	}{
		{n.opened, s.opened.Load()},
		{n.received, s.sent.Load()}, // Istio stands at the destination, whoever reports
		{n.sent, s.received.Load()},
	} {
		ch <- &sample{m.desc, r.flagged(FlagNone), r.created, float64(m.value)}
	}
	for f := range Flag(flags) {
		if closed := s.closed[f].Load(); closed > 0 {
			ch <- &sample{n.closed, r.flagged(f), r.created, float64(closed)}
		}
	}
}
