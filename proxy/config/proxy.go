package config

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/metrics/accesslog/line"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Proxy holds the settings of the whole process. There is at most one; without
// one, all defaults hold.
type Proxy struct {
	Metadata
	Spec ProxySpec
}

// ProxySpec is the spec of a [Proxy].
type ProxySpec struct {
	// Identity says where the own identity comes from.
	Identity Identity `json:"identity"`

	// Attributes are attributes of this workload, beside those that are found
	// out by themselves, and overruling them.
	Attributes map[string]string `json:"attributes" form:"value"`

	// TrustDomains say what is known of trust domains, the own one included.
	TrustDomains []TrustDomain `json:"trustDomains"`

	// Disclosure says which of the own attributes peers are told.
	Disclosure Disclosure `json:"disclosure"`

	// Timeouts bound how long things may take. 0 means no bound, where it is
	// allowed.
	Timeouts Timeouts `json:"timeouts"`

	// KeepAlive finds peers that have vanished. 0 leaves the system's setting.
	KeepAlive KeepAlive `json:"keepAlive"`

	// Limits bound what can be open or in progress at once. 0 means no bound,
	// where it is allowed.
	Limits Limits `json:"limits"`

	// Sessions says how connections to peers are kept.
	Sessions Sessions `json:"sessions"`

	// Detection says how protocols are detected.
	Detection Detection `json:"detection"`

	// HTTP says how requests are relayed.
	HTTP HTTP `json:"http"`

	// Metrics says what is served to Prometheus.
	Metrics Metrics `json:"metrics"`

	// Tracing says which requests and connections become spans, and where
	// those go.
	Tracing Tracing `json:"tracing"`

	// AccessLog says how connections and requests are logged, one line each.
	AccessLog AccessLog `json:"accessLog"`

	// Log says how the process logs its own doings, to standard error.
	Log Log `json:"log"`

	// Admin is the operator's port, on loopback or for known identities. What it
	// serves changes nothing.
	Admin Admin `json:"admin"`
}

// Identity says where the own identity comes from: the SPIFFE Workload API, or
// files.
type Identity struct {
	// WorkloadAPI is the address of the SPIFFE Workload API, such as
	// unix:///run/spire/agent.sock. Empty means the environment variable
	// SPIFFE_ENDPOINT_SOCKET.
	WorkloadAPI string `json:"workloadAPI" form:"workload-api"`

	// SPIFFEID chooses among several SVIDs. Empty means the first.
	SPIFFEID spiffeid.ID `json:"spiffeID"`

	// Hint chooses among several SVIDs by their hint. Empty means the first.
	Hint string `json:"hint"`

	// Files are PEM files to use instead of the Workload API. They are watched.
	Files IdentityFiles `json:"files"`
}

// IdentityFiles are PEM files with an identity: all of certificate, key and
// bundle, or none.
type IdentityFiles struct {
	// Certificate holds the X.509-SVID, leaf first, then intermediates.
	Certificate string `json:"certificate" form:"file"`

	// Key holds the private key, in PKCS #8.
	Key string `json:"key" form:"file"`

	// Bundle holds the authorities of the own trust domain.
	Bundle string `json:"bundle" form:"file"`

	// Federated are bundles of other trust domains.
	Federated []FederatedBundle `json:"federated"`
}

// FederatedBundle is the file with the authorities of a foreign trust domain.
type FederatedBundle struct {
	// TrustDomain is the trust domain's name, such as other.example.
	TrustDomain spiffeid.TrustDomain `json:"trustDomain" check:"required"`

	// Bundle is the file, in PEM.
	Bundle string `json:"bundle" check:"required" form:"file"`
}

// TrustDomain says what is known of a trust domain.
type TrustDomain struct {
	// Name is the trust domain, such as example.org.
	Name spiffeid.TrustDomain `json:"name" check:"required"`

	// Templates say which attributes a SPIFFE ID's path states, such as
	// /ns/{k8s.namespace.name}/sa/{k8s.service_account.name}. The first that
	// matches counts. For the own trust domain, while none is given, that
	// example holds; others have none.
	Templates []tlsctx.Template `json:"templates"`

	// Attested says that attributes signed into its SVIDs are honoured. Say so
	// only of a CA that signs attributes which it knows, and not what a
	// request for a certificate asks for.
	Attested bool `json:"attested"`

	// Labels says that attributes of its workloads may become labels of
	// metrics. Those of the own trust domain may in any case; of others only
	// the SPIFFE ID is told otherwise, for their namespaces are not ours.
	Labels bool `json:"labels"`
}

// Disclosure says which of the own attributes peers are told, beside what the
// SPIFFE ID says anyway. "*" stands for all.
type Disclosure struct {
	// Public are the attributes told to whoever can connect: a server speaks
	// first in the handshake.
	Public []string `json:"public" form:"disclosed"`

	// To are the attributes told to servers, once they are authenticated and
	// expected, by their trust domain. The own trust domain is told everything
	// while it is not listed, others nothing.
	To []DisclosureTo `json:"to"`
}

