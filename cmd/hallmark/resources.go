package main

import (
	"errors"
	"math"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/proxy/config"
)

// memoryShare is how much of the cgroup's memory the Go runtime may use: the
// rest is for what it does not count.
const memoryShare = 0.9

// limitMemory sets GOMEMLIMIT, unless the environment has: to what is configured,
// or else to a share of the cgroup's limit, if it has one.
func limitMemory(limits config.Limits, log *zap.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if limits.Memory > 0 {
		debug.SetMemoryLimit(int64(limits.Memory))
		return
	}
	limit, err := memlimit.Set(memlimit.WithProvider(memlimit.FromCgroup), memlimit.WithRatio(memoryShare))
	switch {
	case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup):
	case err != nil:
		log.Warn("the memory limit of the cgroup cannot be read, and none is set: set spec.limits.memory or GOMEMLIMIT", zap.Error(err))
	case limit > 0 && limit < math.MaxInt64:
		log.Info("memory limit set from the cgroup", zap.Int64("bytes", limit))
	}
}

// limitProcessors sets GOMAXPROCS to one, unless the environment has set it. A
// sidecar waits for its network nearly all the time, and on one processor its
// goroutines hand over to each other without waking up another: a request costs a
// fifth less. docs/performance.md has the measurements, and when more are better.
func limitProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}
