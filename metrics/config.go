package metrics

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Defaults of a [Config].
const (
	// DefaultMaxCombinations bounds the combinations of labels that traffic
	// is counted under: each is a handful of series.
	DefaultMaxCombinations = 2000

	// DefaultIdleExpiry is how long a combination without a connection is
	// kept.
	DefaultIdleExpiry = time.Hour
)

// Config is what a [Recorder] is made of. The zero value works: without an
// identity there is no trust domain whose attributes are believed, and every
// name is "unknown".
type Config struct {
	// Version and Revision are those of the program, for the build
	// information.
	Version, Revision string

	// Identity is who this workload is. It fills the labels of our own end and
	// the expiry metrics, and its trust domain is the one whose attributes
	// fill standard labels. A source with a method Err() error, such as
	// [identity.Store], is asked whether it can refresh. Nil is no identity.
	Identity identity.Source

	// Linkerd exports TCP traffic under linkerd's names as well.
	Linkerd bool

	// Sinks are told of every connection, in order.
	Sinks []Sink

	// Spans returns what became of spans. It is called for each scrape. Nil
	// means that there are none.
	Spans func() SpanCounts

	// Rules say how labels are filled. They can be changed later, see
	// [Recorder.Apply].
	Rules
}

// Rules say how labels are filled, and how many combinations of them there may
// be. The zero value works.
type Rules struct {
	// Templates and Attested say how our own end is judged, as in
	// [tlsctx.Policy]: by the same rules as a peer, so that both ends report
	// a workload under one name.
	Templates tlsctx.Templates
	Attested  []spiffeid.TrustDomain

	// MinProvenance is the least provenance at which an attribute fills a
	// standard label; 0 means [tlsctx.Verified]. [tlsctx.Asserted] believes
	// every workload in what it says of itself.
	MinProvenance tlsctx.Provenance

	// Foreign lists the other trust domains whose attributes may fill standard
	// labels. Of any other, only the principal is told.
	Foreign []spiffeid.TrustDomain

	// Cluster is the cluster of the workloads of our own trust domain of which
	// no attribute says it; "" leaves their label out. Kiali shows nothing
	// that has a namespace and is in no cluster it has heard of.
	Cluster string

	// Labels says which attributes fill which label; nil means
	// [DefaultLabels].
	Labels Labels

	// MaxCombinations bounds the combinations of labels that traffic is
	// counted under; 0 means [DefaultMaxCombinations]. What comes later is
	// counted under "overflow".
	MaxCombinations int

	// IdleExpiry is how long a combination that no connection uses is kept; 0
	// means [DefaultIdleExpiry], negative for ever.
	IdleExpiry time.Duration
}

// rules are Rules in force: complete, and turned round for looking up.
type rules struct {
	Rules
	uses    map[string][]use
	foreign map[spiffeid.TrustDomain]bool
}

func (r Rules) prepare() (*rules, error) {
	if r.MinProvenance == 0 {
		r.MinProvenance = tlsctx.Verified
	}
	if r.Labels == nil {
		r.Labels = DefaultLabels()
	}
	if r.MaxCombinations <= 0 {
		r.MaxCombinations = DefaultMaxCombinations
	}
	if r.IdleExpiry == 0 {
		r.IdleExpiry = DefaultIdleExpiry
	}
	if err := r.Labels.Validate(); err != nil {
		return nil, err
	}
	ready := &rules{Rules: r, uses: r.Labels.uses(), foreign: make(map[spiffeid.TrustDomain]bool)}
	for _, td := range r.Foreign {
		ready.foreign[td] = true
	}
	return ready, nil
}