// DisclosureTo says what servers of a trust domain are told.
type DisclosureTo struct {
	// TrustDomain is the trust domain's name.
	TrustDomain spiffeid.TrustDomain `json:"trustDomain" check:"required"`

	// Attributes are the names, or "*".
	Attributes []string `json:"attributes" form:"disclosed"`
}

// Timeouts bound how long things may take. 0 means no bound, where a field
// allows it.
type Timeouts struct {
	// Dial bounds establishing a TCP connection, all addresses of a name
	// together.
	Dial time.Duration `json:"dial" default:"5s" check:"positive"`

	// Handshake bounds the TLS handshake.
	Handshake time.Duration `json:"handshake" default:"10s" check:"positive"`

	// ProxyHeader bounds the wait for an expected PROXY protocol header.
	ProxyHeader time.Duration `json:"proxyHeader" default:"5s" check:"positive"`

	// Idle bounds how long a connection may carry no bytes in either
	// direction. 0 means for ever.
	Idle time.Duration `json:"idle" default:"0s"`

	// HalfOpen bounds how long a connection of which one direction has ended
	// may carry no bytes in the other. 0 means for ever.
	HalfOpen time.Duration `json:"halfOpen" default:"1h"`

	// Drain bounds how long connections may go on after the process was told
	// to end, or their listener removed.
	Drain time.Duration `json:"drain" default:"30s"`
}

// KeepAlive finds peers that have vanished, on every TCP connection. 0 leaves
// the system's setting.
type KeepAlive struct {
	// Idle is how long a connection may be idle before it is probed.
	Idle time.Duration `json:"idle" default:"30s"`

	// Interval is the time between probes.
	Interval time.Duration `json:"interval" default:"10s"`

	// Count is how many probes go unanswered before the connection is given
	// up.
	Count int `json:"count" default:"6"`

	// UserTimeout is how long sent data may go unacknowledged (RFC 5482). It
	// also ends connections whose reader has paused for so long, even if the
	// other end answers. Linux only, and not on loopback.
	UserTimeout time.Duration `json:"userTimeout" default:"15m"`
}

// Limits bound what can be open or in progress at once. 0 means no bound, where
// it is allowed.
type Limits struct {
	// Connections bounds the open connections of each listener. Further ones
	// wait in the listen queue.
	Connections int `json:"connections" default:"10000"`

	// Handshakes bounds the inbound handshakes in progress.
	Handshakes int `json:"handshakes" default:"1024"`

	// HandshakesPerSource bounds those of them that come from one address. Up to
	// four times as many wait their turn, within the time for a handshake.
	HandshakesPerSource int `json:"handshakesPerSource" default:"256"`

	// StreamsPerSession bounds the streams of one session, at most 1048576.
	// Another session is opened when it is full.
	StreamsPerSession int `json:"streamsPerSession" default:"1024" check:"positive"`

	// HTTP2 bounds what an HTTP/2 connection's peer may do to keep us busy.
	HTTP2 HTTP2Limits `json:"http2"`

	// Speculations bounds, for each target, the connections opened while
	// nobody has spoken yet.
	Speculations int `json:"speculations" default:"64" check:"positive"`

	// Memory bounds the Go runtime's memory (GOMEMLIMIT), such as 256Mi. 0
	// means nine tenths of the cgroup's limit. The environment variable
	// GOMEMLIMIT goes before either.
	Memory Quantity `json:"memory" default:"0"`
}

// Sessions says how connections to peers are kept.
type Sessions struct {
	// Kind is the kind of session for an Outbound that says none. Auto chooses
	// by what is carried.
	Kind Session `json:"kind" default:"Auto"`

	// Idle is how long a session without streams is kept. 0 means as long as
	// it may be.
	Idle time.Duration `json:"idle" default:"5m"`

	// MaxAge is how long a session takes new streams. 0 means as long as its
	// certificates last.
	MaxAge time.Duration `json:"maxAge" default:"1h"`
}

// Detection says how protocols are detected.
type Detection struct {
	// Grace is how long a client that has said nothing is waited for before
	// the upstream connection is opened on speculation.
	Grace time.Duration `json:"grace" default:"5ms" check:"positive"`

	// Settle is how long the beginning of something, such as half a request
	// line, may stand still before it counts as opaque bytes.
	Settle time.Duration `json:"settle" default:"100ms" check:"positive"`
}

// Metrics says what is served to Prometheus.
type Metrics struct {
	// Listen is the TCP address of /metrics, /healthz and /readyz, [IP]:port.
	// Empty means not to serve them.
	Listen string `json:"listen" form:"listen"`

	// MinProvenance says how far an attribute must be believed to become a
	// label: asserted, verified or attested. With asserted, a label is any
	// peer's own word.
	MinProvenance tlsctx.Provenance `json:"minProvenance" default:"verified"`

	// Labels say which attributes become which labels, for the source and for
	// the destination alike: of those listed the first that is known counts.
	Labels Labels `json:"labels"`

	// Cluster is the cluster of the workloads of the own trust domain of which
	// no attribute says it. Empty leaves the labels source_cluster and
	// destination_cluster out.
	Cluster string `json:"cluster"`

	// LinkerdNames adds the names of metrics that linkerd uses.
	LinkerdNames bool `json:"linkerdNames"`

	// MaxSeries bounds the combinations of labels of each metric. What is
	// beyond is counted under an overflow value.
	MaxSeries int `json:"maxSeries" default:"2000" check:"positive"`

	// IdleExpiry is how long a series is kept that does not change. 0 means
	// for ever.
	IdleExpiry time.Duration `json:"idleExpiry" default:"1h"`
}

