package metrics

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Recorder counts what happens. It is safe for concurrent use.
type Recorder struct {
	sinks    []Sink
	rules    atomic.Pointer[rules]
	registry *prometheus.Registry
	ids      atomic.Uint64
	own      ownEnd
	live     live
	sessions sessions
	traffic  *traffic
	process  *process
	engine   engineCollector

	told             []told
	events           sync.Pool // of *RequestEvent
	connectionEvents sync.Pool // of *Event
}

// New returns a Recorder with a registry of its own. It refuses a table of
// labels that makes no sense.
func New(config Config) (*Recorder, error) {
	r := &Recorder{
		sinks: config.Sinks, told: toldOf(config.Sinks), registry: prometheus.NewRegistry(),
		own: ownEnd{source: config.Identity}, process: newProcess(config), engine: engineCollector{names: newEngineNames()},
	}
	if err := r.Apply(config.Rules); err != nil {
		return nil, err
	}
	r.traffic = newTraffic(r, config.Linkerd)
	all := append(r.process.collectors(), r.traffic, &r.engine, newIdentityCollector(config.Identity),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, c := range all {
		if err := r.registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: register: %w", err)
		}
	}
	return r, nil
}

// Apply makes other rules those of the connections that open from now on, and of
// all requests. It refuses a table of labels that makes no sense, and changes nothing then.
func (r *Recorder) Apply(rules Rules) error {
	ready, err := rules.prepare()
	if err != nil {
		return err
	}
	r.rules.Store(ready)
	return nil
}

// Gatherer returns what Prometheus would be told.
func (r *Recorder) Gatherer() prometheus.Gatherer { return r.registry }

// Registerer takes further collectors, of the stages' own.
func (r *Recorder) Registerer() prometheus.Registerer { return r.registry }

// maxScrapes bounds the scrapes in progress: each holds all series in memory.
const maxScrapes = 4

// Handler serves the metrics, in the text format, in OpenMetrics, or in
// Prometheus's protobuf, which native histograms need; the client chooses.
func (r *Recorder) Handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: maxScrapes,
	})
}
