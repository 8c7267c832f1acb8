//go:build race

package e2e

// raceDetector reports whether the tests, and so the binary, run with it.
const raceDetector = true
