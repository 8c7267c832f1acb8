package accesslog

import (
	"net"
	"strconv"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Filter says which requests are logged.
type Filter string

// The filters.
const (
	All    Filter = "all"    // all, thinned out by sampling
	Failed Filter = "failed" // those that failed, and the slow ones
	None   Filter = "none"
)

// Requested implements [metrics.RequestSink].
func (l *Log) Requested(e *metrics.RequestEvent) {
	s := l.settings.Load()
	level := zapcore.InfoLevel
	if e.Failed() {
		level = zapcore.WarnLevel
	}
	if !s.Level.Enabled(level) || !l.wants(s, e, level) {
		return
	}
	if !s.RequestLine.IsZero() {
		about := requestSubject(e)
		l.writeText(s.RequestLine, &about)
		return
	}
	all := l.lists.get()
	*all = requestFields(*all, e)
	l.write(level, "request", sceneOfRequest(e), all)
}

// wants reports whether the request is one to log.
func (l *Log) wants(s *Settings, e *metrics.RequestEvent, level zapcore.Level) bool {
	switch {
	case s.Requests == None:
		return false
	case level == zapcore.WarnLevel, s.SlowerThan > 0 && e.Duration > s.SlowerThan:
		return true
	default:
		return s.Requests != Failed && l.sampler.takes(s)
	}
}

// requestFields are those of a request's line that are not its scene's, by
// OpenTelemetry's names where it has one. docs/access-log.md describes them.
func requestFields(f list, e *metrics.RequestEvent) list {
	f.request(e)
	f.answer(e)
	f.address("client.address", "client.port", e.Client)
	f.address("network.local.address", "network.local.port", e.Local)
	f.address("upstream.address", "upstream.port", e.Upstream)
	f.outcome(&e.Outcome)
	f.trace(e.Trace)
	return f
}

// request adds what was asked.
func (l *list) request(e *metrics.RequestEvent) {
	l.text("http.request.method", e.Method)
	host, port := e.Authority, 0
	if h, p, err := net.SplitHostPort(e.Authority); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil {
			host, port = h, int(n)
		}
	}
	l.text("server.address", host)
	if port != 0 {
		*l = append(*l, zap.Int("server.port", port))
	}
	l.text("url.path", printable.Path(e.Path))
	*l = append(*l, zap.String("network.protocol.name", "http"))
	switch e.Protocol {
	case tlsctx.HTTP1:
		*l = append(*l, zap.String("network.protocol.version", "1.1"))
	case tlsctx.HTTP2:
		*l = append(*l, zap.String("network.protocol.version", "2"))
	default: // not known
	}
	l.text("hallmark.upgrade", e.Upgrade)
}

// answer adds what became of it.
func (l *list) answer(e *metrics.RequestEvent) {
	if e.Status != 0 {
		*l = append(*l, zap.Int("http.response.status_code", e.Status))
	}
	if e.IsGRPC {
		*l = append(*l, zap.String("rpc.system", "grpc"))
		if e.GRPC >= 0 {
			*l = append(*l, zap.Int("rpc.grpc.status_code", e.GRPC))
		}
	}
	*l = append(*l,
		zap.Int64("http.request.body.size", e.RequestBytes),
		zap.Int64("http.response.body.size", e.ResponseBytes),
		zap.Duration("duration", e.Duration))
	if e.FirstByte > 0 {
		*l = append(*l, zap.Duration("hallmark.first_byte", e.FirstByte))
	}
	*l = append(*l, zap.Int("hallmark.attempts", e.Attempts))
}
