package ca

import (
	"fmt"
	"testing"
)

// ForExample stands for the test that a runnable example has not: pass it where
// this package wants one. It panics where a test would fail.
func ForExample() testing.TB { return example{} }

type example struct{ testing.TB }

func (example) Helper() {}

func (example) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
