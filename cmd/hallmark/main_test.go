package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hallmark": main})
}

// TestScripts runs the scripts in testdata against the real main, in processes
// of their own. What they can do besides testscript's own commands is in
// main_script_test.go.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUpScript,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"start":   start,
			"finish":  finish,
			"svid":    func(ts *testscript.TestScript, neg bool, args []string) { svid(t, ts, neg, args) },
			"server":  server,
			"replace": replace,
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}
