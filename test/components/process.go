package components

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The deadlines of a Process that sets none. They only stop a hang: a loaded
// machine stays far below them.
const (
	defaultReadyTimeout = 2 * time.Minute
	defaultStopTimeout  = 20 * time.Second
	readyPoll           = 20 * time.Millisecond
)

// maxShown bounds, in bytes, how much of a process's output a failing test logs.
const maxShown = 64 << 10

// Process is a program to run. Only Path is needed.
type Process struct {
	Path  string
	Args  []string // without the program's name
	Env   []string // added to this process's environment
	Dir   string   // where it runs; here, if empty
	Name  string   // for messages; the base name of Path, if empty
	Stdin io.Reader

	// Ready returns nil once the process can be used; until then it is called
	// again and again. A nil Ready means ready at once. See [Accepts],
	// [Responds], [Exists] and, for what the process prints, ReadyOutput.
	Ready func(ctx context.Context) error
	// ReadyOutput, if it is not empty, must be in the output before Ready is asked.
	ReadyOutput string
	// ReadyPoll is how long to wait before asking again; zero means 20 ms. Where
	// the time until a process is ready is measured, it is the error of that.
	ReadyPoll time.Duration
	// ReadyTimeout bounds the wait for both; zero means two minutes.
	ReadyTimeout time.Duration
	// StopTimeout is how long SIGTERM may take before SIGKILL; zero means 20 seconds.
	StopTimeout time.Duration
	// StopSignal replaces SIGTERM.
	StopSignal syscall.Signal
	// User runs it as another user (PostgreSQL refuses root); nil means ours.
	User *syscall.Credential
}

// Running is a process that [Start] started. It leads a process group of its
// own. Its methods may be called from several goroutines.
type Running struct {
	process Process
	cmd     *exec.Cmd
	log     string
	exited  chan struct{} // closed when the process is gone

	mu      sync.Mutex
	reaped  bool  // the pid is no longer ours to signal
	expects bool  // somebody waits for its end or has signalled it
	err     error // of cmd.Wait; valid once exited is closed
}

// Start runs a process for as long as the test lasts, and returns when it is
// ready. The test fails at once if it cannot be started, ends early, or is not
// ready in time; and at its end if the process has ended by itself and nobody
// called a method that expects that. Its output is logged if the test failed.
//
// At the end of the test its process group is asked to stop, then killed. The
// process is also killed if the test binary dies (Linux does not do that for
// programs with setuid or file capabilities).
func Start(tb testing.TB, p Process) *Running {
	tb.Helper()
	r := launch(tb, p)
	if err := r.awaitReady(context.Background()); err != nil {
		tb.Fatalf("components: start %s: %v", r.name(), err)
	}
	return r
}

// Output runs a process to its end and returns what it wrote to standard output
// and standard error. The test fails if the process does. Only the timeout of
// the test binary bounds it.
func Output(tb testing.TB, p Process) string {
	tb.Helper()
	r := launch(tb, p)
	if err := r.Wait(context.Background()); err != nil {
		tb.Fatalf("components: %s %q: %v\n%s", r.name(), p.Args, err, r.Output())
	}
	return r.Output()
}

// launch starts the process and arranges for its end.
func launch(tb testing.TB, p Process) *Running {
	tb.Helper()
	r := &Running{
		process: p,
		log:     filepath.Join(tb.TempDir(), "output"), // before the cleanup below, so that it outlives the process
		exited:  make(chan struct{}),
	}
	if err := r.start(); err != nil {
		tb.Fatalf("components: start %s %q: %v", r.name(), p.Args, err)
	}
	tb.Cleanup(func() { r.cleanup(tb) })
	return r
}

func (r *Running) name() string {
	if r.process.Name != "" {
		return r.process.Name
	}
	return filepath.Base(r.process.Path)
}

func (r *Running) start() error {
	output, err := os.OpenFile(r.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	r.cmd = exec.Command(r.process.Path, r.process.Args...)
	r.cmd.Env = append(os.Environ(), r.process.Env...)
	r.cmd.Dir = r.process.Dir
	r.cmd.Stdin = r.process.Stdin
	r.cmd.Stdout, r.cmd.Stderr = output, output // a file: no pipe that could fill up or be held open
	r.cmd.WaitDelay = time.Second               // for a Stdin that is never read
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: r.process.User}
	started := make(chan error)
	go r.run(started)
	return <-started
}

