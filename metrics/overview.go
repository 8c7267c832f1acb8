package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// An overview is made from the series that there are anyway, by the difference of
// two readings: so it costs connections and requests nothing, is bounded and
// forgets what is idle as the series do, and knows what there was before anybody
// asked. A reading costs about what a scrape does.
const (
	// MaxWindow is how far an [Overview] looks back.
	MaxWindow = 30 * time.Second

	// leastWindow is how long who asks first waits.
	leastWindow = time.Second

	// readingPause is how far apart the readings are that are kept, and
	// freshness how old one may be that serves another who asks.
	readingPause = 2 * time.Second
	freshness    = 200 * time.Millisecond

	maxReadings = int(MaxWindow/readingPause) + 1
)

// Overview says who talks to whom: since the series began, and lately. It is safe
// for concurrent use. It holds a few readings of the series until a minute after
// the last who asked.
type Overview struct {
	r *Recorder

	mu     sync.Mutex
	past   []reading // by time
	latest reading
	idle   *time.Timer
}

// Overview returns an overview.
func (r *Recorder) Overview() *Overview { return &Overview{r: r} }

// Edge says between whom traffic is counted.
type Edge struct {
	// Reporter says at which end we are.
	Reporter Reporter

	// Secured says that the peer was authenticated. Principal is its SPIFFE ID
	// then, "overflow" for all of those that there were too many of, or
	// "unknown".
	Secured   bool
	Principal string

	// Names are the peer's. Their Provenance is 0.
	Names Names

	// Service is what the traffic is for.
	Service Service

	// Protocol is tcp, http or grpc.
	Protocol string
}

// Counts are what was counted on an edge, of requests or of connections.
type Counts struct {
	// Requests have ended, and FailedRequests of them failed: see
	// [Request.Failed].
	Requests, FailedRequests uint64

	// Durations are those of requests, in milliseconds.
	Durations Distribution

	// Connections were opened; FailedConnections have not ended in order.
	Connections, FailedConnections uint64

	// Sent and Received are the bytes towards the destination and back: of
	// requests those of bodies, once a request is over.
	Sent, Received uint64
}

// EdgeState is what is known of an edge.
type EdgeState struct {
	Edge

	// Attributes are those of the peer that was met last, and Aware whether it
	// is hallmark's. Plaintext says that it came without a handshake, which
	// one that could not be reached did not.
	Attributes       tlsctx.Attributes
	Aware, Plaintext bool

	// Provenance is that of [Names].
	Provenance tlsctx.Provenance

	// Detected is what connections were last found to speak, or "".
	Detected tlsctx.Protocol

	// Since is when the series began, and LastUsed when something opened,
	// closed or was asked last.
	Since, LastUsed time.Time

	// Open are the connections that are open now.
	Open int64

	// Total is what was counted since then, and Recent in the window.
	Total, Recent Counts
}

// State is what [Overview.Read] returns.
type State struct {
	// At is when it was read, and Window the time before that in which what is
	// recent was counted.
	At     time.Time
	Window time.Duration

	// Edges are in no order.
	Edges []EdgeState
}

// reading is what the series said at a time.
type reading struct {
	at     time.Time
	counts map[*series]seriesCounts
}

type seriesCounts struct {
	Counts

	open int64
}

// Read returns the edges, with what was counted within about the given time
// before, up to [MaxWindow]. Who asks first within that waits a second for
// something to compare with. It fails only if ctx ends then.
func (o *Overview) Read(ctx context.Context, window time.Duration) (State, error) {
	window = min(max(window, leastWindow), MaxWindow)
	now, base := o.read(window)
	if base.counts == nil {
		base = now
		timer := time.NewTimer(leastWindow)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return State{}, ctx.Err()
		}
		now, _ = o.read(window)
	}
	return o.r.compare(now, base), nil
}

// read returns a reading that is new, and the oldest in the window to compare it
// with, or none.
func (o *Overview) read(window time.Duration) (now, base reading) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.latest.at) > freshness {
		o.latest = o.r.reading()
	}
	now = o.latest
	for len(o.past) > 0 && now.at.Sub(o.past[0].at) > MaxWindow {
		o.past = o.past[1:]
	}
	for _, r := range o.past {
		if age := now.at.Sub(r.at); age <= window+freshness && age >= leastWindow {
			base = r
			break
		}
	}
	if n := len(o.past); n == 0 || now.at.Sub(o.past[n-1].at) >= readingPause {
		if n == maxReadings {
			o.past = o.past[1:]
		}
		o.past = append(o.past, now)
	}
	if o.idle == nil {
		o.idle = time.AfterFunc(time.Minute, o.forget)
	} else {
		o.idle.Reset(time.Minute)
	}
	return now, base
}

