package trace

import (
	"reflect"
	"testing"
	"time"
)

func TestEnvironment(t *testing.T) {
	type variables = map[string]string
	const url = "http://c:4318"
	for name, test := range map[string]struct {
		have     Settings
		set      bool
		env      variables
		want     Settings
		warnings int
	}{
		"nothing":   {},
		"endpoint":  {env: variables{"OTEL_EXPORTER_OTLP_ENDPOINT": url}, want: Settings{Endpoint: url, Protocol: GRPC, Ratio: DefaultRatio}},
		"base":      {env: variables{"OTEL_EXPORTER_OTLP_ENDPOINT": url + "/x/"}, want: Settings{Endpoint: url + "/x/v1/traces", Protocol: GRPC, Ratio: DefaultRatio}},
		"of traces": {env: variables{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://no"}, want: Settings{Endpoint: url + "/", Protocol: GRPC, Ratio: DefaultRatio}},
		"no scheme": {env: variables{"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}, want: Settings{Endpoint: "https://c:4317", Protocol: GRPC, Ratio: DefaultRatio}},
		"insecure":  {env: variables{"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317", "OTEL_EXPORTER_OTLP_INSECURE": "true"}, want: Settings{Endpoint: "http://c:4317", Protocol: GRPC, Ratio: DefaultRatio}},
		"malformed": {env: variables{"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://u:p@x"}, warnings: 1},
		"disabled":  {env: variables{"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SDK_DISABLED": "TRUE"}},
		"none":      {env: variables{"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_TRACES_EXPORTER": "none"}},
		"console":   {env: variables{"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_TRACES_EXPORTER": "console"}, warnings: 1},
		"configured": {
			have: Settings{Endpoint: "http://mine", Protocol: GRPC, CA: "ca", Timeout: 1, Propagators: []Propagator{B3}, Queue: 1, Batch: 1, Delay: 1}, set: true,
			env: variables{
				"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_CERTIFICATE": "x",
				"OTEL_PROPAGATORS": "tracecontext", "OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_MAX_QUEUE_SIZE": "7", "OTEL_EXPORTER_OTLP_TIMEOUT": "7",
			},
			want: Settings{Endpoint: "http://mine", Protocol: GRPC, CA: "ca", Timeout: 1, Propagators: []Propagator{B3}, Queue: 1, Batch: 1, Delay: 1},
		},
		"all": {
			have: Settings{Endpoint: url},
			env: variables{
				"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_CERTIFICATE": "ca",
				"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "cert", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "key", "OTEL_EXPORTER_OTLP_TIMEOUT": "7000",
				"OTEL_PROPAGATORS": "b3multi, tracecontext,b3multi", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25",
				"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10", "OTEL_BSP_SCHEDULE_DELAY": "100",
			},
			want: Settings{
				Endpoint: url, Protocol: HTTP, CA: "ca", Certificate: "cert", Key: "key", Timeout: 7 * time.Second, Propagators: []Propagator{B3Multi, TraceContext},
				Ratio: 0.25, Queue: 100, Batch: 10, Delay: 100 * time.Millisecond,
			},
		},
		"nonsense": {
			have: Settings{Endpoint: url},
			env: variables{
				"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_PROPAGATORS": "jaeger,none", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2",
				"OTEL_BSP_SCHEDULE_DELAY": "-1", "OTEL_BSP_MAX_QUEUE_SIZE": "many",
			},
			want: Settings{Endpoint: url, Protocol: HTTP, Propagators: []Propagator{}, Ratio: DefaultRatio}, warnings: 6,
		},
		"always on":       {have: Settings{Endpoint: url}, env: variables{"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, want: Settings{Endpoint: url, Protocol: GRPC, Ratio: 1}},
		"always off":      {have: Settings{Endpoint: url}, env: variables{"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, want: Settings{Endpoint: url, Protocol: GRPC}},
		"unknown sampler": {have: Settings{Endpoint: url}, env: variables{"OTEL_TRACES_SAMPLER": "parentbased_x"}, want: Settings{Endpoint: url, Protocol: GRPC, Ratio: DefaultRatio}, warnings: 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, warnings := Environment(test.have, test.set, func(name string) string { return test.env[name] })
			if !reflect.DeepEqual(got, test.want) || len(warnings) != test.warnings {
				t.Errorf("got %+v, %q, want %+v", got, warnings, test.want)
			}
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}
