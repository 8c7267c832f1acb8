package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Label is a standard label of a workload, without the prefix source_ or
// destination_.
type Label string

// The labels that attributes fill.
const (
	LabelWorkload          Label = "workload"
	LabelWorkloadNamespace Label = "workload_namespace"
	LabelApp               Label = "app"
	LabelVersion           Label = "version"
	LabelCluster           Label = "cluster"
	LabelCanonicalService  Label = "canonical_service"
	LabelCanonicalRevision Label = "canonical_revision"
)

// slots are the labels in the order in which a party holds their values.
const (
	slotCount     = 7
	namespaceSlot = 1
	clusterSlot   = 4
)

func slots() [slotCount]Label {
	return [...]Label{
		LabelWorkload, LabelWorkloadNamespace, LabelApp, LabelVersion, LabelCluster,
		LabelCanonicalService, LabelCanonicalRevision,
	}
}

// Labels says which attributes fill a label: of those that are known with
// enough provenance, the first of the list.
type Labels map[Label][]string

// DefaultLabels returns the table for OpenTelemetry's resource attributes. At
// the end of a workload's name stands its service account, which is what a
// SPIFFE ID implies where nothing else is known.
func DefaultLabels() Labels {
	workload := []string{
		"k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "k8s.cronjob.name", "k8s.job.name",
		"service.name", "k8s.service_account.name",
	}
	service := []string{
		"service.name", "k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "k8s.service_account.name",
	}
	return Labels{
		LabelWorkload:          workload,
		LabelWorkloadNamespace: {"k8s.namespace.name", "service.namespace"},
		LabelApp:               service,
		LabelVersion:           {"service.version"},
		LabelCluster:           {"k8s.cluster.name"},
		LabelCanonicalService:  service,
		LabelCanonicalRevision: {"service.version"},
	}
}

// Validate reports a label that there is not, or a name that no attribute has.
func (l Labels) Validate() error {
	all := slots()
	for _, label := range slices.Sorted(maps.Keys(l)) {
		if !slices.Contains(all[:], label) {
			return fmt.Errorf("metrics: labels: no label %q: use one of %q", label, all)
		}
		for _, name := range l[label] {
			if err := identity.ValidateAttributeName(name); err != nil {
				return fmt.Errorf("metrics: labels: %s: %w", label, err)
			}
		}
	}
	return nil
}

// unknown and overflow are the values of what is not known, and of what there
// are too many of.
const (
	unknown  = "unknown"
	overflow = "overflow"
)

// use is one entry of the table turned round: an attribute fills a slot, unless
// one of a lower rank does.
type use struct{ slot, rank int }

// uses turns the table round.
func (l Labels) uses() map[string][]use {
	uses := make(map[string][]use)
	for slot, label := range slots() {
		for rank, name := range l[label] {
			if !slices.ContainsFunc(uses[name], func(u use) bool { return u.slot == slot }) {
				uses[name] = append(uses[name], use{slot, rank})
			}
		}
	}
	return uses
}

// identityLabels are the values of one end's labels; they are its key.
type identityLabels struct {
	values    [slotCount]string
	principal string
}

func allLabels(value string) identityLabels {
	l := identityLabels{principal: value}
	for i := range l.values {
		l.values[i] = value
	}
	if value == unknown { // Kiali ignores whatever has a namespace and says that it does not know the cluster
		l.values[clusterSlot] = ""
	}
	return l
}

// settle fills in the cluster that nothing was known of.
func (l *identityLabels) settle(cluster string) {
	if l.values[clusterSlot] == "" && cluster != "" {
		l.values[clusterSlot] = clean(cluster)
	}
}

// resolve returns the labels of an end of which peer says who it is; nil is
// nobody. believed says whether its attributes may fill labels.
func (r *rules) resolve(peer *tlsctx.Peer, believed bool) identityLabels {
	l := allLabels(unknown)
	if peer == nil || !peer.Secured() {
		return l
	}
	l.principal = peer.ID.String() // printable ASCII, and cut short it would be another
	if !believed {
		return l
	}
	var ranks [slotCount]int // plus one; 0 is none yet
	for i := range peer.Attributes {
		a := &peer.Attributes[i]
		if a.Provenance < r.MinProvenance {
			continue
		}
		for _, u := range r.uses[a.Name] {
			if ranks[u.slot] == 0 || u.rank+1 < ranks[u.slot] {
				ranks[u.slot], l.values[u.slot] = u.rank+1, clean(a.Value)
			}
		}
	}
	return l
}

// maxLabelValue bounds a label's value, in bytes.
const maxLabelValue = 255

// clean makes a value fit for a label, whatever it is: bounded, valid UTF-8,
// printable, and never empty, which Prometheus takes for absent.
func clean(value string) string {
	if value == "" {
		return unknown
	}
	if isClean(value) {
		return value
	}
	value = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, value)
	if len(value) > maxLabelValue {
		value = strings.ToValidUTF8(value[:maxLabelValue], "")
	}
	return value
}

// isClean is the quick answer for what is almost always the case.
func isClean(value string) bool {
	if len(value) > maxLabelValue {
		return false
	}
	for i := range len(value) {
		if value[i] < 0x20 || value[i] > 0x7e {
			return false
		}
	}
	return true
}
