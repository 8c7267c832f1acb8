// Package trace makes spans of requests and connections, by OpenTelemetry's SDK,
// and sends them to a collector by OTLP.
//
// The forwarding code asks a [Tracer] when a request's head has been read
// ([Tracer.Request]) and before a connection is opened ([Tracer.Connection]). The
// answer is the trace context that the rest of the way belongs to and, if it is
// sampled, what becomes a span when the recorder is told of the end: everything
// that the span says, who called whom above all, is what package metrics records.
//
// Whether a request is sampled is decided where its trace begins; one that comes
// with a traceparent that says no costs no allocation, and none of its fields is
// touched. Contexts are read and written by OpenTelemetry's propagators.
//
// The package never blocks the caller: spans that the collector does not take in
// time are dropped and counted. It never reads a message's content, sets no
// global of OpenTelemetry's, and knows no stage of the proxy.
package trace
