package components

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// orphanEnv makes the test binary play the test that is killed: see
// TestProcessDiesWithTestBinary.
const orphanEnv = "HALLMARK_TEST_ORPHAN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(orphanEnv); dir != "" {
		try(dir, func(tb testing.TB) {
			fmt.Println(Start(tb, shell("exec sleep 1000")).Pid())
			select {}
		})
	}
	goleak.VerifyTestMain(m)
}

func shell(script string) Process {
	return Process{Path: "/bin/sh", Args: []string{"-c", script}}
}

// alive reports whether a process runs; a zombie, which its parent has not
// reaped yet, does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(rest, []byte("Z"))
}

// awaitDead waits until a process that this one cannot wait for is gone.
func awaitDead(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for alive(pid) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("process %d still runs", pid)
		}
	}
}

func TestProcessEndsWithItsTest(t *testing.T) {
	var pid int
	t.Run("test", func(t *testing.T) {
		r := Start(t, shell("exec sleep 1000"))
		pid = r.Pid()
		if !alive(pid) {
			t.Error("the process does not run")
		}
	})
	if alive(pid) {
		t.Error("the process outlived its test")
	}
}

func TestProcessGroupIsKilledWhenItIgnoresTheSignal(t *testing.T) {
	var leader, child int
	t.Run("test", func(t *testing.T) {
		p := shell(`trap "" TERM; sleep 1000 & echo "child $!."; while :; do wait; done`)
		p.ReadyOutput = "."
		p.StopTimeout = 10 * time.Millisecond
		r := Start(t, p)
		leader = r.Pid()
		if _, err := fmt.Sscanf(r.Output(), "child %d.", &child); err != nil {
			t.Fatal(err)
		}
	})
	awaitDead(t, leader)
	awaitDead(t, child)
}

func TestProcessGroupIsKilledWhenItsLeaderEnds(t *testing.T) {
	r := Start(t, shell(`trap "" TERM; sleep 1000 & echo $!`))
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(r.Output()))
	if err != nil {
		t.Fatal(err)
	}
	awaitDead(t, child)
}

func TestProcessDiesWithTestBinary(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orphanEnv+"="+t.TempDir())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	killErr := cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if err := errors.Join(readErr, killErr); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	awaitDead(t, pid)
}

func TestProcessOutputIsLoggedOnlyOnFailure(t *testing.T) {
	for _, fails := range []bool{false, true} {
		tb := try(t.TempDir(), func(tb testing.TB) {
			p := shell("echo out; echo err >&2; exec sleep 1000")
			p.ReadyOutput = "err"
			Start(tb, p)
			if fails {
				tb.Errorf("failed")
			}
		})
		for _, want := range []string{"out\n", "err\n"} {
			if strings.Contains(tb.text(), want) != fails {
				t.Errorf("failed %v: reported %q", fails, tb.text())
			}
		}
	}
}

func TestProcessThatEndsBeforeItIsReady(t *testing.T) {
	tb := try(t.TempDir(), func(tb testing.TB) {
		p := shell("echo no such luck; exit 7")
		p.Ready = Exists("/nonexistent/socket")
		Start(tb, p)
	})
	for _, want := range []string{"ended before it was ready: exit status 7", "/nonexistent/socket", "no such luck"} {
		if !strings.Contains(tb.text(), want) {
			t.Errorf("reported %q, which lacks %q", tb.text(), want)
		}
	}
}

func TestProcessThatIsNeverReady(t *testing.T) {
	var r *Running
	tb := try(t.TempDir(), func(tb testing.TB) {
		p := shell("exec sleep 1000")
		p.ReadyTimeout = time.Millisecond
		p.Ready = func(context.Context) error { return errors.New("not yet") }
		r = launch(tb, p)
		if err := r.awaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "not ready within 1ms: not yet") {
			t.Errorf("awaitReady: %v", err)
		}
	})
	if tb.Failed() || alive(r.Pid()) {
		t.Errorf("failed %v, alive %v", tb.Failed(), alive(r.Pid()))
	}
}

func TestProcessThatEndsByItselfFailsItsTest(t *testing.T) {
	tb := try(t.TempDir(), func(tb testing.TB) {
		r := Start(tb, shell("exit 3"))
		<-r.Exited()
	})
	if want := "ended before its test did: exit status 3"; !strings.Contains(tb.text(), want) {
		t.Errorf("reported %q, which lacks %q", tb.text(), want)
	}
}

