package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Side says who dialled: whose role in the TLS handshake we had.
type Side string

// The sides.
const (
	Client Side = "client"
	Server Side = "server"
)

// Handshake counts a handshake: peer is who it established, or err why it
// failed. Call it when Handshake has returned, never from inside.
func (r *Recorder) Handshake(side Side, took time.Duration, peer *tlsctx.Peer, err error) {
	r.process.handshake(side, took, peer, err)
}

// Detection is how a connection's protocol was found out.
type Detection struct {
	// Protocol is what it speaks, and How what settled it: a word out of a
	// small set.
	Protocol tlsctx.Protocol
	How      string

	// Waited is how long it took.
	Waited time.Duration

	// Speculated says that an upstream connection was opened on speculation,
	// Adopted that it became the client's, Capped that there was no room for
	// one.
	Speculated, Adopted, Capped bool
}

// Detected counts a detection.
func (r *Recorder) Detected(d Detection) { r.process.detected(d) }

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
func (r *Recorder) Authorized(d Decision, rule, reason string) { r.process.authorized(d, rule, reason) }

// LimitMet counts that a limit was met, by the limit's name.
func (r *Recorder) LimitMet(limit string) { r.process.limitMet(limit) }

// Reloaded counts an attempt to take a configuration over: err is why it was
// refused; generation is that of the configuration in force.
func (r *Recorder) Reloaded(generation uint64, err error) { r.process.reloaded(generation, err) }

// LinesDropped counts lines that a log could not write in time.
func (r *Recorder) LinesDropped(n int) { r.process.dropped.Add(float64(n)) }

// AcceptFailed counts a connection that could not be accepted.
func (r *Recorder) AcceptFailed() { r.process.acceptFailures.Inc() }

type process struct {
	dropped, acceptFailures prometheus.Counter
}

func newProcess(Config) *process {
	return &process{
		dropped:        prometheus.NewCounter(prometheus.CounterOpts{Name: "hallmark_log_lines_dropped_total", Help: "Lines of logs that were dropped because they could not be written in time."}),
		acceptFailures: prometheus.NewCounter(prometheus.CounterOpts{Name: "hallmark_accept_failures_total", Help: "Connections that could not be accepted."}),
	}
}

func (p *process) collectors() []prometheus.Collector {
	return []prometheus.Collector{p.dropped, p.acceptFailures}
}
func (p *process) handshake(Side, time.Duration, *tlsctx.Peer, error) {}
func (p *process) detected(Detection)                                 {}
func (p *process) authorized(Decision, string, string)                {}
func (p *process) limitMet(string)                                    {}
func (p *process) reloaded(uint64, error)                             {}

func (r *Recorder) ended(*Event) {}
