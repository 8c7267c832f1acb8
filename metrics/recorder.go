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
	config   Config
	registry *prometheus.Registry
	ids      atomic.Uint64
	own      *ownEnd
	live     live
	traffic  *traffic
	process  *process
	sessions sync.Map // *Session
}

// New returns a Recorder with a registry of its own. It refuses a table of
// labels that makes no sense.
func New(config Config) (*Recorder, error) {
	config = config.withDefaults()
	if err := config.Labels.Validate(); err != nil {
		return nil, err
	}
	r := &Recorder{config: config, registry: prometheus.NewRegistry()}
	r.own = newOwnEnd(config)
	r.traffic = newTraffic(config, &r.live)
	r.process = newProcess(config)
	all := append(r.process.collectors(), r.traffic, newIdentityCollector(config.Identity),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, c := range all {
		if err := r.registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: register: %w", err)
		}
	}
	return r, nil
}

// Gatherer returns what Prometheus would be told.
func (r *Recorder) Gatherer() prometheus.Gatherer { return r.registry }

// Registerer takes further collectors, of the stages' own.
func (r *Recorder) Registerer() prometheus.Registerer { return r.registry }

// Handler serves the metrics, in the text format, in OpenMetrics, or in
// Prometheus's protobuf, which native histograms need; the client chooses.
func (r *Recorder) Handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 4,
	})
}
