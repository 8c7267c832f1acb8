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
	h := &r.process.handshakes
	if err != nil {
		reason := string(tlsctx.ReasonOf(err))
		if reason == "" {
			reason = other
		}
		h.failures.inc(openKey{string(side), reason})
		return
	}
	h.count(side, peer)
	h.durations[side != Client].Observe(took.Seconds())
}

type handshakes struct {
	duration  *prometheus.HistogramVec
	durations map[bool]prometheus.Observer // by whether we were the server
	failures  *openSet
	groups    *openSet
	peers     *openSet
}

// handshakeBuckets go from a warm handshake on one host to the timeout.
func handshakeBuckets() []float64 {
	return []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}
}

func newHandshakes(overflows *prometheus.CounterVec) handshakes {
	h := handshakes{
		duration: histograms("hallmark_handshake_duration_seconds",
			"How long handshakes took that succeeded.", handshakeBuckets(), "side"),
		failures: newOpenSet("hallmark_handshake_failures_total",
			"Handshakes that failed, by why.", overflows, "side", "reason"),
		groups: newOpenSet("hallmark_handshakes_total",
			"Handshakes that succeeded, by the TLS key exchange group.", overflows, "side", "key_exchange"),
		peers: newOpenSet("hallmark_peers_total",
			"Peers by whether they speak hallmark, and by how far what is known of them is to be believed at best.",
			overflows, "side", "awareness", "provenance"),
	}
	h.durations = map[bool]prometheus.Observer{
		false: h.duration.WithLabelValues(string(Client)),
		true:  h.duration.WithLabelValues(string(Server)),
	}
	return h
}

func (h *handshakes) collectors() []prometheus.Collector {
	return []prometheus.Collector{h.duration, h.failures.vec, h.groups.vec, h.peers.vec}
}

// count counts a peer.
func (h *handshakes) count(side Side, peer *tlsctx.Peer) {
	if peer == nil {
		return
	}
	awareness, best := "plaintext", tlsctx.Provenance(0)
	if peer.Secured() {
		awareness = "unaware"
		h.groups.inc(openKey{string(side), peer.KeyExchange.String()})
	}
	if peer.Aware {
		awareness = "aware"
	}
	for _, a := range peer.Attributes {
		best = max(best, a.Provenance)
	}
	h.peers.inc(openKey{string(side), awareness, best.String()})
}

// Detection is how a connection's protocol was found out.
type Detection struct {
	// Protocol is what it speaks, and How what settled it: a word out of a
	// small set.
	Protocol tlsctx.Protocol
	How      string

	// Waited is how long it took; 0 if it was known beforehand.
	Waited time.Duration

	// Speculated says that an upstream connection was opened on speculation,
	// Adopted that it became the client's, Capped that there was no room for
	// one.
	Speculated, Adopted, Capped bool
}

// Detected counts a detection.
func (r *Recorder) Detected(d Detection) {
	t := &r.process.detections
	t.total.inc(openKey{protocolLabel(d.Protocol), orNone(d.How)})
	if d.Waited > 0 { // else it was known
		t.duration.Observe(d.Waited.Seconds())
	}
	switch {
	case d.Speculated && d.Adopted:
		t.opened.Inc()
		t.adopted.Inc()
	case d.Speculated:
		t.opened.Inc()
		t.discarded.Inc()
	case d.Capped:
		t.capped.Inc()
	}
}

type detections struct {
	total        *openSet
	durations    *prometheus.HistogramVec
	duration     prometheus.Observer
	speculations *prometheus.CounterVec

	opened, adopted, discarded, capped prometheus.Counter
}

// detectionBuckets go from bytes that were there to a client that thinks.
func detectionBuckets() []float64 {
	return []float64{.00005, .0001, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 10}
}

func newDetections(overflows *prometheus.CounterVec) detections {
	d := detections{
		total: newOpenSet("hallmark_detections_total",
			"Connections by the protocol they were found to speak, and by what settled it.", overflows, "protocol", "how"),
		durations: histograms("hallmark_detection_duration_seconds",
			"How long it took until a connection's protocol was settled, where it was not known beforehand.", detectionBuckets()),
		speculations: counters("hallmark_speculations_total",
			"Upstream connections opened before anybody had spoken: opened, then adopted or discarded; capped: not opened, for too many were.", "outcome"),
	}
	d.duration = d.durations.WithLabelValues()
	d.opened = d.speculations.WithLabelValues("opened")
	d.adopted = d.speculations.WithLabelValues("adopted")
	d.discarded = d.speculations.WithLabelValues("discarded")
	d.capped = d.speculations.WithLabelValues("capped")
	return d
}

func (d *detections) collectors() []prometheus.Collector {
	return []prometheus.Collector{d.total.vec, d.durations, d.speculations}
}

// life are the metrics of sessions.
type life struct {
	open          *prometheus.GaugeVec
	opened        *prometheus.CounterVec
	closed        *openSet
	streams       *prometheus.GaugeVec
	streamsOpened *prometheus.CounterVec

	dialled, accepted streams
}

// streams count those of sessions of one side.
type streams struct {
	open   prometheus.Gauge
	opened prometheus.Counter
}

// stream returns the counters of the side.
func (l *life) stream(side Side) *streams {
	if side == Client {
		return &l.dialled
	}
	return &l.accepted
}

func newLife(overflows *prometheus.CounterVec) life {
	l := life{
		open:   gauges("hallmark_sessions_open", "Sessions with peers that are open, by who dialled and how bytes are framed.", "side", "kind"),
		opened: counters("hallmark_sessions_opened_total", "Sessions with peers opened.", "side", "kind"),
		closed: newOpenSet("hallmark_sessions_closed_total", "Sessions with peers that have ended, by why.", overflows, "side", "kind", "reason"),
		streams: gauges("hallmark_streams_open",
			"Streams that sessions carry now, by who dialled the session.", "side"),
		streamsOpened: counters("hallmark_streams_opened_total", "Streams that sessions have carried.", "side"),
	}
	for _, side := range []Side{Client, Server} {
		*l.stream(side) = streams{l.streams.WithLabelValues(string(side)), l.streamsOpened.WithLabelValues(string(side))}
	}
	return l
}

func (l *life) collectors() []prometheus.Collector {
	return []prometheus.Collector{l.open, l.opened, l.closed.vec, l.streams, l.streamsOpened}
}

func (p *process) sessionOpened(side Side, kind tlsctx.Session) {
	p.life.open.WithLabelValues(string(side), sessionLabel(kind)).Inc()
	p.life.opened.WithLabelValues(string(side), sessionLabel(kind)).Inc()
}

func (p *process) sessionClosed(side Side, kind tlsctx.Session, reason string) {
	p.life.open.WithLabelValues(string(side), sessionLabel(kind)).Dec()
	p.life.closed.inc(openKey{string(side), sessionLabel(kind), orNone(reason)})
}
