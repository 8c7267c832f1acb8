package tap

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
)

// Stat is who talks to whom, in the form of the API. docs/admin.md describes it.
type Stat struct {
	Version string `json:"version"`

	// Time is when it was read. WindowSeconds before it is what Recent covers.
	Time          time.Time `json:"time"`
	WindowSeconds float64   `json:"windowSeconds"`

	// Self is who we are.
	Self Workload `json:"self"`

	// Edges are one for each direction, peer, service and protocol: inbound
	// first, the busiest first.
	Edges []Edge `json:"edges"`

	// Truncated says that there were more than [MaxEdges].
	Truncated bool `json:"truncated"`
}

// MaxEdges bounds the edges of a [Stat].
const MaxEdges = 1000

// Edge is the traffic of one direction with one peer for one service.
type Edge struct {
	Direction Direction `json:"direction"`
	Peer      Workload  `json:"peer"`
	Service   Service   `json:"service"`

	// Protocol is http, grpc or tcp; Detected what connections of tcp were
	// last found to speak, if that is known.
	Protocol string `json:"protocol"`
	Detected string `json:"detected,omitempty"`

	// Overflow says that it stands for all that there were too many of.
	Overflow bool `json:"overflow,omitempty"`

	// Since is when counting began, LastUsed when something happened last.
	Since    time.Time `json:"since"`
	LastUsed time.Time `json:"lastUsed"`

	// ConnectionsOpen are the TCP connections that are open now: those that
	// are forwarded as bytes.
	ConnectionsOpen int64 `json:"connectionsOpen"`

	// Total is what was counted since Since, Recent in the window.
	Total  Counts `json:"total"`
	Recent Counts `json:"recent"`
}

