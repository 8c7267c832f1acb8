// Package metrics records what happened, once per connection and once per
// request, and tells whoever asks: Prometheus by the names that existing dashboards read, and the sinks
// that the packages below this one provide, such as the access log.
//
// The forwarding code opens a guard, [Recorder.OpenConnection], and closes it,
// [Connection.Close]; in between it adds to two atomic counters. What the labels
// say is settled when the guard opens, and looked up once for every combination
// of peer, service and security, not once a connection. For requests it keeps a
// [Requests] for each session or route; [Requests.Record] costs a tenth of a
// microsecond.
//
// No label lies. A principal comes from the TLS handshake alone; the labels that
// are named after workloads take what is attested or verified, and what a
// workload merely asserts only where the operator has said so; what is not known
// is "unknown". No peer can make the number of series grow without bound.
//
// The package never decides anything, never fails the caller, never blocks on a
// disk or a network, holds no global registry, and knows no stage of the proxy.
package metrics
