package metrics

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// process holds the metrics of our own: what the proxy does, rather than who
// talks to whom.
type process struct {
	build      prometheus.Gauge
	overflows  *prometheus.CounterVec
	handshakes handshakes
	detections detections
	life       life

	connections, authorizations, limits *openSet
	httpFailures                        *openSet
	configGeneration, configGood        prometheus.Gauge
	configTime                          prometheus.Gauge
	reloads                             *prometheus.CounterVec
	acceptFailures                      prometheus.Counter
	dropped                             prometheus.CounterFunc
	spans                               []prometheus.Collector
	lines                               atomic.Uint64 // that were dropped outside of sinks
}

func newProcess(c Config) *process {
	overflows := counters("hallmark_metrics_overflowed_total",
		"What was counted under \"overflow\", because a metric had too many combinations of labels.", "metric")
	p := &process{
		overflows:  overflows,
		handshakes: newHandshakes(overflows),
		detections: newDetections(overflows),
		life:       newLife(overflows),
		connections: newOpenSet("hallmark_connections_closed_total",
			"TCP connections that have ended, by what they spoke, how they crossed the network, and why they ended.",
			overflows, "reporter", "protocol", "session", "reason"),
		authorizations: newOpenSet("hallmark_authorizations_total",
			"Decisions on whether a peer may do something, by the rule that made them and the reason.",
			overflows, "decision", "rule", "reason"),
		limits: newOpenSet("hallmark_limits_met_total",
			"How often a limit was met.", overflows, "limit"),
		httpFailures: newOpenSet("hallmark_http_failures_total",
			"Requests that the proxy answered itself or whose answer did not come through, by why.",
			overflows, "reporter", "reason"),
		configGeneration: gauge("hallmark_config_generation",
			"Generation of the configuration in force."),
		configGood: gauge("hallmark_config_last_reload_successful",
			"Whether the last configuration that was read is in force (1), or was refused (0)."),
		configTime: gauge("hallmark_config_last_reload_success_timestamp_seconds",
			"When a configuration was last taken over, in seconds since 1970."),
		reloads: counters("hallmark_config_reloads_total",
			"Configurations read, by whether they were taken over (ok) or refused (failed).", "result"),
		acceptFailures: counter("hallmark_accept_failures_total",
			"Connections that could not be accepted."),
	}
	p.dropped = prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "hallmark_log_lines_dropped_total",
		Help: "Lines of logs that were dropped because they could not be written in time.",
	}, func() float64 { return float64(p.lines.Load() + droppedBy(c.Sinks)) })
	p.spans = spanCounters(c.Spans)
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "hallmark_build_info", Help: "Always 1; the labels say what is running.",
	}, []string{"version", "revision", "goversion"})
	p.build = info.WithLabelValues(clean(c.Version), clean(c.Revision), runtime.Version())
	p.build.Set(1)
	for _, result := range []string{"ok", "failed"} {
		p.reloads.WithLabelValues(result)
	}
	p.overflowOf(trafficOverflow)
	p.overflowOf(requestsOverflow)
	return p
}

func (p *process) collectors() []prometheus.Collector {
	own := []prometheus.Collector{
		p.build, p.overflows, p.connections.vec, p.authorizations.vec, p.limits.vec, p.httpFailures.vec,
		p.configGeneration, p.configGood, p.configTime, p.reloads, p.dropped, p.acceptFailures,
	}
	own = append(own, p.spans...)
	own = append(own, p.handshakes.collectors()...)
	own = append(own, p.detections.collectors()...)
	return append(own, p.life.collectors()...)
}

// How the standard metrics of connections and of requests are named where they
// overflow.
const (
	trafficOverflow  = "istio_tcp"
	requestsOverflow = "istio_requests"
)

func (p *process) overflowOf(metric string) prometheus.Counter {
	return p.overflows.WithLabelValues(metric)
}

// Decision is the answer of authorisation.
type Decision string

// The decisions.
const (
	Allowed Decision = "allowed"
	Denied  Decision = "denied"

	// Audited: allowed because the rule only audits; else it were denied.
	Audited Decision = "audited"
)

// Authorized counts a decision, with the configured name of the rule that made
// it ("" for none) and a reason out of a small set.
func (r *Recorder) Authorized(d Decision, rule, reason string) {
	r.process.authorizations.inc(openKey{string(d), orNone(rule), orNone(reason)})
}

// LimitMet counts that a limit was met, by the limit's name.
func (r *Recorder) LimitMet(limit string) { r.process.limits.inc(openKey{limit}) }

// Reloaded counts an attempt to take a configuration over, the first as well:
// err is why it was refused, generation that of the configuration in force.
func (r *Recorder) Reloaded(generation uint64, err error) {
	p := r.process
	p.configGeneration.Set(float64(generation))
	if err != nil {
		p.configGood.Set(0)
		p.reloads.WithLabelValues("failed").Inc()
		return
	}
	p.configGood.Set(1)
	p.configTime.Set(float64(time.Now().Unix()))
	p.reloads.WithLabelValues("ok").Inc()
}

// LinesDropped counts lines that a log which is no sink could not write in time.
func (r *Recorder) LinesDropped(n int) { r.process.lines.Add(uint64(max(n, 0))) }

// AcceptFailed counts a connection that could not be accepted.
func (r *Recorder) AcceptFailed() { r.process.acceptFailures.Inc() }

// closed counts a connection that has ended.
func (p *process) closed(reporter Reporter, protocol tlsctx.Protocol, session tlsctx.Session, reason string) {
	p.connections.inc(openKey{string(reporter), protocolLabel(protocol), sessionLabel(session), reason})
}

// protocolLabel returns a registered protocol as it is: the set is open, and a
// peer may name any.
func protocolLabel(p tlsctx.Protocol) string {
	switch p {
	case tlsctx.HTTP1, tlsctx.HTTP2, tlsctx.TLS, tlsctx.PostgreSQL, tlsctx.MySQL, tlsctx.Redis, tlsctx.MongoDB,
		tlsctx.Kafka, tlsctx.AMQP, tlsctx.NATS, tlsctx.SSH, tlsctx.SMTP, tlsctx.Memcached, tlsctx.MQTT,
		tlsctx.Cassandra, tlsctx.LDAP, tlsctx.Opaque, tlsctx.Unknown:
		return string(p)
	case "":
		return string(tlsctx.Unknown)
	default:
		return other
	}
}

// sessionLabel does the same for a kind of session.
func sessionLabel(s tlsctx.Session) string {
	switch s {
	case tlsctx.Raw, tlsctx.Mux, tlsctx.H2:
		return string(s)
	case "":
		return none
	default:
		return other
	}
}

// other and none are values of labels: something that is not in the set, and
// nothing.
const (
	other = "other"
	none  = "none"
)

func orNone(value string) string {
	if value == "" {
		return none
	}
	return value
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

// Bounds of the native histograms: each bucket is at most 1.1 times as wide as
// the one before, there are at most so many of them, and what grew past that
// starts anew no more often than once an hour.
const (
	nativeFactor     = 1.1
	nativeMaxBuckets = 160
	nativeMinReset   = time.Hour
)

// histograms are classic and native at once.
func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     nativeFactor,
		NativeHistogramMaxBucketNumber:  nativeMaxBuckets,
		NativeHistogramMinResetDuration: nativeMinReset,
	}, labels)
}
