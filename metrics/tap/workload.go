package tap

import (
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Workload is one end of a connection.
type Workload struct {
	// SPIFFEID is from TLS alone; it is absent in plaintext, and for one that
	// was not reached.
	SPIFFEID string `json:"spiffeId,omitempty"`

	Names

	// Security is how the network is crossed to it. Of ourselves it is
	// mutual_tls if we have an identity.
	Security Security `json:"security"`

	// Provenance says how far its name is to be believed: attested, verified,
	// asserted or none; or plaintext.
	Provenance string `json:"provenance"`

	// Aware says that it has sent a handshake context.
	Aware bool `json:"aware"`

	// NotAfter is when its certificate expires. It is given of ourselves alone.
	NotAfter *time.Time `json:"notAfter,omitempty"`

	// Attributes are what is known of it, sorted by name.
	Attributes []Attribute `json:"attributes,omitempty"`
}

// Names are those of a workload, as the labels of metrics have them. What is not
// known is absent.
type Names struct {
	Workload  string `json:"workload,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	App       string `json:"app,omitempty"`
	Version   string `json:"version,omitempty"`
	Cluster   string `json:"cluster,omitempty"`
}

// Attribute is a fact about a workload, and how far it is to be believed:
// attested, verified or asserted.
type Attribute struct {
	Name       string `json:"name"`
	Value      string `json:"value"`
	Provenance string `json:"provenance"`
}

// Security is how the network is crossed.
type Security string

// How the network is crossed.
const (
	SecurityMutualTLS Security = "mutual_tls"
	SecurityPlaintext Security = "plaintext"
	SecurityNone      Security = "none" // nobody was reached
)

// Values of Provenance that no attribute has.
const (
	provenanceNone      = "none"
	provenancePlaintext = "plaintext"
)

// workloadOf says what is known of a peer, or of ourselves; nil is nobody.
func workloadOf(record Namer, p *tlsctx.Peer) Workload {
	switch {
	case p == nil:
		return Workload{Security: SecurityNone, Provenance: provenanceNone}
	case !p.Secured():
		return Workload{Security: SecurityPlaintext, Provenance: provenancePlaintext}
	}
	names := record.Names(p)
	return Workload{
		SPIFFEID: p.ID.String(), Names: namesOf(&names), Security: SecurityMutualTLS,
		Provenance: names.Provenance.String(), Aware: p.Aware, Attributes: attributesOf(p.Attributes),
	}
}

// selfOf says who we are.
func selfOf(record Namer, own *tlsctx.Peer) Workload {
	self := workloadOf(record, own)
	self.Aware = own != nil // what we send says so
	return self
}

// Namer names workloads, as [metrics.Recorder] does.
type Namer interface {
	Names(p *tlsctx.Peer) metrics.Names
}

func namesOf(n *metrics.Names) Names {
	return Names{Workload: n.Workload, Namespace: n.Namespace, App: n.App, Version: n.Version, Cluster: n.Cluster}
}

func attributesOf(all tlsctx.Attributes) []Attribute {
	shown := make([]Attribute, 0, len(all))
	for _, a := range all {
		shown = append(shown, Attribute{a.Name, printable.Text(a.Value), a.Provenance.String()})
	}
	return shown
}
