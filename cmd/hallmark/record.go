package main

import (
	"context"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/accesslog"
	"github.com/hallmark-mesh/hallmark/metrics/tap"
	"github.com/hallmark-mesh/hallmark/proxy/config"
)

// logPatience is how long the last lines of the access log may take to be
// written.
const logPatience = 5 * time.Second

// openRecord opens what is told of every connection and request.
func (s *sidecar) openRecord(spec *config.ProxySpec) (closeRecord func(), err error) {
	record := metrics.Config{Version: version, Revision: sourceRevision(), Identity: s.identity, Linkerd: spec.Metrics.LinkerdNames, Spans: s.trace.Counts}
	closeRecord = func() {}
	if output := accessOutput(spec.AccessLog.Output); output != nil {
		s.access, err = accesslog.New(accesslog.Config{
			WriterConfig: accesslog.WriterConfig{Open: output},
			Settings:     accessSettings(&spec.AccessLog),
			Format:       accessFormat(spec.AccessLog.Format),
		})
		if err != nil {
			return nil, err
		}
		record.Sinks = append(record.Sinks, s.access)
		closeRecord = func() {
			ctx, cancel := context.WithTimeout(context.Background(), logPatience)
			defer cancel()
			if err := s.access.Close(ctx); err != nil {
				s.log.Warn("the access log is not complete", zap.Error(err))
			}
		}
	}
	s.tap = new(tap.Tap)
	record.Sinks = append(record.Sinks, s.tap)
	if s.record, err = metrics.New(record); err != nil {
		closeRecord()
		return nil, err
	}
	return closeRecord, nil
}

// accessOutput returns where the access log goes, or nil for nowhere.
func accessOutput(name string) accesslog.Output {
	switch name {
	case "none":
		return nil
	case "stdout":
		return accesslog.Stdout()
	case "stderr":
		return accesslog.Stderr()
	default:
		return accesslog.File(name)
	}
}

func accessFormat(f config.LogFormat) accesslog.Format {
	if f == config.FormatConsole {
		return accesslog.Console
	}
	return accesslog.JSON
}

func accessSettings(l *config.AccessLog) accesslog.Settings {
	return accesslog.Settings{
		Level: levelOf(l.Level), Requests: loggedRequests(l.Requests), SlowerThan: l.SlowerThan,
		ConnectionLine: l.Lines.Connections, RequestLine: l.Lines.Requests,
		First: l.Sampling.First, Thereafter: l.Sampling.Thereafter, Period: l.Sampling.Period,
	}
}

func loggedRequests(r config.LoggedRequests) accesslog.Filter {
	switch r {
	case config.RequestsAll:
		return accesslog.All
	case config.RequestsNone:
		return accesslog.None
	default:
		return accesslog.Failed
	}
}

// sourceRevision returns the revision that the program was built from, as the
// Makefile or else the go command has stamped it, or "".
func sourceRevision() string {
	if revision != "" {
		return revision
	}
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	var found, modified string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			found = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "-dirty"
		}
	}
	return found + modified
}

func levelOf(l config.LogLevel) zapcore.Level {
	switch l {
	case config.LevelDebug:
		return zap.DebugLevel
	case config.LevelWarn:
		return zap.WarnLevel
	case config.LevelError:
		return zap.ErrorLevel
	default:
		return zap.InfoLevel
	}
}
