package trace

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Environment fills in, from OpenTelemetry's standard variables, what is not
// configured: the strings and lists of s that are empty, durations and numbers
// that are 0, and the ratio unless ratioSet. What it cannot use it leaves out, and
// says so. The headers of OTEL_EXPORTER_OTLP_HEADERS and the compression are read
// by the exporter itself.
//
// OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none keep tracing off unless an
// endpoint is configured.
func Environment(s Settings, ratioSet bool, getenv func(string) string) (_ Settings, warnings []string) {
	e := environment{getenv: getenv}
	if s.Endpoint == "" && e.off() {
		return s, e.warnings
	}
	if s.Endpoint == "" {
		e.endpoint(&s)
	}
	if s.Endpoint == "" {
		return s, e.warnings
	}
	if s.Protocol == "" {
		s.Protocol = e.protocol()
	}
	for _, file := range []struct {
		to   *string
		name string
	}{{&s.CA, "CERTIFICATE"}, {&s.Certificate, "CLIENT_CERTIFICATE"}, {&s.Key, "CLIENT_KEY"}} {
		if *file.to == "" {
			*file.to = e.exporter(file.name)
		}
	}
	if s.Timeout == 0 {
		s.Timeout = e.milliseconds(e.exporter("TIMEOUT"))
	}
	if s.Propagators == nil {
		s.Propagators = e.propagators()
	}
	if !ratioSet {
		s.Ratio = e.ratio()
	}
	if s.Queue == 0 {
		s.Queue = e.number("OTEL_BSP_MAX_QUEUE_SIZE")
	}
	if s.Batch == 0 {
		s.Batch = e.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")
	}
	if s.Delay == 0 {
		s.Delay = e.milliseconds(getenv("OTEL_BSP_SCHEDULE_DELAY"))
	}
	return s, e.warnings
}

// environment reads variables.
type environment struct {
	getenv   func(string) string
	warnings []string
}

func (e *environment) warn(format string, args ...any) {
	e.warnings = append(e.warnings, fmt.Sprintf(format, args...))
}

// exporter returns a setting of the exporter: that of traces, or that of all.
func (e *environment) exporter(name string) string {
	if v := e.getenv("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
		return v
	}
	return e.getenv("OTEL_EXPORTER_OTLP_" + name)
}

// off reports whether tracing is to stay off.
func (e *environment) off() bool {
	if strings.EqualFold(e.getenv("OTEL_SDK_DISABLED"), "true") {
		return true
	}
	exporter := e.getenv("OTEL_TRACES_EXPORTER")
	if exporter != "" && exporter != "otlp" && exporter != "none" {
		e.warn("OTEL_TRACES_EXPORTER=%.40q: there is otlp and none", exporter)
	}
	return exporter != "" && exporter != "otlp"
}

// endpoint takes the endpoint. That of all signals is a base, to which OTLP over
// HTTP adds a path.
func (e *environment) endpoint(s *Settings) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		text := e.getenv(name)
		if text == "" {
			continue
		}
		if !strings.Contains(text, "://") {
			text = "https://" + text // as the specification has it, unless told otherwise
			if insecure, _ := strconv.ParseBool(e.exporter("INSECURE")); insecure {
				text = "http://" + strings.TrimPrefix(text, "https://")
			}
		}
		u, err := parseEndpoint(text)
		if err != nil {
			e.warn("%s is left out: %s", name, strings.TrimPrefix(err.Error(), "trace: "))
			continue
		}
		switch base := strings.HasSuffix(name, "OTLP_ENDPOINT"); {
		case base && strings.Trim(u.Path, "/") != "":
			u = u.JoinPath("v1", "traces")
		case !base && u.Path == "":
			u.Path = "/" // else it is taken for a base
		}
		s.Endpoint = u.String()
		return
	}
}

func (e *environment) protocol() Protocol {
	switch v := e.exporter("PROTOCOL"); v {
	case "", string(GRPC):
		return GRPC
	case string(HTTP):
		return HTTP
	default:
		e.warn("OTEL_EXPORTER_OTLP_PROTOCOL=%.40q: there is grpc and http/protobuf; it is http/protobuf now", v)
		return HTTP
	}
}

func (e *environment) propagators() []Propagator {
	text := e.getenv("OTEL_PROPAGATORS")
	if text == "" {
		return nil
	}
	list := []Propagator{} // none is not the default
	for name := range strings.SplitSeq(text, ",") {
		switch p := Propagator(strings.TrimSpace(name)); p {
		case TraceContext, Baggage, B3, B3Multi:
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		case "none", "":
		default:
			e.warn("OTEL_PROPAGATORS: %.40q is left out: there is tracecontext, baggage, b3 and b3multi", p)
		}
	}
	return list
}

func (e *environment) ratio() float64 {
	sampler := e.getenv("OTEL_TRACES_SAMPLER")
	kind, parent := strings.CutPrefix(sampler, "parentbased_")
	if !parent && sampler != "" {
		e.warn("OTEL_TRACES_SAMPLER=%.40q: what has a parent is sampled as that is, as by parentbased_%.40s", sampler, sampler)
	}
	switch kind {
	case "always_on":
		return 1
	case "always_off":
		return 0
	case "traceidratio":
		text := e.getenv("OTEL_TRACES_SAMPLER_ARG")
		ratio, err := strconv.ParseFloat(text, 64)
		if text == "" {
			return 1 // as the specification has it
		}
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			e.warn("OTEL_TRACES_SAMPLER_ARG=%.40q is not from 0 to 1: it is %v now", text, DefaultRatio)
			return DefaultRatio
		}
		return ratio
	case "":
	default:
		e.warn("OTEL_TRACES_SAMPLER=%.40q is none of always_on, always_off and traceidratio: the ratio is %v", sampler, DefaultRatio)
	}
	return DefaultRatio
}

// milliseconds reads a duration; 0 is none.
func (e *environment) milliseconds(text string) time.Duration {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		e.warn("%.40q is no number of milliseconds", text)
	}
	return time.Duration(n) * time.Millisecond
}

// number reads a number; 0 is none.
func (e *environment) number(name string) int {
	text := e.getenv(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 20)
	if err != nil {
		e.warn("%s=%.40q is no number up to 1048575", name, text)
	}
	return int(n)
}
