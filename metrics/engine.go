package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Engine is what the proxy holds at a moment. Whoever fills it in takes few locks
// and does not block: every scrape asks.
type Engine struct {
	// Requests are those that have begun and are not over, by reporter.
	Requests map[Reporter]int

	// Listeners are the listening sockets.
	Listeners []Listener

	// Handshakes are those that peers have begun and that are in progress.
	Handshakes int

	// Sessions are those that are kept for streams and requests to peers.
	Sessions Pool

	// Waiting are the streams and requests that wait for a session to open,
	// and Waits counts how many ever had to.
	Waiting int
	Waits   uint64

	// Applications and Peers are the connections that are kept for requests of
	// HTTP, to applications, and to peers that take no shared session.
	Applications, Peers Pool

	// Buffered are the bytes that sessions have read and not passed on, and
	// have promised to read beyond the least; past BufferedMost, new streams
	// are refused. BufferedMost is 0 if there is no bound.
	Buffered, BufferedMost int64
}

// Listener is what is open of a listening socket.
type Listener struct {
	Reporter Reporter
	Name     string // as configured
	Open     int    // connections
	Most     int    // of them that there may be; 0 for no bound
}

// Pool is what is in a pool.
type Pool struct {
	Opening int // nobody can use it yet
	Busy    int // it carries something
	Idle    int
}

// Engine has every scrape ask for the state of the proxy; the last caller's
// function counts. It must be safe for concurrent use.
func (r *Recorder) Engine(ask func() Engine) { r.engine.ask.Store(&ask) }

// engineCollector asks for an [Engine] at every scrape. Without anybody to ask
// there is nothing to tell.
type engineCollector struct {
	names engineNames
	ask   atomic.Pointer[func() Engine]
}

// engineNames are the metrics of an [Engine].
type engineNames struct {
	requests, listenerOpen, listenerMost, handshakes *prometheus.Desc
	sessions, waiting, waits, connections            *prometheus.Desc
	buffered, bufferedMost                           *prometheus.Desc
}

func newEngineNames() engineNames {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return engineNames{
		requests:     desc("hallmark_http_requests_in_flight", "Requests that have begun and are not over.", "reporter"),
		listenerOpen: desc("hallmark_listener_connections_open", "Connections that listeners have accepted and that are open, handshakes among them.", "reporter", "listener"),
		listenerMost: desc("hallmark_listener_connections_max", "How many connections of a listener may be open; past that, new ones wait in the system's queue. 0 is no bound.", "reporter", "listener"),
		handshakes:   desc("hallmark_handshakes_in_progress", "Handshakes that peers have begun and that are in progress."),
		sessions:     desc("hallmark_pool_sessions", "Sessions that are kept to be shared by streams and requests, by what they do now.", "state"),
		waiting:      desc("hallmark_pool_waiting", "Streams and requests that wait for a session to open."),
		waits:        desc("hallmark_pool_waits_total", "Streams and requests that had to wait for a session to open."),
		connections:  desc("hallmark_pool_connections", "Connections for requests of HTTP, to applications and to peers that share no session, by what they do now.", "to", "state"),
		buffered:     desc("hallmark_buffer_bytes", "Bytes that sessions hold because they have not left yet, or have room for beyond the least."),
		bufferedMost: desc("hallmark_buffer_max_bytes", "How many of these bytes there may be until new streams are refused."),
	}
}

func (n *engineNames) all() []*prometheus.Desc {
	return []*prometheus.Desc{
		n.requests, n.listenerOpen, n.listenerMost, n.handshakes, n.sessions, n.waiting, n.waits,
		n.connections, n.buffered, n.bufferedMost,
	}
}

// Describe implements prometheus.Collector.
func (c *engineCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.names.all() {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *engineCollector) Collect(ch chan<- prometheus.Metric) {
	ask := c.ask.Load()
	if ask == nil {
		return
	}
	e, n := (*ask)(), &c.names
	set := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, reporter := range []Reporter{Source, Destination} {
		set(n.requests, float64(e.Requests[reporter]), string(reporter))
	}
	for key, l := range listeners(e.Listeners) {
		set(n.listenerOpen, float64(l.Open), string(key.Reporter), key.Name)
		set(n.listenerMost, float64(l.Most), string(key.Reporter), key.Name)
	}
	set(n.handshakes, float64(e.Handshakes))
	pool := func(d *prometheus.Desc, p Pool, labels ...string) {
		set(d, float64(p.Opening), append(labels, "opening")...)
		set(d, float64(p.Busy), append(labels, "busy")...)
		set(d, float64(p.Idle), append(labels, "idle")...)
	}
	pool(n.sessions, e.Sessions)
	set(n.waiting, float64(e.Waiting))
	ch <- prometheus.MustNewConstMetric(n.waits, prometheus.CounterValue, float64(e.Waits))
	pool(n.connections, e.Applications, "application")
	pool(n.connections, e.Peers, "peer")
	set(n.buffered, float64(e.Buffered))
	set(n.bufferedMost, float64(e.BufferedMost))
}

// listeners adds those up that have the same labels: a scrape fails if two series
// have.
func listeners(all []Listener) map[Listener]Listener {
	sums := make(map[Listener]Listener)
	for _, l := range all {
		key := Listener{Reporter: l.Reporter, Name: clean(l.Name)}
		sum := sums[key]
		sum.Open += l.Open
		sum.Most += l.Most
		sums[key] = sum
	}
	return sums
}