// Labels say, for the source and for the destination alike, which attributes
// become which labels of the standard metrics: for each label attribute names,
// of which the first that is known counts.
type Labels struct {
	// Workload becomes source_workload and destination_workload.
	Workload []string `json:"workload" default:"k8s.deployment.name,k8s.statefulset.name,k8s.daemonset.name,k8s.cronjob.name,k8s.job.name,service.name,k8s.service_account.name" form:"attribute"`

	// Namespace becomes source_workload_namespace and
	// destination_workload_namespace.
	Namespace []string `json:"namespace" default:"k8s.namespace.name,service.namespace" form:"attribute"`

	// CanonicalService becomes source_canonical_service and
	// destination_canonical_service.
	CanonicalService []string `json:"canonicalService" default:"service.name,k8s.deployment.name,k8s.statefulset.name,k8s.daemonset.name,k8s.service_account.name" form:"attribute"`

	// CanonicalRevision becomes source_canonical_revision and
	// destination_canonical_revision.
	CanonicalRevision []string `json:"canonicalRevision" default:"service.version" form:"attribute"`

	// App becomes source_app and destination_app.
	App []string `json:"app" default:"service.name,k8s.deployment.name,k8s.statefulset.name,k8s.daemonset.name,k8s.service_account.name" form:"attribute"`

	// Version becomes source_version and destination_version.
	Version []string `json:"version" default:"service.version" form:"attribute"`

	// Cluster becomes source_cluster and destination_cluster.
	Cluster []string `json:"cluster" default:"k8s.cluster.name" form:"attribute"`
}

// AccessLog says how connections and requests are logged, one line each.
type AccessLog struct {
	// Output is where the lines go: stdout, stderr, none, or a file.
	Output string `json:"output" default:"stdout" check:"required" form:"file"`

	// Format is how a line is written: JSON for machines, Console for people.
	Format LogFormat `json:"format" default:"JSON"`

	// Lines say how lines are written in place of the format.
	Lines Lines `json:"lines"`

	// Level is the least of what is logged: connections and requests that went
	// well are Info, refused, broken and failed ones Warn.
	Level LogLevel `json:"level" default:"Info"`

	// Requests says which requests of HTTP are logged: All, None, or Failed,
	// which are those that the proxy had to answer itself, that the application
	// failed to, and the slow ones.
	Requests LoggedRequests `json:"requests" default:"Failed"`

	// SlowerThan is how long a request must have taken to be logged for being
	// slow, and not to be sampled. 0 takes none for slow.
	SlowerThan time.Duration `json:"slowerThan" default:"0s"`

	// Sampling thins out the lines of what went well.
	Sampling Sampling `json:"sampling"`
}

// Lines are made of text and of Envoy's operators between percent signs, such as
// %START_TIME% %REQ(:METHOD)% %RESPONSE_CODE%; what there is nothing of is -.
type Lines struct {
	// Connections is the line of a connection that has ended. Empty means by
	// the format.
	Connections line.Line `json:"connections"`

	// Requests is the line of a request of HTTP. Empty means by the format.
	Requests line.Line `json:"requests"`
}

// Sampling thins out lines: of those in a period, the first are logged, then
// one of every so many.
type Sampling struct {
	// First is how many lines of a period are logged in any case. 0 means
	// all, without sampling.
	First int `json:"first" default:"0"`

	// Thereafter is how many lines one that is logged stands for once First is
	// reached. 0 drops them.
	Thereafter int `json:"thereafter" default:"0"`

	// Period is when counting starts anew.
	Period time.Duration `json:"period" default:"1s" check:"positive"`
}

// Log says how the process logs its own doings, to standard error.
type Log struct {
	// Format is how a line is written: JSON for machines, Console for people.
	Format LogFormat `json:"format" default:"JSON"`

	// Level is the least of what is logged.
	Level LogLevel `json:"level" default:"Info"`
}

// Admin is the operator's port. What is served there changes nothing, and is not
// for everybody: on loopback it can be read by whoever can connect, elsewhere only
// by those who are allowed.
type Admin struct {
	// Listen is the TCP address, [IP]:port. Without allow, the IP must be one of
	// loopback. Empty means not to serve it.
	Listen string `json:"listen" form:"listen"`

	// Allow lists who may look. With it the port is served over mutual TLS only,
	// with this workload's identity, on loopback as well. Empty means plain HTTP.
	Allow []Expectation `json:"allow"`

	// PProf serves Go's profiles as well.
	PProf bool `json:"pprof"`
}
