package apps

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// Collector is a running OpenTelemetry Collector, which passes spans on.
type Collector struct {
	GRPC, HTTP string // URLs of where it takes spans by OTLP
	Server     *components.Running
}

// collectorConfig has the addresses for gRPC and for HTTP, and the URL of whom
// spans go on to. Each batch goes on as it comes, and its sender is answered when
// it has been taken there.
const collectorConfig = `
receivers:
  otlp:
    protocols:
      grpc: {endpoint: %q}
      http: {endpoint: %q}
exporters:
  otlp_http:
    endpoint: %q
    compression: none
    sending_queue: {enabled: false}
    retry_on_failure: {enabled: false}
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_http]}
`

// StartCollector runs a Collector that passes what it takes on by OTLP over HTTP,
// to the receiver at the URL.
func StartCollector(tb testing.TB, to string) *Collector {
	tb.Helper()
	byGRPC, byHTTP := components.FreeAddr(tb), components.FreeAddr(tb)
	file := writeFor(tb, nil, components.TempDirFor(tb, nil), "collector.yaml", fmt.Appendf(nil, collectorConfig, byGRPC, byHTTP, to))
	c := &Collector{GRPC: "http://" + byGRPC, HTTP: "http://" + byHTTP}
	c.Server = components.Start(tb, components.Process{
		Path: components.Path(tb, components.Otelcol), Args: []string{"--config", "file:" + file},
		Ready: func(ctx context.Context) error {
			return errors.Join(components.Accepts("tcp", byGRPC)(ctx), components.Accepts("tcp", byHTTP)(ctx))
		},
	})
	return c
}
