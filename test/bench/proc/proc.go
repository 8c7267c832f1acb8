// Package proc reads what processes use: CPU time and memory, as the kernel
// counts them. It measures nothing itself.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the CPU time, user and system, that a process and its present
// descendants have used so far, all their threads included. It is the sum of
// utime and stime of /proc/PID/stat, in nanoseconds rather than ticks of 10 ms.
func CPU(pid int) (time.Duration, error) {
	var total time.Duration
	for _, p := range family(pid) {
		// clock_getcpuclockid(3): the clock of a process is its id, inverted,
		// above three bits that say which of its clocks.
		const schedulerClock = 2
		var used unix.Timespec
		if err := unix.ClockGettime(int32(^p<<3|schedulerClock), &used); err != nil {
			if p != pid && errors.Is(err, unix.EINVAL) {
				continue // a child that has just ended
			}
			return 0, fmt.Errorf("proc: CPU time of process %d: %w", p, err)
		}
		total += time.Duration(used.Nano())
	}
	return total, nil
}

// Memory is what a process and its present descendants hold.
type Memory struct {
	// Resident is the proportional set size, in bytes: resident memory, with
	// pages that several processes share divided among them.
	Resident int64
	// Peak is the highest resident set size so far, in bytes.
	Peak int64
}

// MemoryOf returns the memory of a process.
func MemoryOf(pid int) (Memory, error) {
	var total Memory
	for _, p := range family(pid) {
		m, err := memoryOf(p)
		if err != nil && p == pid {
			return Memory{}, err
		}
		total.Resident += m.Resident
		total.Peak += m.Peak
	}
	return total, nil
}

func memoryOf(pid int) (Memory, error) {
	resident, err := kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
	if err != nil {
		return Memory{}, err
	}
	peak, err := kilobytes(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:")
	return Memory{Resident: resident, Peak: peak}, err
}

// kilobytes finds a line "name  n kB" in a file and returns n in bytes.
func kilobytes(file, name string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("proc: %w", err)
	}
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == name {
			n, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("proc: %s has no %s", file, name)
}

// family returns the process and its descendants.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i])) // the pattern is a good one
		for _, file := range files {
			text, _ := os.ReadFile(file) // gone: no children
			for field := range bytes.FieldsSeq(text) {
				if child, err := strconv.Atoi(string(field)); err == nil {
					all = append(all, child)
				}
			}
		}
	}
	return all
}

// Machine is what the whole machine has done so far.
type Machine struct {
	Busy, Total float64 // CPU seconds of all CPUs
}

// MachineNow reads the machine's counters.
func MachineNow() (Machine, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, fmt.Errorf("proc: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return Machine{}, fmt.Errorf("proc: /proc/stat begins with %q", line)
	}
	var m Machine
	const tick = 100 // a second, on every Linux
	for i, field := range fields[1:9] {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return Machine{}, fmt.Errorf("proc: /proc/stat: %w", err)
		}
		m.Total += n / tick
		if i != 3 && i != 4 { // idle, waiting for disks
			m.Busy += n / tick
		}
	}
	return m, nil
}

// BusySince returns the share, from 0 to 1, of the machine's CPU time since
// before that was used by anybody.
func (m Machine) BusySince(before Machine) float64 {
	if m.Total <= before.Total {
		return 0
	}
	return min((m.Busy-before.Busy)/(m.Total-before.Total), 1) // rounding
}

// Describe says on a line what the machine is.
func Describe() string {
	model := "unknown CPU"
	info, _ := os.ReadFile("/proc/cpuinfo") // missing: unknown
	cpus := 0
	for line := range strings.Lines(string(info)) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "model name":
			model = strings.TrimSpace(value)
		case "processor":
			cpus++
		}
	}
	memory, _ := kilobytes("/proc/meminfo", "MemTotal:") // missing: 0
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d × %s, %d GiB, Linux %s", cpus, model, memory>>30, strings.TrimSpace(string(kernel)))
}

// Load is the machine's load average over the last minute; 0 if it is unknown.
func Load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load
}
