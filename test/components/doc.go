// Package components provides the real programs that Hallmark is tested
// against: SPIRE, ghostunnel, Prometheus, PostgreSQL, HAProxy and the rest, and
// the tools that check the code. Each is either built from a pinned version of
// a Go module ([Binary], into a cache outside the tree) or comes from Debian
// ([LookPath]).
//
// In a test, [Path] and [Command] say where a program is, [Start] runs it for as
// long as the test lasts, and [Output] runs it to its end. A program that is
// not there fails the test with the command that provides it.
//
// A test run never builds, downloads or installs anything, and no test is
// skipped for want of a component: [Ensure] provides them all beforehand, called
// by `make components`. No process that was started here outlives its test, nor
// the death of the test binary.
package components
