package metrics

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// trafficLabels are the labels of Istio's TCP metrics, in the order in which
// series.values returns them.
func trafficLabels() []string {
	names := []string{"reporter", "request_protocol", "connection_security_policy"}
	for _, end := range []string{"source_", "destination_"} {
		for _, slot := range slots() {
			names = append(names, end+string(slot))
		}
		names = append(names, end+"principal")
	}
	return append(names, "destination_service", "destination_service_name", "destination_service_namespace", "response_flags")
}

// values returns the values of the labels but the last, the flags.
func (s *series) values() []string {
	source, destination := s.own, s.peer
	if s.reporter == Destination {
		source, destination = s.peer, s.own
	}
	security := "none"
	if s.secured {
		security = "mutual_tls"
	}
	service := s.service.complete(destination.values[1])
	values := []string{string(s.reporter), "tcp", security}
	for _, end := range []identityLabels{source, destination} {
		values = append(values, end.values[:]...)
		values = append(values, end.principal)
	}
	return append(values, service.Host, service.Name, service.Namespace)
}

// trafficNames are the metrics that traffic is exported under.
type trafficNames struct {
	opened, closed, sent, received *prometheus.Desc
	open, overflow                 *prometheus.Desc
	linkerd                        *linkerdNames // nil unless asked for
}

func newTrafficNames(linkerd bool) *trafficNames {
	labels := trafficLabels()
	n := &trafficNames{
		opened:   prometheus.NewDesc("istio_tcp_connections_opened_total", "TCP connections opened.", labels, nil),
		closed:   prometheus.NewDesc("istio_tcp_connections_closed_total", "TCP connections closed.", labels, nil),
		sent:     prometheus.NewDesc("istio_tcp_sent_bytes_total", "Bytes that the destination has sent to the source (Istio's sense).", labels, nil),
		received: prometheus.NewDesc("istio_tcp_received_bytes_total", "Bytes that the destination has received from the source (Istio's sense).", labels, nil),
		open:     prometheus.NewDesc("hallmark_connections_open", "TCP connections open.", []string{"reporter"}, nil),
		overflow: prometheus.NewDesc("hallmark_metrics_overflowed_total", "Connections counted under \"overflow\", because there were too many combinations of labels.", nil, nil),
	}
	if linkerd {
		n.linkerd = newLinkerdNames()
	}
	return n
}

func (n *trafficNames) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{n.opened, n.closed, n.sent, n.received, n.open, n.overflow} {
		ch <- d
	}
	if n.linkerd != nil {
		n.linkerd.describe(ch)
	}
}

// rendered is a combination's labels in the form in which they are exported.
type rendered struct {
	byFlag  [flags][]*dto.LabelPair
	created *timestamppb.Timestamp
}

// render returns the labels, made once.
func (s *series) render() *rendered {
	if r := s.rendered.Load(); r != nil {
		return r
	}
	names, values := trafficLabels(), s.values()
	r := &rendered{created: timestamppb.New(s.created)}
	common := make([]*dto.LabelPair, len(values))
	for i, v := range values {
		common[i] = &dto.LabelPair{Name: proto.String(names[i]), Value: proto.String(v)}
	}
	for f := range flags {
		flag := &dto.LabelPair{Name: proto.String("response_flags"), Value: proto.String(Flag(f).String())}
		pairs := append(slices.Clone(common), flag)
		slices.SortFunc(pairs, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
		r.byFlag[f] = pairs
	}
	s.rendered.Store(r)
	return r
}

// counter is one series at a scrape, with labels that are rendered already.
type counter struct {
	desc    *prometheus.Desc
	labels  []*dto.LabelPair
	created *timestamppb.Timestamp
	value   float64
}

// Desc implements prometheus.Metric.
func (c *counter) Desc() *prometheus.Desc { return c.desc }

// Write implements prometheus.Metric.
func (c *counter) Write(m *dto.Metric) error {
	m.Label = c.labels
	m.Counter = &dto.Counter{Value: &c.value, CreatedTimestamp: c.created}
	return nil
}

// collect exports one combination.
func (n *trafficNames) collect(ch chan<- prometheus.Metric, s *series) {
	r := s.render()
	for _, m := range []struct {
		desc  *prometheus.Desc
		value uint64
	}{
		{n.opened, s.opened.Load()},
		{n.received, s.sent.Load()}, // Istio counts where it stands at the destination, whoever reports
		{n.sent, s.received.Load()},
	} {
		ch <- &counter{m.desc, r.byFlag[FlagNone], r.created, float64(m.value)}
	}
	for f := range flags {
		if closed := s.closed[f].Load(); closed > 0 {
			ch <- &counter{n.closed, r.byFlag[f], r.created, float64(closed)}
		}
	}
	if n.linkerd != nil {
		n.linkerd.collect(ch, s)
	}
}

func (n *trafficNames) collectOpen(ch chan<- prometheus.Metric, all map[combination]*series) {
	open := map[Reporter]int64{Source: 0, Destination: 0}
	for _, s := range all {
		open[s.reporter] += s.open.Load()
	}
	for reporter, number := range open {
		ch <- prometheus.MustNewConstMetric(n.open, prometheus.GaugeValue, float64(number), string(reporter))
	}
}

func (n *trafficNames) collectOverflow(ch chan<- prometheus.Metric, value uint64) {
	ch <- prometheus.MustNewConstMetric(n.overflow, prometheus.CounterValue, float64(value))
}

var _ = time.Now
