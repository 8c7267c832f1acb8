package proc_test

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/bench/proc"
)

// ticks is what /proc/PID/stat says of our CPU time, in ticks.
func ticks(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var sum int
	for _, field := range fields[11:13] { // utime and stime are fields 14 and 15, state is 3
		n, err := strconv.Atoi(string(field))
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return time.Duration(sum) * 10 * time.Millisecond
}

// TestCPU burns CPU until the kernel's own account has seen it, and compares.
func TestCPU(t *testing.T) {
	for ticks(t) < 200*time.Millisecond {
	}
	before := ticks(t)
	used, err := proc.CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := ticks(t)
	const tick = 10 * time.Millisecond // utime and stime are each rounded
	if used < before-2*tick || used > after+3*tick {
		t.Errorf("used %s; /proc/self/stat says from %s to %s", used, before, after)
	}
}

func TestCPUOfAProcessThatIsGone(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if used, err := proc.CPU(cmd.Process.Pid); err == nil {
		t.Errorf("a process that is gone has used %s", used)
	}
}

// TestDescendants has a shell with a child that burns CPU, while the shell waits.
func TestDescendants(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "(while :; do :; done); true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}()
	for used := time.Duration(0); used < 100*time.Millisecond; {
		var err error
		if used, err = proc.CPU(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMemory(t *testing.T) {
	before, err := proc.MemoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	ballast := bytes.Repeat([]byte{1}, 64<<20)
	after, err := proc.MemoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.Resident-before.Resident < 60<<20 || after.Peak < after.Resident/2 {
		t.Errorf("64 MiB more took memory from %+v to %+v", before, after)
	}
	_ = ballast[len(ballast)-1]
}

func TestMachine(t *testing.T) {
	before, err := proc.MachineNow()
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for after.Total-before.Total < 0.1 {
		if after, err = proc.MachineNow(); err != nil {
			t.Fatal(err)
		}
	}
	if busy := after.BusySince(before); busy <= 0 || busy > 1 {
		t.Errorf("the machine was busy %v", busy)
	}
	if before.BusySince(before) != 0 {
		t.Error("no time has passed, and the machine was busy")
	}
}
