// Package otlp is a receiver of spans for tests: the trace service of the
// OpenTelemetry protocol, over gRPC by grpc-go and over HTTP by net/http, which
// decodes what comes with the protocol's own messages and keeps it.
//
// It answers as a collector does, or not at all if the test says so. It never
// judges what it is sent.
package otlp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// deadline only stops a hang.
const deadline = time.Minute

// Span is a span that was received.
type Span struct {
	Name, Kind, Scope         string
	TraceID, SpanID, ParentID string // hexadecimal; ParentID is empty for a root
	TraceState                string
	Status                    string
	Start, End                time.Time
	Attributes, Resource      map[string]string
	Events                    []string
}

// Receiver is a running receiver.
type Receiver struct {
	URL string

	tb      testing.TB
	mu      sync.Mutex
	spans   []Span
	headers []map[string]string
	stall   chan struct{}
	changed chan struct{}
	collector.UnimplementedTraceServiceServer
}

func start(tb testing.TB) (*Receiver, net.Listener) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("otlp: %v", err)
	}
	return &Receiver{tb: tb, URL: "http://" + l.Addr().String(), changed: make(chan struct{}, 1)}, l
}

// StartGRPC runs a receiver over gRPC until the test ends.
func StartGRPC(tb testing.TB) *Receiver {
	tb.Helper()
	r, l := start(tb)
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	tb.Cleanup(func() {
		r.Resume()
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Errorf("otlp: %v", err)
		}
	})
	return r
}

// StartHTTP runs a receiver over HTTP until the test ends.
func StartHTTP(tb testing.TB) *Receiver {
	tb.Helper()
	r, l := start(tb)
	server := &http.Server{Handler: r, ReadHeaderTimeout: deadline}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	tb.Cleanup(func() {
		r.Resume()
		_ = server.Close()
		if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("otlp: %v", err)
		}
	})
	return r
}

// Stall makes the receiver answer nothing until Resume.
func (r *Receiver) Stall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stall = make(chan struct{})
}

// Resume makes it answer again.
func (r *Receiver) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stall != nil {
		close(r.stall)
		r.stall = nil
	}
}

// Export is the service over gRPC.
func (r *Receiver) Export(ctx context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	headers := make(map[string]string)
	md, _ := metadata.FromIncomingContext(ctx)
	for name, values := range md {
		headers[name] = values[0]
	}
	if err := r.take(ctx, in, headers); err != nil {
		return nil, err
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// ServeHTTP is the service over HTTP.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var in collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &in)
	}
	if err != nil || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, fmt.Sprintf("%s: %v", req.URL.Path, err), http.StatusBadRequest)
		return
	}
	headers := make(map[string]string)
	for name := range req.Header {
		headers[http.CanonicalHeaderKey(name)] = req.Header.Get(name)
	}
	if err := r.take(req.Context(), &in, headers); err != nil {
		return
	}
	out, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(out)
}

func (r *Receiver) take(ctx context.Context, in *collector.ExportTraceServiceRequest, headers map[string]string) error {
	r.mu.Lock()
	stall := r.stall
	r.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.headers = append(r.headers, headers)
	for _, of := range in.GetResourceSpans() {
		resource := texts(of.GetResource().GetAttributes())
		for _, by := range of.GetScopeSpans() {
			for _, s := range by.GetSpans() {
				r.spans = append(r.spans, spanOf(s, by.GetScope().GetName(), resource))
			}
		}
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return nil
}

func spanOf(s *trace.Span, scope string, resource map[string]string) Span {
	span := Span{
		Name: s.GetName(), Kind: s.GetKind().String(), Scope: scope, TraceState: s.GetTraceState(),
		TraceID: hex.EncodeToString(s.GetTraceId()), SpanID: hex.EncodeToString(s.GetSpanId()), ParentID: hex.EncodeToString(s.GetParentSpanId()),
		Status: s.GetStatus().GetCode().String(),
		Start:  time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
		Attributes: texts(s.GetAttributes()), Resource: resource,
	}
	for _, e := range s.GetEvents() {
		span.Events = append(span.Events, e.GetName())
	}
	return span
}

func texts(all []*common.KeyValue) map[string]string {
	m := make(map[string]string, len(all))
	for _, kv := range all {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			m[kv.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			m[kv.GetKey()] = fmt.Sprint(v.IntValue)
		default:
			m[kv.GetKey()] = kv.GetValue().String()
		}
	}
	return m
}

// Spans returns the spans that have come.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}

// Headers returns what came along with each batch.
func (r *Receiver) Headers() []map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]map[string]string(nil), r.headers...)
}

// Await waits until n spans have come that the condition holds for, and returns
// those.
func (r *Receiver) Await(n int, holds func(Span) bool) []Span {
	r.tb.Helper()
	timeout := time.After(deadline)
	for {
		var found []Span
		for _, s := range r.Spans() {
			if holds == nil || holds(s) {
				found = append(found, s)
			}
		}
		if len(found) >= n {
			return found
		}
		select {
		case <-r.changed:
		case <-timeout:
			r.tb.Fatalf("otlp: %d spans, want %d; all that came: %+v", len(found), n, r.Spans())
		}
	}
}
