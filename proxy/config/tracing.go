package config

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Tracing says which requests and connections become spans, and where those go.
// What is empty is taken from OpenTelemetry's standard environment variables.
type Tracing struct {
	// Endpoint is the URL of the collector, such as https://collector:4317, or
	// with http for plaintext. Empty means OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
	// or OTEL_EXPORTER_OTLP_ENDPOINT; without either nothing is traced.
	Endpoint string `json:"endpoint"`

	// Protocol is how spans are sent: GRPC, or HTTP, which is protobuf over
	// HTTP. Empty means OTEL_EXPORTER_OTLP_PROTOCOL, or GRPC.
	Protocol TracingProtocol `json:"protocol"`

	// TLS says whom to trust and what to show where the endpoint begins with
	// https.
	TLS TracingTLS `json:"tls"`

	// HeadersFile is a file with fields to send along, such as an API key: one
	// in a line, name: value. It is read when the process starts and with each
	// reload. Empty means OTEL_EXPORTER_OTLP_HEADERS.
	HeadersFile string `json:"headersFile" form:"file"`

	// Timeout is how long sending a batch may take. 0 means
	// OTEL_EXPORTER_OTLP_TIMEOUT, or 10s.
	Timeout time.Duration `json:"timeout"`

	// Ratio is how many of the traces that begin here are sampled, from 0 to 1;
	// what comes with a trace context is sampled as that says. Empty means
	// OTEL_TRACES_SAMPLER and its argument, or 0.01.
	Ratio Ratio `json:"ratio"`

	// Propagators are the forms of trace contexts: the first that a request has
	// is read, and all are written. Empty means OTEL_PROPAGATORS, or
	// tracecontext and baggage.
	Propagators []Propagator `json:"propagators"`

	// Query records the queries of URLs as well, but for what looks like a
	// credential.
	Query bool `json:"query" default:"false"`

	// Batch bounds what waits to be sent.
	Batch TracingBatch `json:"batch"`
}

// TracingTLS says whom to trust and what to show to a collector. Empty means
// OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY.
type TracingTLS struct {
	// CA holds the authorities of the collector, in PEM. Empty means the
	// system's.
	CA string `json:"ca" form:"file"`

	// Certificate is shown to the collector, in PEM. It and the key are read
	// for each connection.
	Certificate string `json:"certificate" form:"file"`

	// Key is the certificate's private key.
	Key string `json:"key" form:"file"`
}

// TracingBatch bounds what waits to be sent. 0 means OTEL_BSP_MAX_QUEUE_SIZE,
// OTEL_BSP_MAX_EXPORT_BATCH_SIZE and OTEL_BSP_SCHEDULE_DELAY, or the standard's
// defaults.
type TracingBatch struct {
	// Queue is how many spans wait at the most: those that come then are
	// dropped and counted. 0 means 2048.
	Queue int `json:"queue"`

	// Size is how many spans are sent at once. 0 means 512.
	Size int `json:"size"`

	// Delay is how long a span waits for others. 0 means 5s.
	Delay time.Duration `json:"delay"`
}

// TracingProtocol is how spans are sent.
type TracingProtocol string

// The protocols, both of OTLP.
const (
	OTLPoverGRPC TracingProtocol = "GRPC"
	OTLPoverHTTP TracingProtocol = "HTTP"
)

func (TracingProtocol) values() []string {
	return []string{string(OTLPoverGRPC), string(OTLPoverHTTP)}
}

// Propagator is a form of trace context, by OpenTelemetry's name for it.
type Propagator string

// The propagators.
const (
	PropagateTraceContext Propagator = "tracecontext"
	PropagateBaggage      Propagator = "baggage"
	PropagateB3           Propagator = "b3"
	PropagateB3Multi      Propagator = "b3multi"
)

func (Propagator) values() []string {
	return []string{string(PropagateTraceContext), string(PropagateBaggage), string(PropagateB3), string(PropagateB3Multi)}
}

// Ratio is a number from 0 to 1 as it was written, or "" for none.
type Ratio string

// ParseRatio parses a number from 0 to 1.
func ParseRatio(text string) (Ratio, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 0 && n <= 1) {
		return "", fmt.Errorf("%.80q is no number from 0 to 1, such as 0.01", text)
	}
	return Ratio(text), nil
}

// Value returns the number, and whether there is one.
func (r Ratio) Value() (float64, bool) {
	n, err := strconv.ParseFloat(string(r), 64)
	return n, err == nil
}

// checkTracing checks what single fields do not show.
func checkTracing(w *written, t *Tracing) {
	if t.Endpoint != "" {
		u, err := url.Parse(t.Endpoint)
		switch {
		case err != nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https", u.RawQuery != "", u.Fragment != "":
			w.problem("spec.tracing.endpoint", "is no URL such as http://127.0.0.1:4317 or https://collector.example:4318")
		case u.User != nil:
			w.problem("spec.tracing.endpoint", "holds a user or password: send such by a field, with headersFile")
		}
	}
	if (t.TLS.Certificate == "") != (t.TLS.Key == "") {
		w.problem("spec.tracing.tls", "a certificate needs its key, and the other way round")
	}
	if t.Batch.Queue > maxSpans {
		w.problem("spec.tracing.batch.queue", "%d are more than the %d allowed", t.Batch.Queue, maxSpans)
	}
}

// maxSpans is how many spans can be allowed to wait.
const maxSpans = 1 << 20