func TestProcessWhoseEndIsExpected(t *testing.T) {
	for name, end := range map[string]func(*Running){
		"wait":   func(r *Running) { _ = r.Wait(context.Background()) },
		"signal": func(r *Running) { r.Signal(syscall.SIGUSR1); <-r.Exited() },
		"kill":   (*Running).Kill,
		"stop":   (*Running).Stop,
	} {
		t.Run(name, func(t *testing.T) {
			script := "exec sleep 1000"
			if name == "wait" {
				script = "exit 1"
			}
			tb := try(t.TempDir(), func(tb testing.TB) { end(Start(tb, shell(script))) })
			if tb.Failed() {
				t.Errorf("failed: %s", tb.text())
			}
		})
	}
}

func TestProcessWait(t *testing.T) {
	r := Start(t, shell("exit 5"))
	var exit *exec.ExitError
	if err := r.Wait(t.Context()); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("Wait: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Start(t, shell("exec sleep 1000")).Wait(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
}

func TestProcessEnvironment(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := shell(`echo "$GREETING from $(pwd -P): $(cat)"`)
	p.Dir, p.Env, p.Stdin = dir, []string{"GREETING=hello"}, strings.NewReader("input")
	if got, want := Output(t, p), "hello from "+dir+": input\n"; got != want {
		t.Errorf("Output = %q, want %q", got, want)
	}
}

func TestProcessThatDoesNotReadItsInput(t *testing.T) {
	p := shell("exit 0")
	p.Stdin = bytes.NewReader(make([]byte, 1<<20))
	Output(t, p)
}

func TestProcessOutputFailsTheTest(t *testing.T) {
	tb := try(t.TempDir(), func(tb testing.TB) { Output(tb, shell("echo why; exit 1")) })
	if !tb.Failed() || !strings.Contains(tb.text(), "exit status 1\nwhy") {
		t.Errorf("reported %q", tb.text())
	}
	tb = try(t.TempDir(), func(tb testing.TB) { Start(tb, Process{Path: "/nonexistent/program"}) })
	if !tb.Failed() || !strings.Contains(tb.text(), "/nonexistent/program") {
		t.Errorf("reported %q", tb.text())
	}
}

func TestProcessUnprivileged(t *testing.T) {
	user := Unprivileged()
	dir := TempDirFor(t, user)
	p := shell("id -u; touch made")
	p.User, p.Dir = user, dir
	got := strings.TrimSpace(Output(t, p))
	want := strconv.Itoa(os.Geteuid())
	if user != nil {
		want = strconv.Itoa(nobody)
	}
	if got != want || got == "0" {
		t.Errorf("ran as %s, want %s", got, want)
	}
	if err := Exists(filepath.Join(dir, "made"))(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReadyChecks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ok" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	for name, test := range map[string]struct {
		check func(context.Context) error
		ready bool
	}{
		"accepts":       {Accepts("tcp", address), true},
		"accepts no":    {Accepts("tcp", FreeAddr(t)), false},
		"responds":      {Responds(server.URL + "/ok"), true},
		"responds no":   {Responds(server.URL + "/503"), false},
		"responds down": {Responds("http://" + FreeAddr(t)), false},
		"exists":        {Exists(os.Args[0]), true},
		"exists no":     {Exists(os.Args[0] + "-"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.check(t.Context()); (err == nil) != test.ready {
				t.Errorf("check: %v", err)
			}
		})
	}
}

func TestFreePort(t *testing.T) {
	t.Setenv("HALLMARK_CACHE", t.TempDir())
	seen := map[int]bool{}
	tb := try(t.TempDir(), func(tb testing.TB) {
		for range 200 {
			port := FreePort(tb)
			if seen[port] || port < firstPort || port > lastPort {
				tb.Errorf("port %d is handed out twice, or out of range", port)
			}
			seen[port] = true
		}
		for port := range seen {
			if lock, err := tryLockByte(filepath.Join(os.Getenv("HALLMARK_CACHE"), portLocks), int64(port)); err == nil {
				tb.Errorf("port %d is not reserved", port)
				lock.Close()
			}
		}
	})
	if tb.Failed() {
		t.Error(tb.text())
	}
	for port := range seen {
		lock, err := tryLockByte(filepath.Join(os.Getenv("HALLMARK_CACHE"), portLocks), int64(port))
		if err != nil {
			t.Fatalf("port %d is still reserved after its test: %v", port, err)
		}
		lock.Close()
	}
}
