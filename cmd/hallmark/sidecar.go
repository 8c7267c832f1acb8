package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/accesslog"
	"github.com/hallmark-mesh/hallmark/metrics/tap"
	"github.com/hallmark-mesh/hallmark/metrics/trace"
	"github.com/hallmark-mesh/hallmark/proxy"
	"github.com/hallmark-mesh/hallmark/proxy/accept"
	"github.com/hallmark-mesh/hallmark/proxy/config"
)

// sidecar is the process of hallmark run: it puts together what a proxy is made
// of, in an order in which nothing is missing, and takes it apart again.
type sidecar struct {
	flags  *RunCmd
	source config.Source

	log        *zap.Logger
	identity   *identity.Store
	record     *metrics.Recorder
	tap        *tap.Tap
	access     *accesslog.Log // nil if there is none
	trace      *trace.Tracer
	proxy      *proxy.Proxy
	pages      *pages
	fixed      *config.Config // of which some settings hold until the end
	generation uint64
	applying   sync.Mutex

	traceWarnings []string // that have been logged
}

// standardError is where the process logs to.
func standardError() zapcore.WriteSyncer { return zapcore.Lock(os.Stderr) }

// run runs the sidecar with the first configuration until ctx ends.
func (s *sidecar) run(ctx context.Context, first *config.Config) error {
	s.fixed = first
	spec := &first.Proxy.Spec
	s.log = processLog(spec.Log)
	s.flags.log = s.log
	limitMemory(spec.Limits, s.log)
	limitProcessors()
	for _, warning := range first.Warnings {
		s.log.Warn(warning)
	}
	s.flags.identityFlags.from(&spec.Identity)
	store, closeIdentity, err := s.flags.open(ctx)
	if err != nil {
		return err
	}
	defer closeIdentity()
	s.identity = store

	closeTrace := s.openTrace()
	defer closeTrace()
	closeRecord, err := s.openRecord(spec)
	if err != nil {
		return err
	}
	defer closeRecord()

	sockets := new(accept.Sockets)
	succession, err := s.inherit(ctx, sockets)
	if err != nil {
		return err
	}
	defer succession.Abandon() // nothing, once it is told that we are ready
	s.proxy = proxy.New(proxy.Options{Identity: store, Sockets: sockets, Record: s.record, Trace: s.trace, Log: s.log})
	if err := s.start(ctx, first, sockets, succession); err != nil {
		s.cut()
		return err
	}
	defer s.pages.close()
	return s.serve(ctx)
}

// inherit takes the sockets that the process was given, by systemd and by the
// process that it replaces.
func (s *sidecar) inherit(ctx context.Context, sockets *accept.Sockets) (*accept.Succession, error) {
	n, err := sockets.FromSystemd()
	if err != nil {
		return nil, err
	}
	if n > 0 {
		s.log.Info("sockets received from systemd", zap.Int("sockets", n))
	}
	if s.flags.Handover == "" {
		return nil, nil //nolint:nilnil // there is nobody to take over from
	}
	succession, err := accept.TakeOver(ctx, s.flags.Handover, sockets)
	if succession == nil || err != nil {
		return nil, err
	}
	s.log.Info("taking over from a running process", zap.String("handover", s.flags.Handover))
	// It serves until we can: wait for what we need first.
	if _, err := s.flags.wait(ctx, s.identity); err != nil {
		succession.Abandon()
		return nil, fmt.Errorf("the running process goes on: %w", err)
	}
	return succession, nil
}

// start listens.
func (s *sidecar) start(ctx context.Context, first *config.Config, sockets *accept.Sockets, succession *accept.Succession) error {
	var err error
	if s.pages, err = s.openPages(ctx, sockets); err != nil {
		return coded(exitUsage, err)
	}
	if err := s.apply(ctx, first); err != nil {
		s.pages.close()
		return coded(exitUsage, err)
	}
	if rest := sockets.Rest(); len(rest) > 0 {
		s.log.Warn("sockets that the process was given are in no configuration, and closed", zap.Strings("addresses", rest))
	}
	if err := succession.Ready(); err != nil {
		s.pages.close()
		return fmt.Errorf("take over: %w", err)
	}
	for configured, bound := range s.proxy.Addresses() {
		s.log.Info("listening", zap.String("configured", configured), zap.Stringer("address", bound))
	}
	return nil
}

// apply puts a configuration in force and counts it.
func (s *sidecar) apply(ctx context.Context, c *config.Config) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	err := s.unchangeable(c)
	if err == nil {
		err = s.traceBy(&c.Proxy.Spec.Tracing)
	}
	if err == nil {
		if err = s.proxy.Apply(ctx, c); err != nil {
			s.traceAsBefore()
		}
	}
	if err == nil {
		s.generation++
		if s.access != nil {
			s.access.Apply(accessSettings(&c.Proxy.Spec.AccessLog))
		}
	}
	s.record.Reloaded(s.generation, err)
	return err
}

