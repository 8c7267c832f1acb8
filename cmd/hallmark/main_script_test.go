package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
)

// stage is what one script has set up.
type stage struct {
	domains  map[string]*ca.Domain
	children map[string]*child
}

type stageKey struct{}

func setUpScript(env *testscript.Env) error {
	s := &stage{domains: make(map[string]*ca.Domain), children: make(map[string]*child)}
	env.Values[stageKey{}] = s
	env.Setenv("UID", strconv.Itoa(os.Getuid()))
	env.Setenv("HALLMARK_POD_INFO", filepath.Join(env.WorkDir, "podinfo"))
	env.Defer(func() {
		for _, c := range s.children {
			c.end()
		}
	})
	return nil
}

func stageOf(ts *testscript.TestScript) *stage {
	s, ok := ts.Value(stageKey{}).(*stage)
	if !ok {
		ts.Fatalf("the script was not set up")
	}
	return s
}

// exits CODE PROGRAM ARG... runs a program that must exit with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		code = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if want, err := strconv.Atoi(args[0]); err != nil || code != want {
		ts.Fatalf("exit status %d, want %s\n%s%s", code, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// child is a program that a script has running.
type child struct {
	cmd    *exec.Cmd
	out    string // file
	stderr bytes.Buffer
	rest   sync.WaitGroup
}

// listening matches what subcommands say once they are ready.
var listening = regexp.MustCompile(`(?:listening on |"listening":")((?:unix://)?[^\s"]+)`)

// start NAME hallmark ARG... starts hallmark, waits until it says where it
// listens, and sets $NAME to that.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: start NAME hallmark ARG...")
	}
	name := args[0]
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	c := &child{cmd: exec.Command(path, args[2:]...), out: ts.MkAbs(name + ".out")}
	c.cmd.Dir, c.cmd.Stderr = ts.MkAbs("."), &c.stderr
	c.cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"))
	for _, variable := range []string{"UID", "SPIFFE_ENDPOINT_SOCKET", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME", "POD_NAME", "HALLMARK_POD_INFO", "HALLMARK_ATTRIBUTE"} {
		c.cmd.Env = append(c.cmd.Env, variable+"="+ts.Getenv(variable))
	}
	pipe, err := c.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(c.cmd.Start())
	stageOf(ts).children[name] = c
	file, err := os.Create(c.out)
	ts.Check(err)
	ready := make(chan string, 1)
	c.rest.Go(func() {
		defer close(ready)
		defer file.Close()
		lines := bufio.NewReader(io.TeeReader(pipe, file))
		for {
			line, err := lines.ReadString('\n')
			if found := listening.FindStringSubmatch(line); found != nil && len(ready) == 0 {
				ready <- found[1]
			}
			if err != nil {
				return
			}
		}
	})
	address, ok := <-ready
	if !ok {
		c.end()
		ts.Fatalf("%v ended before it listened: %s", args[1:], c.stderr.String())
	}
	ts.Setenv(name, address)
	ts.Logf("%s=%s", name, address)
}

// end stops the program, if it runs.
func (c *child) end() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	c.rest.Wait()
	_ = c.cmd.Wait()
}

// finish NAME [CODE|stop] waits until a started program has exited with the
// code, 0 by default; "stop" terminates it first, and wants 0. What it printed
// is in the files NAME.out and NAME.err.
func finish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: finish NAME [CODE|stop]")
	}
	s := stageOf(ts)
	c := s.children[args[0]]
	if c == nil {
		ts.Fatalf("nothing called %s was started", args[0])
	}
	delete(s.children, args[0])
	want := 0
	switch {
	case len(args) == 2 && args[1] == "stop":
		ts.Check(c.cmd.Process.Signal(syscall.SIGTERM))
	case len(args) == 2:
		var err error
		want, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	c.rest.Wait()
	_ = c.cmd.Wait()
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".err"), c.stderr.Bytes(), 0o600))
	if code := c.cmd.ProcessState.ExitCode(); code != want {
		ts.Fatalf("%s: exit status %d, want %d\n%s%s", args[0], code, want, ts.ReadFile(c.out), c.stderr.String())
	}
}

// svid DOMAIN PATH FOLDER [expired] writes an identity of a trust domain, which
// is made when it is first named, into a folder.
func svid(t *testing.T, ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: svid DOMAIN PATH FOLDER [expired]")
	}
	s := stageOf(ts)
	domain := s.domains[args[0]]
	if domain == nil {
		domain = ca.New(t, args[0], ca.WithIntermediates(1))
		s.domains[args[0]] = domain
	}
	var options []ca.SVIDOption
	if len(args) > 3 && args[3] == "expired" {
		options = append(options, ca.Expired())
	}
	folder := ts.MkAbs(args[2])
	ts.Check(os.MkdirAll(folder, 0o700))
	ca.WritePEM(t, folder, domain.Snapshot(t, args[1], identity.Attributes{}, options...))
}

// server NAME KIND sets $NAME to an address where somebody listens who answers
// with "garbage", keeps "silent", or "closed" again.
func server(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: server NAME garbage|silent|closed")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], listener.Addr().String())
	var wg sync.WaitGroup
	ts.Defer(func() {
		_ = listener.Close()
		wg.Wait()
	})
	if args[1] == "closed" {
		_ = listener.Close()
		return
	}
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				if args[1] == "garbage" {
					_, _ = conn.Write([]byte("SSH-2.0-nobody\r\n"))
				}
				_, _ = io.Copy(io.Discard, conn) // until the client leaves
			})
		}
	})
}

// replace FILE OLD NEW replaces text in a file.
func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(ts.ReadFile(args[0]), args[1], args[2])), 0o600))
}
