package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake, and where it is.
type Problem struct {
	// File is the file's name, or the flag.
	File string

	// Line counts from 1; 0 means that there is none to name.
	Line int

	// Field is the path of the field, such as spec.targets[1].address, or "".
	Field string

	// Text says what is wrong, and what would be right.
	Text string
}

// Error is the problem on one line: file:line: field: text.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	b.WriteString(": " + p.Text)
	return b.String()
}

// Problems are all the mistakes of a configuration, at least one.
type Problems []Problem

// Error is the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

const (
	// maxProblems is how many mistakes are told at once.
	maxProblems = 100

	// maxNoted is how many are noted of a file or of a resource.
	maxNoted = 1000
)

// note adds a problem, within bounds.
func (ps *Problems) note(p Problem) {
	if len(*ps) < maxNoted {
		*ps = append(*ps, p)
	}
}

// asError returns the problems in the order of their places, or nil if there
// are none.
func (ps Problems) asError() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	if more := len(ps) - maxProblems; more > 0 {
		ps = append(ps[:maxProblems:maxProblems], Problem{File: ps[maxProblems].File, Text: fmt.Sprintf("and %d more problems", more)})
	}
	return ps
}