// unchangeable refuses changes of what is settled when the process starts.
func (s *sidecar) unchangeable(c *config.Config) error {
	old, next := &s.fixed.Proxy.Spec, &c.Proxy.Spec
	for _, setting := range []struct {
		path    string
		changed bool
	}{
		{"spec.metrics.listen", old.Metrics.Listen != next.Metrics.Listen},
		{"spec.metrics.linkerdNames", old.Metrics.LinkerdNames != next.Metrics.LinkerdNames},
		{"spec.admin", !reflect.DeepEqual(old.Admin, next.Admin)},
		{"spec.accessLog.output", old.AccessLog.Output != next.AccessLog.Output},
		{"spec.accessLog.format", old.AccessLog.Format != next.AccessLog.Format},
		{"spec.log", old.Log != next.Log},
		{"spec.limits.memory", old.Limits.Memory != next.Limits.Memory},
		{"spec.identity", !sameIdentity(&old.Identity, &next.Identity)},
	} {
		if setting.changed {
			return fmt.Errorf("proxy: %s cannot change while the process runs: restart it (with --handover no connection is lost)", setting.path)
		}
	}
	return nil
}

func sameIdentity(a, b *config.Identity) bool {
	return fmt.Sprint(*a) == fmt.Sprint(*b)
}

// serve runs until ctx ends or a successor has taken over.
func (s *sidecar) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.watch(ctx) })
	wg.Go(func() { s.announce(ctx) })
	released, err := s.offerHandover(ctx, &wg)
	if err != nil {
		cancel()
		s.cut()
		return err
	}
	select {
	case <-ctx.Done():
		s.log.Info("ending: connections drain", zap.Duration("at_most", s.drainTime()))
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
		return s.drain(s.proxy.Drain)
	case <-released:
		s.log.Info("a successor has taken over: connections drain", zap.Duration("at_most", s.drainTime()))
		s.pages.close()
		cancel()
		return s.drain(s.proxy.Release)
	}
}

// offerHandover waits for a successor, if that is wanted. The channel is closed
// when it has taken over.
func (s *sidecar) offerHandover(ctx context.Context, wg *sync.WaitGroup) (<-chan struct{}, error) {
	released := make(chan struct{})
	if s.flags.Handover == "" {
		return released, nil
	}
	handover, err := accept.OfferHandover(s.flags.Handover)
	if err != nil {
		return nil, err
	}
	wg.Go(func() {
		err := handover.Serve(ctx, s.sockets, func(err error) {
			s.log.Warn("a successor did not take over", zap.Error(err))
		})
		switch {
		case err == nil:
			close(released)
		case ctx.Err() == nil:
			s.log.Error("no successor can take over any more", zap.Error(err))
		}
		_ = handover.Close()
	})
	return released, nil
}

func (s *sidecar) drainTime() time.Duration { return s.proxy.Config().Proxy.Spec.Timeouts.Drain }

// drain ends the proxy in order.
func (s *sidecar) drain(end func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.drainTime())
	defer cancel()
	whole := end(ctx)
	s.flushTrace(ctx)
	if !whole {
		return coded(exitCut, errors.New("the time for draining was over: connections were cut"))
	}
	s.log.Info("ended")
	return nil
}

// cut ends the proxy at once.
func (s *sidecar) cut() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.proxy.Drain(ctx)
}

// watch reads the configuration again when it changes, and on SIGHUP.
func (s *sidecar) watch(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	watcher := config.NewWatcher(s.source, s.fixed, func(c *config.Config, err error) {
		if err == nil {
			err = s.apply(ctx, c)
		} else {
			s.record.Reloaded(s.generation, err)
		}
		if err != nil {
			s.log.Error("the configuration is refused: the one in force stays", zap.Error(err))
			return
		}
		for _, warning := range c.Warnings {
			s.log.Warn(warning)
		}
		s.log.Info("configuration in force", zap.String("version", c.Version))
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if err := watcher.Run(ctx); err != nil {
			s.log.Error("changes of the configuration go unnoticed", zap.Error(err))
		}
	})
	for {
		select {
		case <-hup:
			if s.access != nil {
				s.access.Reopen() // a rotated file
			}
			watcher.Reload()
		case <-ctx.Done():
			return
		}
	}
}

// announce logs and tells systemd when the process is ready.
func (s *sidecar) announce(ctx context.Context) {
	said := ""
	for {
		changed := s.identity.Changed()
		err := s.proxy.Ready()
		if err == nil {
			snapshot, _ := s.identity.Snapshot() // there is one: Ready says so
			s.log.Info("ready", zap.Stringer("spiffe_id", snapshot.ID()), zap.Time("not_after", snapshot.NotAfter()))
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
			forgetStartup()
			return
		}
		if text := err.Error(); text != said {
			said = text
			s.log.Info("not ready yet: listening, and waiting for an identity", zap.Error(err))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
