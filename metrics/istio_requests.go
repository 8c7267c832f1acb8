package metrics

import (
	"encoding/hex"
	"math"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// answerLabels are the labels that a request's end sets.
func answerLabels() []string {
	return []string{"response_code", "grpc_response_status", flagsLabel}
}

// values returns the values of answerLabels. A response code of 0 says that there
// was none, and an empty grpc_response_status likewise: so Istio has it.
func (a answer) values() []string {
	return []string{a.status(), a.grpcStatus(), a.flags()}
}

// collectRequests exports the requests of one combination.
func (n *istioNames) collectRequests(ch chan<- prometheus.Metric, s *series) {
	r := s.render()
	for _, a := range s.requests.all() {
		if a.labels == nil {
			values := a.values()
			more := make([]*dto.LabelPair, len(values))
			for i, name := range answerLabels() {
				more[i] = label(name, values[i])
			}
			a.labels = r.with(more...)
		}
		duration := a.duration.export(r.created)
		a.addExemplars(duration)
		ch <- &sample{n.requests, a.labels, r.created, float64(duration.GetSampleCount())}
		ch <- &histogramSample{n.duration, a.labels, duration}
		ch <- &histogramSample{n.requestBytes, a.labels, a.requestBytes.export(r.created)}
		ch <- &histogramSample{n.responseBytes, a.labels, a.responseBytes.export(r.created)}
	}
	if s.protocol == protocolGRPC {
		ch <- &sample{n.requestMessages, r.common, r.created, float64(s.requests.requestMessages.Load())}
		ch <- &sample{n.responseMessages, r.common, r.created, float64(s.requests.responseMessages.Load())}
	}
}

// histogramSample is one histogram at a scrape, with labels that are rendered
// already.
type histogramSample struct {
	desc      *prometheus.Desc
	labels    []*dto.LabelPair
	histogram *dto.Histogram
}

// Desc implements prometheus.Metric.
func (s *histogramSample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *histogramSample) Write(m *dto.Metric) error {
	m.Label, m.Histogram = s.labels, s.histogram
	return nil
}

// addExemplars adds to each bucket the trace that stands for it.
func (a *answers) addExemplars(h *dto.Histogram) {
	for i := range a.exemplars {
		e := a.exemplars[i].Load()
		if e == nil {
			continue
		}
		shown := &dto.Exemplar{
			Label: []*dto.LabelPair{
				label("span_id", hex.EncodeToString(e.trace.SpanID[:])),
				label("trace_id", hex.EncodeToString(e.trace.TraceID[:])),
			},
			Value:     new(e.value),
			Timestamp: timestamppb.New(e.at),
		}
		if i == len(h.Bucket) { // the last one is implied unless it says something
			h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: new(h.GetSampleCount()), UpperBound: new(math.Inf(1))})
		}
		h.Bucket[i].Exemplar = shown
		h.Exemplars = append(h.Exemplars, shown)
	}
}
