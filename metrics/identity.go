package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hallmark-mesh/hallmark/identity"
)

// identityCollector asks the identity's source at every scrape: nothing has to
// be pushed when a certificate rotates.
type identityCollector struct {
	source                             identity.Source
	ready, up, generation, svid, trust *prometheus.Desc
}

func newIdentityCollector(source identity.Source) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &identityCollector{
		source: source,
		ready:  desc("hallmark_identity_ready", "Whether there is an SVID to present (1) or not (0)."),
		up:     desc("hallmark_identity_source_up", "Whether the source of identities can refresh (1), or is away and the last identity goes on (0)."),
		generation: desc("hallmark_identity_generation",
			"Generation of the identity in force: it grows with every rotation of the SVID, the bundles or the attributes."),
		svid: desc("hallmark_svid_expiry_timestamp_seconds", "When the own SVID expires, in seconds since 1970."),
		trust: desc("hallmark_bundle_expiry_timestamp_seconds",
			"When the last authority of a trust domain's bundle expires, in seconds since 1970.", "trust_domain"),
	}
}

// Describe implements prometheus.Collector.
func (c *identityCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.ready, c.up, c.generation, c.svid, c.trust} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Without a source there is nothing to
// tell.
func (c *identityCollector) Collect(ch chan<- prometheus.Metric) {
	if c.source == nil {
		return
	}
	set := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	snapshot, err := c.source.Snapshot()
	trouble := err
	if s, ok := c.source.(interface{ Err() error }); ok {
		trouble = s.Err()
	}
	set(c.ready, boolean(err == nil))
	set(c.up, boolean(trouble == nil))
	if err != nil {
		return
	}
	set(c.generation, float64(snapshot.Generation))
	set(c.svid, seconds(snapshot.NotAfter()))
	for _, bundle := range snapshot.Bundles.Bundles() {
		var last time.Time
		for _, authority := range bundle.X509Authorities() {
			if authority.NotAfter.After(last) {
				last = authority.NotAfter
			}
		}
		if !last.IsZero() {
			set(c.trust, seconds(last), bundle.TrustDomain().Name())
		}
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
