package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/tap"
	"github.com/hallmark-mesh/hallmark/proxy/admin"
)

// showStat returns what tells who talks to whom.
func (s *sidecar) showStat() func(context.Context, time.Duration) (any, error) {
	overview := s.record.Overview()
	return func(ctx context.Context, window time.Duration) (any, error) {
		stat, err := tap.ReadStat(ctx, s.record, overview, window)
		if err != nil {
			return nil, err
		}
		stat.Version = version
		if own, err := s.identity.Snapshot(); err == nil {
			stat.Self.NotAfter = new(own.NotAfter().UTC())
		}
		return stat, nil
	}
}

// openTap lets somebody watch.
func (s *sidecar) openTap(query url.Values) (admin.Watch, error) {
	filter, err := tap.ParseFilter(query)
	if err != nil {
		return nil, err
	}
	watch, err := s.tap.Watch(filter)
	if errors.Is(err, tap.ErrTooMany) {
		return nil, fmt.Errorf("%w: at most %d can watch at a time", admin.ErrBusy, tap.MaxWatches)
	}
	if err != nil {
		return nil, err
	}
	return &watching{watch, s.record}, nil
}

// watching is a watch whose events are named as labels are.
type watching struct {
	*tap.Watch

	record *metrics.Recorder
}

// Next implements [admin.Watch].
func (w *watching) Next(ctx context.Context) []any { return shown(w.Watch.Next(ctx, w.record)) }

// End implements [admin.Watch].
func (w *watching) End() []any { return shown(w.Watch.End()) }

// shown makes a list of anything of one of events; nil stays nil.
func shown(events []*tap.Event) []any {
	if events == nil {
		return nil
	}
	all := make([]any, len(events))
	for i, e := range events {
		all[i] = e
	}
	return all
}
