package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how much longer than planned a run may take before its
// connections are cut, and its calls counted as errors.
const patience = 30 * time.Second

// maxErrors bounds the errors of a run, after which it ends.
const maxErrors = 1000

// Plan is how a kind of call is made.
type Plan struct {
	Callers  int           // at once, each with a connection of its own if the kind keeps them
	Duration time.Duration // of sending
	Calls    int           // in all, if not zero; ends the run before Duration does
	// Rate is how many calls a second are sent in an open loop; zero means a
	// closed loop.
	Rate float64
}

// Result is how a run went.
type Result struct {
	Calls     int             // that succeeded
	Errors    int             // that did not
	FirstErr  error           // why
	Bytes     int64           // of payload, both ways
	Elapsed   time.Duration   // from the first call's start to the last one's end
	Latencies []time.Duration // of those that succeeded, sorted
}

// Rate is the number of successful calls per second.
func (r Result) Rate() float64 { return float64(r.Calls) / r.Elapsed.Seconds() }

// Quantile returns the latency that a share q, from 0 to 1, of the calls did not
// exceed; 0 without calls.
func (r Result) Quantile(q float64) time.Duration {
	if len(r.Latencies) == 0 {
		return 0
	}
	i := int(q*float64(len(r.Latencies))+0.999999) - 1
	return r.Latencies[min(max(i, 0), len(r.Latencies)-1)]
}

// Run makes calls of the kind to the address as planned. Its error says that it
// could not begin; errors of calls are in the result.
func Run(ctx context.Context, address string, kind Kind, plan Plan) (Result, error) {
	r, err := Open(ctx, address, kind, plan.Callers, plan.Duration+patience)
	if err != nil {
		return Result{}, err
	}
	defer r.Close()
	return r.Run(plan), nil
}

// Runner keeps callers from one run to the next, so that a warm-up warms their
// connections too.
type Runner struct {
	kind    Kind
	address string
	ctx     context.Context
	cancel  context.CancelFunc
	callers []Caller
	crowd   *crowd // the same in one thread, of kinds that can; for closed loops
}

// Open opens callers. All that they do must be done within the timeout.
func Open(ctx context.Context, address string, kind Kind, callers int, timeout time.Duration) (*Runner, error) {
	r := &Runner{kind: kind, address: address, callers: make([]Caller, callers)}
	r.ctx, r.cancel = context.WithTimeout(ctx, timeout)
	proxy, _ := direct(address)
	if k, ok := kind.(Connect); ok && k.Operation == Echo && proxy == "" {
		var err error
		if r.crowd, err = k.crowd(address, callers); err != nil {
			r.Close()
			return nil, err
		}
	}
	for i := range r.callers {
		c, err := kind.Open(r.ctx, address)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("load: open caller %d of %d for %s: %w", i+1, callers, kind, err)
		}
		r.callers[i] = c
	}
	return r, nil
}

// Close closes the callers.
func (r *Runner) Close() {
	for _, c := range r.callers {
		if c != nil {
			_ = c.Close()
		}
	}
	r.cancel()
}

// Run makes calls as planned; plan.Callers must be what the runner was opened
// with.
func (r *Runner) Run(plan Plan) Result {
	if r.crowd != nil && plan.Rate == 0 {
		return r.crowd.run(r.ctx, plan)
	}
	parts := make([]Result, len(r.callers))
	begun := time.Now()
	due, clock := r.schedule(plan, begun)
	var all sync.WaitGroup
	all.Go(clock)
	for i := range r.callers {
		all.Go(func() { parts[i] = r.work(i, due[i]) })
	}
	all.Wait()
	total := Result{Elapsed: time.Since(begun)}
	for _, p := range parts {
		total.Calls += p.Calls
		total.Errors += p.Errors
		total.Bytes += p.Bytes
		if total.FirstErr == nil {
			total.FirstErr = p.FirstErr
		}
		total.Latencies = append(total.Latencies, p.Latencies...)
	}
	slices.Sort(total.Latencies)
	return total
}

// turn yields when the next call is due: now, in a closed loop. It returns false
// when the run is over.
type turn func() (time.Time, bool)

// schedule gives each caller its turns; they depend on the clock running.
func (r *Runner) schedule(plan Plan, begun time.Time) (turns []turn, clock func()) {
	turns = make([]turn, len(r.callers))
	if plan.Rate > 0 {
		return turns, r.pace(plan, begun, turns)
	}
	end := begun.Add(plan.Duration)
	for i := range turns {
		left := share(plan.Calls, len(turns), i)
		turns[i] = func() (time.Time, bool) {
			now := time.Now()
			if r.ctx.Err() != nil || plan.Calls > 0 && left == 0 || plan.Calls == 0 && !now.Before(end) {
				return now, false
			}
			left--
			return now, true
		}
	}
	return turns, func() {}
}

// share is the i-th of n nearly equal shares of all.
func share(all, n, i int) int { return all/n + min(max(all%n-i, 0), 1) }

// pace returns the clock of an open loop. Calls are due at even distances and go
// to the callers in turn; what a busy caller is due waits in its queue, and is
// late.
func (r *Runner) pace(plan Plan, begun time.Time, turns []turn) func() {
	calls := plan.Calls
	if calls == 0 {
		calls = int(plan.Rate * plan.Duration.Seconds())
	}
	queues := make([]chan time.Time, len(turns))
	for i := range queues {
		queues[i] = make(chan time.Time, share(calls, len(queues), i)) // the clock never waits
		turns[i] = func() (time.Time, bool) {
			due, ok := <-queues[i]
			return due, ok && r.ctx.Err() == nil
		}
	}
	return func() {
		// Go's timers are up to a millisecond late in an idle process; a thread
		// that sleeps in the kernel is not.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for n := range calls {
			due := begun.Add(time.Duration(float64(n) / plan.Rate * float64(time.Second)))
			sleepUntil(due)
			if r.ctx.Err() != nil {
				break
			}
			queues[n%len(queues)] <- due
		}
		for _, q := range queues {
			close(q)
		}
	}
}

func sleepUntil(due time.Time) {
	for {
		left := time.Until(due)
		if left <= 0 {
			return
		}
		t := unix.NsecToTimespec(left.Nanoseconds())
		_ = unix.Nanosleep(&t, nil) // interrupted: see what is left
	}
}

// work makes one caller's calls.
func (r *Runner) work(i int, next turn) Result {
	var p Result
	for {
		due, ok := next()
		if !ok {
			return p
		}
		n, err := r.callers[i].Call()
		if err == nil {
			p.Latencies = append(p.Latencies, time.Since(due))
			p.Calls++
			p.Bytes += int64(n)
			continue
		}
		p.Errors++
		if p.FirstErr == nil {
			p.FirstErr = err
		}
		if p.Errors >= maxErrors {
			return p
		}
		if err := r.reopen(i); err != nil {
			p.FirstErr = errors.Join(p.FirstErr, err)
			return p
		}
	}
}

// reopen replaces a caller that failed.
func (r *Runner) reopen(i int) error {
	_ = r.callers[i].Close()
	c, err := r.kind.Open(r.ctx, r.address)
	if err != nil {
		return err
	}
	r.callers[i] = c
	return nil
}
