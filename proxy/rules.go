package proxy

import (
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/metrics"
)

// rules say how the plan's metrics fill their labels, for a member of the trust
// domain.
func (pl *plan) rules(own spiffeid.TrustDomain) metrics.Rules {
	m := &pl.config.Proxy.Spec.Metrics
	expiry := m.IdleExpiry
	if expiry == 0 {
		expiry = -1 // for ever
	}
	return metrics.Rules{
		Templates: pl.judge(own).templates, Attested: pl.attested, MinProvenance: m.MinProvenance,
		Foreign: pl.labelled(), Cluster: m.Cluster,
		Labels: metrics.Labels{
			metrics.LabelWorkload:          m.Labels.Workload,
			metrics.LabelWorkloadNamespace: m.Labels.Namespace,
			metrics.LabelApp:               m.Labels.App,
			metrics.LabelVersion:           m.Labels.Version,
			metrics.LabelCluster:           m.Labels.Cluster,
			metrics.LabelCanonicalService:  m.Labels.CanonicalService,
			metrics.LabelCanonicalRevision: m.Labels.CanonicalRevision,
		},
		MaxCombinations: m.MaxSeries,
		IdleExpiry:      expiry,
	}
}

// labelled returns the trust domains whose attributes may become labels.
func (pl *plan) labelled() []spiffeid.TrustDomain {
	var labelled []spiffeid.TrustDomain
	for _, td := range pl.config.Proxy.Spec.TrustDomains {
		if td.Labels {
			labelled = append(labelled, td.Name)
		}
	}
	return labelled
}
