package trace

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelsdk "go.opentelemetry.io/otel/sdk"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// scope is the instrumentation scope of our spans: by it they can be told from
// those of the application, which has the same service.name.
const scope = "github.com/hallmark-mesh/hallmark"

// Config is what a [Tracer] is made of. The zero value works.
type Config struct {
	// Version is the program's.
	Version string

	// Identity is who this workload is: its attributes are the resource that
	// spans belong to. Nil is no identity.
	Identity identity.Source

	// Log is told, once in a while, that spans cannot be sent. Nil logs
	// nothing.
	Log *zap.Logger
}

// Tracer makes spans. Its methods are safe for concurrent use, and those of a nil
// one trace nothing. [Tracer.Apply] turns it on; it must be closed.
type Tracer struct {
	config Config
	state  atomic.Pointer[state] // nil while nothing is traced
	queue  atomic.Pointer[queue]

	exported, full, failed atomic.Uint64

	applying sync.Mutex
	applied  Settings
	headers  map[string]string
	closed   bool

	authorities []byte
	past        sync.WaitGroup // queues that send the last of theirs

	complaining sync.Mutex
	complained  time.Time
	unsaid      int // spans lost since
}

// state is how it is traced now. It is immutable, but for the provider, which is
// made anew when the workload's attributes change.
type state struct {
	settings Settings
	forms    forms
	bound    uint64 // below it a trace id is sampled
	provider atomic.Pointer[provider]
}

// provider makes spans of one resource.
type provider struct {
	oteltrace.Tracer

	of *identity.Snapshot
}

// New returns a tracer that traces nothing yet.
func New(c Config) *Tracer {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return &Tracer{config: c}
}

// Apply puts settings in force. Spans under way are sent where the new ones say;
// those that have ended go where they were to go. An error means that nothing has
// changed.
func (t *Tracer) Apply(s Settings) error {
	if err := s.Validate(); err != nil {
		return err
	}
	headers, err := readHeaders(s.HeadersFile)
	if err != nil {
		return err
	}
	authorities, err := readAuthorities(s.CA)
	if err != nil {
		return err
	}
	s = s.withDefaults()
	t.applying.Lock()
	defer t.applying.Unlock()
	if t.closed || s.equal(&t.applied) && maps.Equal(headers, t.headers) && bytes.Equal(authorities, t.authorities) {
		return nil
	}
	var next *queue
	if s.Endpoint != "" {
		if next, err = newQueue(t, &s, headers); err != nil {
			return err
		}
	}
	t.applied, t.headers, t.authorities = s, headers, authorities
	if next == nil {
		t.state.Store(nil)
	} else {
		t.state.Store(newState(s))
	}
	t.retire(t.queue.Swap(next))
	return nil
}

func newState(s Settings) *state {
	st := &state{settings: s, forms: newForms(s.Propagators), bound: 1 << 63}
	if s.Ratio < 1 {
		st.bound = uint64(s.Ratio * (1 << 63))
	}
	return st
}

// retired is how long a queue that is replaced may take to send what it has.
const retired = 10 * time.Second

func (t *Tracer) retire(q *queue) {
	if q == nil {
		return
	}
	t.past.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), retired)
		defer cancel()
		q.close(ctx)
	})
}

// Close sends what waits to be sent, until ctx ends, and ends tracing. Spans that
// end later are dropped.
func (t *Tracer) Close(ctx context.Context) {
	t.applying.Lock()
	t.closed = true
	t.state.Store(nil)
	last := t.queue.Swap(nil)
	t.applying.Unlock()
	if last != nil {
		last.close(ctx)
	}
	t.past.Wait()
}

// Counts returns what became of spans.
func (t *Tracer) Counts() metrics.SpanCounts {
	return metrics.SpanCounts{Exported: t.exported.Load(), Full: t.full.Load(), Failed: t.failed.Load()}
}

// complainEvery is how often at the most it is logged that spans cannot be sent.
const complainEvery = time.Minute

// complain logs why n spans were not sent.
func (t *Tracer) complain(n int, err error) {
	t.complaining.Lock()
	defer t.complaining.Unlock()
	t.unsaid += n
	if now := time.Now(); now.Sub(t.complained) >= complainEvery {
		t.complained = now
		t.config.Log.Warn("spans could not be sent to the collector",
			zap.Int("spans", t.unsaid), zap.String("error", printable.Text(err.Error())))
		t.unsaid = 0
	}
}

