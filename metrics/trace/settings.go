package trace

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Protocol is how spans are sent.
type Protocol string

// The protocols, both of OTLP.
const (
	GRPC Protocol = "grpc"
	HTTP Protocol = "http/protobuf"
)

// Propagator is a form in which messages carry a trace context, by
// OpenTelemetry's name for it.
type Propagator string

// The propagators.
const (
	// TraceContext is traceparent and tracestate, of W3C Trace Context.
	TraceContext Propagator = "tracecontext"

	// Baggage is W3C Baggage. It passes through untouched whether it is named
	// or not: nothing here reads it.
	Baggage Propagator = "baggage"

	// B3 reads Zipkin's B3 in either form, and writes the single field b3;
	// B3Multi writes the fields x-b3-….
	B3      Propagator = "b3"
	B3Multi Propagator = "b3multi"
)

// Defaults of [Settings].
const (
	DefaultRatio   = 0.01
	DefaultTimeout = 10 * time.Second
	DefaultQueue   = 2048
	DefaultBatch   = 512
	DefaultDelay   = 5 * time.Second
)

// Settings say what is traced and where spans go. The zero value traces nothing.
type Settings struct {
	// Endpoint is the collector's URL, with the scheme https, or http for
	// plaintext; "" turns tracing off. Without a path, OTLP over HTTP adds its
	// own, v1/traces.
	Endpoint string

	// Protocol is how spans are sent; "" means [GRPC].
	Protocol Protocol

	// CA, Certificate and Key are PEM files for https: whom to trust instead
	// of the system's authorities, and what to show. Certificate and Key are
	// read for every handshake.
	CA, Certificate, Key string

	// HeadersFile has fields to send along, such as an API key: one in a line,
	// name: value. What is in it never reaches a log. It is read by
	// [Tracer.Apply].
	HeadersFile string

	// Timeout is how long a batch may take; 0 means [DefaultTimeout].
	Timeout time.Duration

	// Ratio is how many of the traces that begin here are sampled, from 0 to
	// 1. What begins elsewhere is sampled as it was there.
	Ratio float64

	// Propagators are the forms to read, the first that is there counts, and
	// to write; nil means [TraceContext] and [Baggage].
	Propagators []Propagator

	// Query records the queries of URLs.
	Query bool

	// Queue is how many spans wait at the most, Batch how many are sent at
	// once, and Delay how long a span waits for others. 0 means
	// [DefaultQueue], [DefaultBatch] and [DefaultDelay].
	Queue, Batch int
	Delay        time.Duration
}

// withDefaults fills in what is 0.
func (s Settings) withDefaults() Settings {
	if s.Protocol == "" {
		s.Protocol = GRPC
	}
	if s.Timeout <= 0 {
		s.Timeout = DefaultTimeout
	}
	if s.Propagators == nil {
		s.Propagators = []Propagator{TraceContext, Baggage}
	}
	if s.Queue <= 0 {
		s.Queue = DefaultQueue
	}
	if s.Batch <= 0 {
		s.Batch = DefaultBatch
	}
	s.Batch = min(s.Batch, s.Queue)
	if s.Delay <= 0 {
		s.Delay = DefaultDelay
	}
	return s
}

// Validate reports what is wrong with the settings, but for what is in files.
func (s *Settings) Validate() error {
	if s.Endpoint == "" {
		return nil
	}
	if _, err := parseEndpoint(s.Endpoint); err != nil {
		return err
	}
	switch s.Protocol {
	case "", GRPC, HTTP:
	default:
		return fmt.Errorf("trace: protocol %.40q: want %s or %s", s.Protocol, GRPC, HTTP)
	}
	if !(s.Ratio >= 0 && s.Ratio <= 1) {
		return fmt.Errorf("trace: ratio %v is not from 0 to 1", s.Ratio)
	}
	for _, p := range s.Propagators {
		if !slices.Contains([]Propagator{TraceContext, Baggage, B3, B3Multi}, p) {
			return fmt.Errorf("trace: propagator %.40q: want tracecontext, baggage, b3 or b3multi", p)
		}
	}
	if (s.Certificate == "") != (s.Key == "") {
		return errors.New("trace: a client's certificate needs its key, and the other way round")
	}
	return nil
}

// parseEndpoint parses a collector's URL. Errors do not repeat it: it may hold a
// password where none belongs.
func parseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("trace: the endpoint is no URL such as http://127.0.0.1:4317 or https://collector.example:4318")
	case u.User != nil:
		return nil, errors.New("trace: the endpoint holds a user or password: send such by a field, see the file of headers")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("trace: the endpoint holds a query or fragment")
	}
	return u, nil
}

func (s *Settings) equal(o *Settings) bool {
	a, b := *s, *o
	if !slices.Equal(a.Propagators, b.Propagators) {
		return false
	}
	a.Propagators, b.Propagators = nil, nil
	return fmt.Sprint(a) == fmt.Sprint(b)
}
