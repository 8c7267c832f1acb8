package metrics

import "github.com/prometheus/client_golang/prometheus"

// RequestSpan is the span of a request that is traced.
type RequestSpan interface {
	// Ended is told of the request when it is over, as a [RequestSink] is.
	Ended(e *RequestEvent)
}

// ConnectionSpan is the span of a connection that is traced.
type ConnectionSpan interface {
	// Ended is told of the connection when it has ended, as a [Sink] is.
	Ended(e *Event)
}

// SpanCounts says what became of the spans of this process.
type SpanCounts struct {
	// Exported have been taken by the collector.
	Exported uint64

	// Full were dropped because too many waited, and Failed because they could
	// not be sent.
	Full, Failed uint64
}

// spanCounters export what became of spans.
func spanCounters(counts func() SpanCounts) []prometheus.Collector {
	if counts == nil {
		counts = func() SpanCounts { return SpanCounts{} }
	}
	of := func(o prometheus.CounterOpts, which func(SpanCounts) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(o, func() float64 { return float64(which(counts())) })
	}
	dropped := func(reason string) prometheus.CounterOpts {
		return prometheus.CounterOpts{
			Name: "hallmark_trace_spans_dropped_total", Help: "Spans that the collector did not get, by why.",
			ConstLabels: prometheus.Labels{"reason": reason},
		}
	}
	return []prometheus.Collector{
		of(prometheus.CounterOpts{Name: "hallmark_trace_spans_exported_total", Help: "Spans that the collector has taken."},
			func(c SpanCounts) uint64 { return c.Exported }),
		of(dropped("queue_full"), func(c SpanCounts) uint64 { return c.Full }),
		of(dropped("export_failed"), func(c SpanCounts) uint64 { return c.Failed }),
	}
}
