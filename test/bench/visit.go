package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/contenders"
	"github.com/hallmark-mesh/hallmark/test/bench/load"
	"github.com/hallmark-mesh/hallmark/test/bench/proc"
)

// Sample is what one visit to a contender yields. CPU times are those of the
// measured part alone.
type Sample struct {
	Workload  string `json:"workload"`
	Contender string `json:"contender"`
	Round     int    `json:"round"`

	Calls  int     `json:"calls"`
	Bytes  int64   `json:"bytes"` // of payload, both ways
	Errors int     `json:"errors"`
	Error  string  `json:"error,omitempty"` // the first
	Rate   float64 `json:"rate"`            // calls per second

	P50  time.Duration `json:"p50"` // nanoseconds, in an open loop from the intended time of sending
	P90  time.Duration `json:"p90"`
	P99  time.Duration `json:"p99"`
	P999 time.Duration `json:"p999"`

	OutboundCPU time.Duration `json:"outboundCPU"` // nanoseconds
	InboundCPU  time.Duration `json:"inboundCPU"`

	Startup        time.Duration `json:"startup"`        // until both accept connections
	OutboundIdle   int64         `json:"outboundIdle"`   // bytes, before any load
	InboundIdle    int64         `json:"inboundIdle"`    //
	OutboundMemory int64         `json:"outboundMemory"` // bytes, after the load, connections still open
	InboundMemory  int64         `json:"inboundMemory"`
	OutboundPeak   int64         `json:"outboundPeak"`
	InboundPeak    int64         `json:"inboundPeak"`
	Connections    int           `json:"connections"` // open then

	Busy float64 `json:"busy"` // share of the machine's CPU used by anybody, meanwhile
	Load float64 `json:"load"` // load average before
}

// CPUPerCall is the CPU time of both proxies per call, in seconds.
func (s Sample) CPUPerCall() float64 {
	return (s.OutboundCPU + s.InboundCPU).Seconds() / float64(max(s.Calls, 1))
}

// CPUPerByte is the CPU time of both proxies per byte of payload, in seconds.
func (s Sample) CPUPerByte() float64 {
	return (s.OutboundCPU + s.InboundCPU).Seconds() / float64(max(s.Bytes, 1))
}

// visit starts a contender, warms it, loads it, measures and stops it.
func (b *bench) visit(ctx context.Context, w workload, c contenders.Contender, round int) (Sample, error) {
	sample := Sample{Workload: w.Name, Contender: c.Name, Round: round, Load: proc.Load()}
	err := scoped(ctx, c.Name+" "+w.Name, func(tb testing.TB) {
		pair := c.Start(tb, b.request(w, false))
		sample.Startup = pair.Startup
		if err := b.measure(ctx, w, pair, &sample); err != nil {
			tb.Error(err) // so that the proxies' output is shown
		}
	})
	if err != nil {
		return sample, fmt.Errorf("bench: round %d: %w", round, err)
	}
	return sample, nil
}

// request is what a pair is started for.
func (b *bench) request(w workload, profile bool) contenders.Run {
	run := contenders.Run{Mode: w.Mode, Backend: b.backends[w.Backend], Self: b.self, Profile: profile}
	for _, s := range w.Services {
		run.Services = append(run.Services, contenders.Service{Mode: s.mode, Backend: b.backends[s.backend]})
	}
	return run
}

// measure loads a running pair.
func (b *bench) measure(ctx context.Context, w workload, pair *contenders.Pair, sample *Sample) error {
	if b.plan.Calls > 0 {
		w.Callers = min(w.Callers, b.plan.Calls)
	}
	var err error
	if sample.OutboundIdle, sample.InboundIdle, _, _, err = memory(pair); err != nil {
		return err
	}
	runner, err := load.Open(ctx, pair.Addr, w.kind(pair), w.Callers, b.plan.Warm+b.plan.Measure+time.Minute)
	if err != nil {
		return err
	}
	defer runner.Close()
	measured := load.Plan{Callers: w.Callers, Rate: w.Rate, Duration: b.plan.Measure, Calls: b.plan.Calls}
	warm := load.Plan{Callers: w.Callers, Rate: w.Rate, Duration: b.plan.Warm, Calls: b.plan.Calls}
	if w.Idle {
		measured.Calls = w.Callers
	} else {
		runner.Run(warm)
	}
	before, err := proc.MachineNow()
	if err != nil {
		return err
	}
	out, in, err := cpu(pair)
	if err != nil {
		return err
	}
	result := runner.Run(measured)
	outAfter, inAfter, err := cpu(pair)
	if err != nil {
		return err
	}
	after, err := proc.MachineNow()
	if err != nil {
		return err
	}
	sample.OutboundCPU, sample.InboundCPU, sample.Busy = outAfter-out, inAfter-in, after.BusySince(before)
	sample.fill(result)
	sample.Connections = w.connections()
	sample.OutboundMemory, sample.InboundMemory, sample.OutboundPeak, sample.InboundPeak, err = memory(pair)
	return err
}

func (s *Sample) fill(r load.Result) {
	s.Calls, s.Bytes, s.Errors, s.Rate = r.Calls, r.Bytes, r.Errors, r.Rate()
	s.P50, s.P90, s.P99, s.P999 = r.Quantile(0.5), r.Quantile(0.9), r.Quantile(0.99), r.Quantile(0.999)
	if r.FirstErr != nil {
		s.Error = r.FirstErr.Error()
	}
}

// machine reads the machine's counters.
func machine(tb testing.TB) proc.Machine {
	now, err := proc.MachineNow()
	if err != nil {
		tb.Fatal(err)
	}
	return now
}

// cpu returns the CPU times of both proxies.
func cpu(pair *contenders.Pair) (out, in time.Duration, err error) {
	if pair.Outbound == nil {
		return 0, 0, nil
	}
	if out, err = proc.CPU(pair.Outbound.Pid()); err != nil {
		return 0, 0, err
	}
	if pair.Inbound != nil { // else one process is both
		in, err = proc.CPU(pair.Inbound.Pid())
	}
	return out, in, err
}

// memory returns the memory of both proxies, in bytes, now and at their peak.
func memory(pair *contenders.Pair) (out, in, outPeak, inPeak int64, err error) {
	if pair.Outbound == nil {
		return 0, 0, 0, 0, nil
	}
	o, err := proc.MemoryOf(pair.Outbound.Pid())
	if err != nil {
		return 0, 0, 0, 0, err
	}
	var i proc.Memory
	if pair.Inbound != nil {
		i, err = proc.MemoryOf(pair.Inbound.Pid())
	}
	return o.Resident, i.Resident, o.Peak, i.Peak, err
}
