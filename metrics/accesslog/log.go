package accesslog

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/accesslog/line"
)

// Format is that of a line.
type Format string

// The formats.
const (
	JSON    Format = "json"
	Console Format = "console"
)

// Settings say what is logged. They can be changed while logging.
type Settings struct {
	// Level is the least level that is logged: connections and requests that
	// went well end at info, others at warn, and openings are told at debug.
	Level zapcore.Level

	// Requests says which requests are logged; "" means [All].
	Requests Filter

	// SlowerThan is how long a request must have taken to be logged with
	// [Failed], and without being sampled; 0 takes none for slow.
	SlowerThan time.Duration

	// ConnectionLine and RequestLine say how lines are written in place of the
	// format; those that are zero do not.
	ConnectionLine, RequestLine line.Line

	// First is how many of what went well are logged of each
	// Period in any case; 0 means all. Thereafter is how many one that is
	// logged stands for once First is reached; 0 logs none of them.
	First, Thereafter int

	// Period is when counting starts anew; 0 means a second.
	Period time.Duration
}

// Config is what a [Log] is made of. Open is required.
type Config struct {
	WriterConfig
	Settings

	// Format is that of a line; "" means [JSON].
	Format Format
}

// Log is the access log: a [metrics.Sink] and a [metrics.RequestSink].
type Log struct {
	writer   *Writer
	encoder  zapcore.Encoder
	settings atomic.Pointer[Settings]
	sampler  sampler
	scenes   scenes
	lists    lists
	texts    lines
}

// New returns an access log. [Log.Close] ends it.
func New(c Config) (*Log, error) {
	encoder, err := newEncoder(c.Format)
	if err != nil {
		return nil, err
	}
	l := &Log{writer: NewWriter(c.WriterConfig), encoder: encoder}
	l.Apply(c.Settings)
	return l, nil
}

// Apply makes other settings those of the lines to come.
func (l *Log) Apply(s Settings) {
	if s.Period <= 0 {
		s.Period = time.Second
	}
	l.settings.Store(&s)
}

// Reopen opens the output anew before the next line, as after a rotation.
func (l *Log) Reopen() { l.writer.Reopen() }

// Close writes what is pending: see [Writer.Close].
func (l *Log) Close(ctx context.Context) error { return l.writer.Close(ctx) }

// Dropped returns how many lines have been dropped, for want of room or because
// they could not be written. The recorder that the log is a sink of exports it.
func (l *Log) Dropped() uint64 { return l.writer.Dropped() }

func newEncoder(f Format) (zapcore.Encoder, error) {
	microseconds := zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000000Z07:00")
	c := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "message",
		EncodeTime: func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
			microseconds(t.UTC(), e)
		},
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.SecondsDurationEncoder,
	}
	switch f {
	case JSON, "":
		return zapcore.NewJSONEncoder(c), nil
	case Console:
		return zapcore.NewConsoleEncoder(c), nil
	default:
		return nil, fmt.Errorf("accesslog: no format %q: use %s or %s", f, JSON, Console)
	}
}

// Opened implements [metrics.Sink].
func (l *Log) Opened(e *metrics.Event) {
	if s := l.settings.Load(); s.ConnectionLine.IsZero() && s.Level.Enabled(zapcore.DebugLevel) {
		l.connection(zapcore.DebugLevel, "connection opened", e)
	}
}

// Closed implements [metrics.Sink].
func (l *Log) Closed(e *metrics.Event) {
	s := l.settings.Load()
	level := zapcore.InfoLevel
	if e.Outcome.Reason != metrics.ReasonOK {
		level = zapcore.WarnLevel
	}
	if !s.Level.Enabled(level) || level == zapcore.InfoLevel && !l.sampler.takes(s) {
		return
	}
	if !s.ConnectionLine.IsZero() {
		about := connectionSubject(e)
		l.writeText(s.ConnectionLine, &about)
		return
	}
	l.connection(level, "connection closed", e)
}

func (l *Log) connection(level zapcore.Level, message string, e *metrics.Event) {
	all := l.lists.get()
	*all = fields(*all, e)
	l.write(level, message, sceneOf(e), all)
}

// write writes a line, and takes the list of its fields back.
func (l *Log) write(level zapcore.Level, message string, s scene, all *list) {
	entry := zapcore.Entry{Level: level, Time: time.Now(), Message: message}
	line, err := l.scenes.encoder(s, l.encoder).EncodeEntry(entry, *all)
	l.lists.put(all)
	if err != nil { // no field of ours can fail; if one does, the line is lost
		l.writer.drop(1)
		return
	}
	_, _ = l.writer.Write(line.Bytes()) // never fails
	line.Free()
}

// sampler thins out lines.
type sampler struct {
	mu    sync.Mutex
	begun time.Time
	seen  int
}

// takes reports whether the next line is one to write.
func (p *sampler) takes(s *Settings) bool {
	if s.First <= 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.begun) >= s.Period {
		p.begun, p.seen = now, 0
	}
	p.seen++
	past := p.seen - s.First
	return past <= 0 || s.Thereafter > 0 && past%s.Thereafter == 0
}