// forget lets go of the readings: nobody asks.
func (o *Overview) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.past, o.latest, o.idle = nil, reading{}, nil
}

// reading reads all the series.
func (r *Recorder) reading() reading {
	r.live.flush()
	all := r.traffic.all()
	now := reading{at: time.Now(), counts: make(map[*series]seriesCounts, len(all))}
	for _, s := range all {
		now.counts[s] = s.read()
	}
	return now
}

// all returns the series that there are.
func (t *traffic) all() []*series {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*series, 0, len(t.series))
	for _, s := range t.series {
		all = append(all, s)
	}
	return all
}

// read returns what the series says. Failures are read first: there are never
// more of them than of all.
func (s *series) read() (c seriesCounts) {
	if s.requests != nil {
		c.Counts = s.requests.read()
		return c
	}
	for f := FlagNone + 1; int(f) < flags; f++ {
		c.FailedConnections += s.closed[f].Load()
	}
	c.Connections, c.open = s.opened.Load(), s.open.Load()
	c.Sent, c.Received = s.sent.Load(), s.received.Load()
	return c
}

func (t *requestTotals) read() (c Counts) {
	var sum tally
	for _, a := range t.all() {
		c.Sent += a.requestBytes.sum.Load()
		c.Received += a.responseBytes.sum.Load()
		n := sum.add(&a.duration)
		if a.failed() {
			c.FailedRequests += n
		}
	}
	c.Durations = sum.distribution()
	c.Requests = c.Durations.Count()
	return c
}

// since returns what has come since.
func (c *Counts) since(earlier *Counts) Counts {
	return Counts{
		Requests:          c.Requests - min(earlier.Requests, c.Requests),
		FailedRequests:    c.FailedRequests - min(earlier.FailedRequests, c.FailedRequests),
		Durations:         c.Durations.since(earlier.Durations),
		Connections:       c.Connections - min(earlier.Connections, c.Connections),
		FailedConnections: c.FailedConnections - min(earlier.FailedConnections, c.FailedConnections),
		Sent:              c.Sent - min(earlier.Sent, c.Sent),
		Received:          c.Received - min(earlier.Received, c.Received),
	}
}

func (c *Counts) add(more *Counts) {
	c.Requests += more.Requests
	c.FailedRequests += more.FailedRequests
	c.Durations = c.Durations.plus(more.Durations)
	c.Connections += more.Connections
	c.FailedConnections += more.FailedConnections
	c.Sent += more.Sent
	c.Received += more.Received
}

// compare makes edges of series: those that differ only in how our own end is
// labelled are one.
func (r *Recorder) compare(now, base reading) State {
	rules := r.rules.Load()
	edges := make(map[Edge]*EdgeState)
	for s, c := range now.counts {
		key := s.edge(rules)
		e := edges[key]
		if e == nil {
			e = &EdgeState{Edge: key, Since: s.created}
			edges[key] = e
		}
		earlier := base.counts[s] // none: it has begun since
		recent := c.since(&earlier.Counts)
		e.add(s, &c, &recent)
	}
	state := State{At: now.at, Window: now.at.Sub(base.at), Edges: make([]EdgeState, 0, len(edges))}
	for _, e := range edges {
		named := e.Names.Workload != "" && e.Principal != overflow
		e.Provenance = rules.provenance(named, e.Attributes)
		state.Edges = append(state.Edges, *e)
	}
	return state
}

// edge returns what the series is part of.
func (s *series) edge(rules *rules) Edge {
	return Edge{
		Reporter: s.reporter, Secured: s.secured, Principal: s.peer.principal,
		Names: rules.names(s.peer, nil), Service: s.service, Protocol: s.protocol,
	}
}

// add takes a series in.
func (e *EdgeState) add(s *series, c *seriesCounts, recent *Counts) {
	if s.created.Before(e.Since) {
		e.Since = s.created
	}
	if used := time.Unix(0, s.used.Load()); used.After(e.LastUsed) || e.Attributes == nil {
		e.LastUsed = used
		if k := s.known.Load(); k != nil {
			e.Attributes, e.Aware, e.Plaintext = k.attributes, k.aware, k.plain
		}
		if p := s.spoken.Load(); p != nil {
			e.Detected = *p
		}
	}
	e.Open += c.open
	e.Total.add(&c.Counts)
	e.Recent.add(recent)
}
