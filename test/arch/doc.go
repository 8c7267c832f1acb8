// Package arch holds the layout of the code to its rules: which room may import
// which (see [Rooms]), what no production code imports, which names no package
// has, and that every package says what it is for.
//
// It parses the source files themselves, within the process. It does not ask the
// go command: a test that does would not be run again after a violation, since
// the test cache knows only of the files that the test itself has read.
package arch
