package main

import (
	"context"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/metrics/trace"
	"github.com/hallmark-mesh/hallmark/proxy/config"
)

// flushPatience is how long spans may take to be sent where draining has taken all
// of its time.
const flushPatience = time.Second

// openTrace makes the tracer, which traces nothing before [sidecar.traceBy].
func (s *sidecar) openTrace() (closeTrace func()) {
	s.trace = trace.New(trace.Config{Version: version, Identity: s.identity, Log: s.log})
	return func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.trace.Close(ctx) // nothing, once the process has drained
	}
}

// flushTrace sends the spans that wait.
func (s *sidecar) flushTrace(ctx context.Context) {
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushPatience)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) > flushPatience {
		patient = ctx
	}
	s.trace.Close(patient)
}

// traceBy traces as the settings say, and for the rest as OpenTelemetry's
// environment variables do.
func (s *sidecar) traceBy(t *config.Tracing) error {
	ratio, set := t.Ratio.Value()
	settings := trace.Settings{
		Endpoint: t.Endpoint, CA: t.TLS.CA, Certificate: t.TLS.Certificate, Key: t.TLS.Key, HeadersFile: t.HeadersFile,
		Timeout: t.Timeout, Ratio: ratio, Query: t.Query,
		Queue: t.Batch.Queue, Batch: t.Batch.Size, Delay: t.Batch.Delay,
	}
	switch t.Protocol {
	case config.OTLPoverGRPC:
		settings.Protocol = trace.GRPC
	case config.OTLPoverHTTP:
		settings.Protocol = trace.HTTP
	}
	for _, p := range t.Propagators {
		settings.Propagators = append(settings.Propagators, trace.Propagator(p))
	}
	settings, warnings := trace.Environment(settings, set, os.Getenv)
	if !slices.Equal(warnings, s.traceWarnings) {
		for _, w := range warnings {
			s.log.Warn("tracing: " + w)
		}
		s.traceWarnings = warnings
	}
	if err := s.trace.Apply(settings); err != nil {
		return err
	}
	if settings.Endpoint != "" {
		s.log.Info("tracing", zap.String("endpoint", settings.Endpoint), zap.Float64("ratio", settings.Ratio))
	}
	return nil
}

// traceAsBefore traces again by the configuration that stays in force.
func (s *sidecar) traceAsBefore() {
	if c := s.proxy.Config(); c != nil {
		if err := s.traceBy(&c.Proxy.Spec.Tracing); err != nil {
			s.log.Error("tracing follows the configuration that was refused", zap.Error(err))
		}
	}
}