// tracer returns what makes spans of the workload as it is now.
func (t *Tracer) tracer(st *state) oteltrace.Tracer {
	var snapshot *identity.Snapshot
	if t.config.Identity != nil {
		snapshot, _ = t.config.Identity.Snapshot() // nil while there is none
	}
	if p := st.provider.Load(); p != nil && p.of == snapshot {
		return p.Tracer
	}
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = printable.Max
	made := sdk.NewTracerProvider(
		sdk.WithSampler(sdk.AlwaysSample()), // who is not sampled does not get here
		sdk.WithIDGenerator(ids{}), sdk.WithRawSpanLimits(limits),
		sdk.WithResource(t.resource(snapshot)), sdk.WithSpanProcessor(processor{t}),
	)
	p := &provider{
		Tracer: made.Tracer(scope, oteltrace.WithInstrumentationVersion(t.config.Version), oteltrace.WithSchemaURL(semconv.SchemaURL)),
		of:     snapshot,
	}
	st.provider.Store(p)
	return p.Tracer
}

// resource is the workload, by the attributes that it would assert.
func (t *Tracer) resource(snapshot *identity.Snapshot) *resource.Resource {
	all := []attribute.KeyValue{
		semconv.TelemetrySDKLanguageGo, semconv.TelemetrySDKName("opentelemetry"), semconv.TelemetrySDKVersion(otelsdk.Version()),
		semconv.TelemetryDistroName("hallmark"), semconv.TelemetryDistroVersion(t.config.Version),
	}
	name := "unknown_service:hallmark"
	if snapshot != nil {
		all = append(all, attribute.String("hallmark.spiffe_id", snapshot.ID().String()))
		if last := path.Base(snapshot.ID().Path()); last != "." && last != "/" {
			name = last
		}
		for a := range snapshot.Attributes.All() {
			all = append(all, attribute.String(a.Name, a.Value))
		}
		for _, better := range []string{"k8s.service_account.name", "k8s.daemonset.name", "k8s.statefulset.name", "k8s.deployment.name", "service.name"} {
			if v, ok := snapshot.Attributes.Get(better); ok {
				name = v
			}
		}
	}
	return resource.NewWithAttributes(semconv.SchemaURL, append(all, semconv.ServiceName(name))...)
}

// processor hands spans that have ended to the queue in force.
type processor struct{ t *Tracer }

// OnStart implements [sdk.SpanProcessor].
func (processor) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements [sdk.SpanProcessor].
func (p processor) OnEnd(span sdk.ReadOnlySpan) {
	if q := p.t.queue.Load(); q != nil {
		q.add(span)
	} else {
		p.t.failed.Add(1)
	}
}

// Shutdown implements [sdk.SpanProcessor].
func (processor) Shutdown(context.Context) error { return nil }

// ForceFlush implements [sdk.SpanProcessor].
func (processor) ForceFlush(context.Context) error { return nil }

// begin draws the ids of a trace, and says whether it is sampled.
func (st *state) begin() (tlsctx.Traceparent, bool) {
	var t tlsctx.Traceparent
	for t.TraceID == [16]byte{} {
		binary.BigEndian.PutUint64(t.TraceID[:8], rand.Uint64())
		binary.BigEndian.PutUint64(t.TraceID[8:], rand.Uint64())
	}
	for t.SpanID == [8]byte{} {
		binary.BigEndian.PutUint64(t.SpanID[:], rand.Uint64())
	}
	return t, st.takes(t.TraceID)
}

// takes reports whether a trace is among those that are sampled. What else goes
// by ids, as OpenTelemetry's samplers do, decides alike.
func (st *state) takes(id [16]byte) bool { return binary.BigEndian.Uint64(id[8:])>>1 < st.bound }

// ids makes the ids of spans. That of a trace was drawn when it was decided
// whether it is sampled.
type ids struct{}

// drawn is where a context has the ids that were drawn.
type drawn struct{}

// NewIDs implements [sdk.IDGenerator].
func (g ids) NewIDs(ctx context.Context) (oteltrace.TraceID, oteltrace.SpanID) {
	t, ok := ctx.Value(drawn{}).(tlsctx.Traceparent)
	if !ok { // nobody begins a trace without
		binary.BigEndian.PutUint64(t.TraceID[:], rand.Uint64()|1)
	}
	return t.TraceID, g.NewSpanID(ctx, t.TraceID)
}

// NewSpanID implements [sdk.IDGenerator].
func (ids) NewSpanID(context.Context, oteltrace.TraceID) oteltrace.SpanID {
	var id oteltrace.SpanID
	for !id.IsValid() {
		binary.BigEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// contextOf returns a span's context as the handshake has it.
func contextOf(sc oteltrace.SpanContext) tlsctx.Traceparent {
	if !sc.IsValid() {
		return tlsctx.Traceparent{}
	}
	return tlsctx.Traceparent{TraceID: sc.TraceID(), SpanID: sc.SpanID(), Flags: byte(sc.TraceFlags())}
}

// remote returns a span's context out of a handshake's.
func remote(t tlsctx.Traceparent) oteltrace.SpanContext {
	return oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
		TraceID: t.TraceID, SpanID: t.SpanID, TraceFlags: oteltrace.TraceFlags(t.Flags), Remote: true,
	})
}
