package trace

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/credentials"
)

// queue holds spans that have ended until the collector has taken them.
type queue struct {
	tracer  *Tracer
	batches sdk.SpanProcessor
	inner   sdk.SpanExporter
	most    int64
	waiting atomic.Int64

	ctx    context.Context // of every export
	cancel context.CancelFunc
	idle   func() // closes idle connections
}

// newQueue starts to send spans where the settings say.
func newQueue(t *Tracer, s *Settings, headers map[string]string) (*queue, error) {
	q := &queue{tracer: t, most: int64(s.Queue), idle: func() {}}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	made := overGRPC
	if s.Protocol == HTTP {
		made = q.overHTTP
	}
	var err error
	if q.inner, err = made(q.ctx, s, headers); err != nil {
		q.cancel()
		return nil, err
	}
	q.batches = sdk.NewBatchSpanProcessor(outlet{q}, sdk.WithMaxQueueSize(s.Queue), sdk.WithMaxExportBatchSize(s.Batch),
		sdk.WithBatchTimeout(s.Delay), sdk.WithExportTimeout(s.Timeout))
	return q, nil
}

func overGRPC(ctx context.Context, s *Settings, headers map[string]string) (sdk.SpanExporter, error) {
	config, err := tlsOf(s)
	if err != nil {
		return nil, err
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(s.Endpoint), otlptracegrpc.WithTimeout(s.Timeout)}
	if headers != nil {
		options = append(options, otlptracegrpc.WithHeaders(headers))
	}
	if config != nil {
		options = append(options, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(config)))
	}
	return otlptracegrpc.New(ctx, options...)
}

func (q *queue) overHTTP(ctx context.Context, s *Settings, headers map[string]string) (sdk.SpanExporter, error) {
	u, err := parseEndpoint(s.Endpoint)
	if err != nil {
		return nil, err
	}
	config, err := tlsOf(s)
	if err != nil {
		return nil, err
	}
	if u.Path == "" {
		u = u.JoinPath("v1", "traces")
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSClientConfig: config,
		MaxIdleConns: 2, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: s.Timeout,
	}
	q.idle = transport.CloseIdleConnections
	client := &http.Client{
		Transport: transport, Timeout: s.Timeout,
		// Where else the headers would go, the operator has not said.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	options := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithTimeout(s.Timeout), otlptracehttp.WithHTTPClient(client),
	}
	if headers != nil {
		options = append(options, otlptracehttp.WithHeaders(headers))
	}
	return otlptracehttp.New(ctx, options...)
}

// tlsOf returns how to speak TLS 1.3 with the collector, and nil for plaintext. It
// is no peer of the mesh, and has a certificate of the web's kind.
func tlsOf(s *Settings) (*tls.Config, error) { //nolint:forbidigo // a collector is no peer
	if strings.HasPrefix(s.Endpoint, "http:") {
		return nil, nil //nolint:nilnil // documented
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13} //nolint:forbidigo // a collector is no peer
	if s.CA != "" {
		pem, err := readAuthorities(s.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("trace: %s holds no certificate in PEM", s.CA)
		}
	}
	if s.Certificate != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
			if err != nil {
				return nil, fmt.Errorf("trace: load the certificate for the collector: %w", err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}

// readAuthorities reads a file of authorities; "" is none.
func readAuthorities(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("trace: read the authorities of the collector: %w", err)
	}
	return pem, nil
}

// maxHeaders bounds a file of headers, in bytes.
const maxHeaders = 64 << 10

// readHeaders reads a file of headers. Its errors tell lines, and nothing of what
// is in them.
func readHeaders(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // none
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("trace: read the headers for the collector: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHeaders+1))
	if err != nil {
		return nil, fmt.Errorf("trace: read the headers for the collector: %w", err)
	}
	if len(text) > maxHeaders {
		return nil, fmt.Errorf("trace: %s is longer than %d bytes", path, maxHeaders)
	}
	headers, line, err := parseHeaders(text)
	if err != nil {
		return nil, fmt.Errorf("trace: %s:%d: %w", path, line, err)
	}
	return headers, nil
}

// parseHeaders parses lines of name: value; empty ones and those that begin with #
// say nothing. On an error line is where.
func parseHeaders(text []byte) (headers map[string]string, line int, err error) {
	headers = make(map[string]string)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxHeaders+1)
	for lines.Scan() {
		line++
		s := strings.TrimSpace(lines.Text())
		if s == "" || s[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(s, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !ok || !isName(name) || !isValue(value) {
			return nil, line, errors.New("want a line such as x-api-key: value, of printable ASCII")
		}
		if _, twice := headers[name]; twice {
			return nil, line, errors.New("the name is given twice")
		}
		headers[name] = value
	}
	return headers, line, lines.Err()
}

// isName reports whether both HTTP and gRPC take it for a field's name.
func isName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-_.", c) >= 0) {
			return false
		}
	}
	return name != "" && !strings.HasPrefix(name, "grpc-") && !strings.HasSuffix(name, "-bin")
}

func isValue(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return value != ""
}

// add takes a span that has ended, or drops it if too many wait.
func (q *queue) add(span sdk.ReadOnlySpan) {
	if q.waiting.Add(1) > q.most {
		q.waiting.Add(-1)
		q.tracer.full.Add(1)
		return
	}
	q.batches.OnEnd(span)
}

// close sends what waits, until ctx ends. What has not been sent by then is
// dropped.
func (q *queue) close(ctx context.Context) {
	stop := context.AfterFunc(ctx, q.cancel)
	_ = q.batches.Shutdown(context.WithoutCancel(ctx)) // outlet has said what failed
	stop()
	q.cancel()
	q.idle()
	q.tracer.failed.Add(uint64(max(q.waiting.Swap(0), 0))) // that came too late
}

// outlet is where a queue's batches leave. It never fails: what the SDK does with
// an error is to write it to standard error.
type outlet struct{ q *queue }

// ExportSpans sends a batch.
func (o outlet) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	n := len(spans)
	o.q.waiting.Add(-int64(n))
	err := o.q.ctx.Err()
	if err == nil {
		ctx, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(o.q.ctx, cancel)
		err = o.q.inner.ExportSpans(ctx, spans)
		stop()
		cancel()
	}
	if err != nil {
		o.q.tracer.failed.Add(uint64(n))
		o.q.tracer.complain(n, err)
		return nil
	}
	o.q.tracer.exported.Add(uint64(n))
	return nil
}

// Shutdown ends the exporter.
func (o outlet) Shutdown(ctx context.Context) error {
	if err := o.q.inner.Shutdown(ctx); err != nil {
		o.q.tracer.complain(0, err)
	}
	return nil
}
