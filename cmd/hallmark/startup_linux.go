package main

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// forgetStartup gives back the pages of the program itself that only its start
// needed: most of what a process that has just begun holds resident is code and
// tables of packages, each touched once. What is needed again comes back from the
// file, most likely from the page cache. Read-only mappings of the program's file
// are all that it touches; without /proc it does nothing.
func forgetStartup() {
	program, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		from, to, ok := mapping(lines.Text(), program)
		if ok {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED)
		}
	}
}

// mapping returns the bounds of a mapping by its line in /proc/PID/maps (proc(5)),
// and false if it is not a private one of the file that nobody can write to.
func mapping(line, file string) (from, to uintptr, ok bool) {
	fields := strings.SplitN(line, " ", 6) // the last is padding and the path, in which spaces may be
	if len(fields) < 6 || strings.TrimLeft(fields[5], " ") != file || (fields[1] != "r-xp" && fields[1] != "r--p") {
		return 0, 0, false
	}
	first, last, _ := strings.Cut(fields[0], "-")
	a, errA := strconv.ParseUint(first, 16, 64)
	b, errB := strconv.ParseUint(last, 16, 64)
	return uintptr(a), uintptr(b), errA == nil && errB == nil && a < b
}