// run starts the process and reaps it. Linux ties Pdeathsig to the thread that
// forked, so one thread stays here for as long as the process lives.
func (r *Running) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := r.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	r.awaitExit()
	r.mu.Lock()
	defer r.mu.Unlock()
	// The process is not reaped yet, so its pid still names its group.
	_ = unix.Kill(-r.cmd.Process.Pid, unix.SIGKILL)
	r.err = r.cmd.Wait()
	if errors.Is(r.err, exec.ErrWaitDelay) {
		r.err = nil // it ended well, without reading all of its input
	}
	r.reaped = true
	close(r.exited)
}

// awaitExit blocks until the process has ended, and does not reap it.
func (r *Running) awaitExit() {
	for {
		err := unix.Waitid(unix.P_PID, r.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func (r *Running) awaitReady(ctx context.Context) error {
	timeout := r.process.ReadyTimeout
	if timeout == 0 {
		timeout = defaultReadyTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	poll := r.process.ReadyPoll
	if poll == 0 {
		poll = readyPoll
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := r.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-r.exited:
			return fmt.Errorf("ended before it was ready: %s; last: %w", state(r.err), err)
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s: %w", timeout, err)
		case <-tick.C:
		}
	}
}

func (r *Running) ready(ctx context.Context) error {
	if want := r.process.ReadyOutput; !strings.Contains(r.Output(), want) {
		return fmt.Errorf("has not printed %q", want)
	}
	if r.process.Ready == nil {
		return nil
	}
	return r.process.Ready(ctx)
}

// state words the result of a Wait.
func state(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// cleanup ends the process at the end of its test.
func (r *Running) cleanup(tb testing.TB) {
	r.mu.Lock()
	early := r.reaped && !r.expects
	r.mu.Unlock()
	if early {
		tb.Errorf("components: %s ended before its test did: %s", r.name(), state(r.err))
	}
	r.Stop()
	if tb.Failed() {
		tb.Logf("output of %s %q:\n%s", r.name(), r.process.Args, tail(r.Output()))
	}
}

func tail(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return fmt.Sprintf("(%d bytes left out)\n%s", len(text)-maxShown, text[len(text)-maxShown:])
}

// Pid returns the process's id, which is its process group's as well.
func (r *Running) Pid() int { return r.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (r *Running) Exited() <-chan struct{} { return r.exited }

// Output returns what the process has written so far to standard output and
// standard error.
func (r *Running) Output() string {
	text, err := os.ReadFile(r.log)
	if err != nil {
		return fmt.Sprintf("(output is lost: %v)", err)
	}
	return string(text)
}

// Wait waits for the process to end by itself and returns its error, which is
// an [exec.ExitError] if it did not exit with status 0, or the context's error
// with the process still running.
func (r *Running) Wait(ctx context.Context) error {
	r.expect()
	select {
	case <-r.exited:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Signal sends a signal to the process alone, and does nothing if it has ended.
// From then on, that it ends is no failure of the test.
func (r *Running) Signal(sig syscall.Signal) {
	r.signal(r.Pid(), sig)
}

// Kill kills the process group, as a crash would, and waits until the process
// has ended.
func (r *Running) Kill() {
	r.signal(-r.Pid(), unix.SIGKILL)
	<-r.exited
}

// Stop asks the process group to end, kills it if its leader does not in time,
// and returns when that has ended. Whatever is left of the group is killed then.
func (r *Running) Stop() {
	timeout := r.process.StopTimeout
	if timeout == 0 {
		timeout = defaultStopTimeout
	}
	sig := r.process.StopSignal
	if sig == 0 {
		sig = unix.SIGTERM
	}
	r.signal(-r.Pid(), sig)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-r.exited:
	case <-timer.C:
		r.Kill()
	}
}

func (r *Running) expect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expects = true
}

// signal sends sig to a pid, or to the group of a negative one, unless the
// process has been reaped and the number may be somebody else's.
func (r *Running) signal(pid int, sig syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expects = true
	if !r.reaped {
		_ = unix.Kill(pid, sig) // the process may be ending: nothing to do then
	}
}