// Service is what traffic is for.
type Service struct {
	Host      string `json:"host"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// Counts are counts, and what follows from them. What cannot be said is null: the
// success rate of no requests.
type Counts struct {
	Requests          uint64   `json:"requests"`
	RequestsFailed    uint64   `json:"requestsFailed"`
	SuccessRate       *float64 `json:"successRate"` // from 0 to 1
	RequestsPerSecond float64  `json:"requestsPerSecond"`

	P50 *float64 `json:"p50Ms"`
	P95 *float64 `json:"p95Ms"`
	P99 *float64 `json:"p99Ms"`

	ConnectionsOpened    uint64  `json:"connectionsOpened"`
	ConnectionsFailed    uint64  `json:"connectionsFailed"`
	ConnectionsPerSecond float64 `json:"connectionsPerSecond"`

	// Of requests it is the bodies, once a request is over.
	BytesSent              uint64  `json:"bytesSent"`
	BytesReceived          uint64  `json:"bytesReceived"`
	BytesSentPerSecond     float64 `json:"bytesSentPerSecond"`
	BytesReceivedPerSecond float64 `json:"bytesReceivedPerSecond"`
}

// Direction is that of a connection, seen from our application.
type Direction string

// The directions.
const (
	Inbound  Direction = "inbound"
	Outbound Direction = "outbound"
)

func directionOf(r metrics.Reporter) Direction {
	if r == metrics.Source {
		return Outbound
	}
	return Inbound
}

// ReadStat reads the overview. Who asks first waits a second; it fails only if ctx
// ends then.
func ReadStat(ctx context.Context, record *metrics.Recorder, overview *metrics.Overview, window time.Duration) (*Stat, error) {
	state, err := overview.Read(ctx, window)
	if err != nil {
		return nil, err
	}
	s := &Stat{
		Time: state.At.UTC(), WindowSeconds: state.Window.Seconds(),
		Self: selfOf(record, record.Own()), Edges: make([]Edge, 0, len(state.Edges)),
	}
	for i := range state.Edges {
		s.Edges = append(s.Edges, edgeOf(&state.Edges[i], &state))
	}
	slices.SortFunc(s.Edges, func(a, b Edge) int { return a.compare(&b) })
	if len(s.Edges) > MaxEdges {
		s.Edges, s.Truncated = s.Edges[:MaxEdges], true
	}
	return s, nil
}

// compare orders edges: inbound first, then the busiest, then by what they are.
func (e *Edge) compare(other *Edge) int {
	return cmp.Or(
		cmp.Compare(e.Direction, other.Direction),
		cmp.Compare(other.Recent.RequestsPerSecond, e.Recent.RequestsPerSecond),
		cmp.Compare(other.Recent.BytesSentPerSecond+other.Recent.BytesReceivedPerSecond, e.Recent.BytesSentPerSecond+e.Recent.BytesReceivedPerSecond),
		cmp.Compare(e.Peer.SPIFFEID, other.Peer.SPIFFEID), cmp.Compare(e.Peer.Workload, other.Peer.Workload),
		cmp.Compare(e.Service.Host, other.Service.Host), cmp.Compare(e.Protocol, other.Protocol),
	)
}

func edgeOf(s *metrics.EdgeState, of *metrics.State) Edge {
	const overflow, unknown = "overflow", "unknown"
	e := Edge{
		Direction: directionOf(s.Reporter), Protocol: s.Protocol, Detected: printable.Text(string(s.Detected)),
		Overflow: s.Principal == overflow, Since: s.Since.UTC(), LastUsed: s.LastUsed.UTC(), ConnectionsOpen: s.Open,
		Service: Service{Host: known(s.Service.Host), Name: known(s.Service.Name), Namespace: known(s.Service.Namespace)},
		Total:   countsOf(&s.Total, of.At.Sub(s.Since)), Recent: countsOf(&s.Recent, of.Window),
	}
	e.Peer = Workload{Names: namesOf(&s.Names), Security: SecurityNone, Provenance: provenanceNone, Aware: s.Aware}
	if s.Plaintext {
		e.Peer.Security, e.Peer.Provenance = SecurityPlaintext, provenancePlaintext
	}
	if s.Secured {
		e.Peer.Security, e.Peer.Provenance = SecurityMutualTLS, s.Provenance.String()
	}
	if s.Secured && !e.Overflow && s.Principal != unknown {
		e.Peer.SPIFFEID = s.Principal
		e.Peer.Attributes = attributesOf(s.Attributes)
	}
	return e
}

// known leaves out what is not.
func known(text string) string {
	if text == "unknown" {
		return ""
	}
	return text
}

func countsOf(c *metrics.Counts, over time.Duration) Counts {
	perSecond := func(n uint64) float64 {
		if over <= 0 {
			return 0
		}
		return float64(n) / over.Seconds()
	}
	return Counts{
		Requests: c.Requests, RequestsFailed: c.FailedRequests, RequestsPerSecond: perSecond(c.Requests),
		SuccessRate: successRate(c.Requests, c.FailedRequests),
		P50:         quantile(c.Durations, 0.50), P95: quantile(c.Durations, 0.95), P99: quantile(c.Durations, 0.99),
		ConnectionsOpened: c.Connections, ConnectionsFailed: c.FailedConnections, ConnectionsPerSecond: perSecond(c.Connections),
		BytesSent: c.Sent, BytesReceived: c.Received,
		BytesSentPerSecond: perSecond(c.Sent), BytesReceivedPerSecond: perSecond(c.Received),
	}
}

// successRate returns the share that did not fail, or nil of none. What failed may
// have been read a moment later than all.
func successRate(all, failed uint64) *float64 {
	if all == 0 {
		return nil
	}
	return new(1 - float64(min(failed, all))/float64(all))
}

// quantile returns a quantile in milliseconds, to the microsecond, or nil of
// nothing.
func quantile(d metrics.Distribution, q float64) *float64 {
	value := d.Quantile(q)
	if math.IsNaN(value) {
		return nil
	}
	return new(math.Round(value*1000) / 1000)
}
