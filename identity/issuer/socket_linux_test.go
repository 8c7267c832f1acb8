package issuer

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSocketModes(t *testing.T) {
	dir := socketDir(t)
	i := open(t, Config{Socket: dir + "/shared", Workloads: []Workload{
		{ID: idA, Socket: dir + "/own"},
		{ID: idB, Socket: dir + "/group", SocketMode: 0o660},
	}})
	if err := i.Listen(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{"/shared": 0o777, "/own": 0o600, "/group": 0o660} {
		info, err := os.Stat(dir + path)
		if err != nil || info.Mode() != fs.ModeSocket|want {
			t.Errorf("%s: %v, %v: want a socket of mode %v", path, info.Mode(), err, want)
		}
	}
	if err := i.Listen(); err != nil {
		t.Errorf("a second Listen: %v", err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("Close left %v, %v", left, err)
	}
}

// stale leaves a socket behind as a crash does.
func stale(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSocketOfCrashedRunIsReplaced(t *testing.T) {
	path := socketDir(t) + "/agent.sock"
	stale(t, path)
	i := open(t, Config{Socket: path, Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: myUID()}}}})
	run(t, i)
	if _, err := client(t, path).FetchX509SVID(limited(t)); err != nil {
		t.Error(err)
	}
}

func TestSocketInUseIsNotReplaced(t *testing.T) {
	path := socketDir(t) + "/agent.sock"
	config := Config{Socket: path, Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: myUID()}}}}
	live := open(t, config)
	run(t, live)
	second := open(t, config)
	if err := second.Listen(); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("got %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, path).FetchX509SVID(limited(t)); err != nil {
		t.Errorf("the live socket has suffered: %v", err)
	}
}

func TestSocketRaceHasOneWinner(t *testing.T) {
	path := socketDir(t) + "/agent.sock"
	stale(t, path)
	var won, lost int
	var mu sync.Mutex
	var racers sync.WaitGroup
	for range 8 {
		i := open(t, Config{Socket: path})
		racers.Go(func() {
			err := i.Listen()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if strings.Contains(err.Error(), "in use") {
				lost++
			} else {
				t.Error(err)
			}
		})
	}
	racers.Wait()
	if won != 1 || lost != 7 {
		t.Errorf("%d won and %d lost", won, lost)
	}
}

func TestSocketRefusals(t *testing.T) {
	dir := socketDir(t)
	for _, path := range []string{"/file"} {
		if err := os.WriteFile(dir+path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/open", 0o700); err != nil {
		t.Fatal(err)
	}
	chmod(t, dir+"/open", 0o777)
	if err := os.Mkdir(dir+"/sticky", 0o700); err != nil {
		t.Fatal(err)
	}
	chmod(t, dir+"/sticky", 0o777|fs.ModeSticky)
	for path, want := range map[string]string{
		"/file":          "is no socket",
		"/open/sock":     "others could replace the socket",
		"/file/sock":     "not a directory",
		"/sticky/sock":   "",
		"/new/deep/sock": "",
	} {
		i := open(t, Config{Socket: dir + path})
		err := i.Listen()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	if content, err := os.ReadFile(dir + "/file"); err != nil || string(content) != "precious" {
		t.Error("a file was overwritten")
	}
}

func TestSocketOfLongPath(t *testing.T) {
	dir := socketDir(t)
	path := dir + "/" + strings.Repeat("x", maxSocket-len(dir)-1)
	i := open(t, Config{Socket: path, Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: myUID()}}}})
	run(t, i)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := New(Config{TrustDomain: td, Socket: path + "x"}); err == nil {
		t.Error("a path of 108 bytes was accepted")
	}
}

func TestSocketParentThatIsLockedIsReported(t *testing.T) {
	dir := socketDir(t)
	held, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := lockParent(dir); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("got %v", err)
	}
}

func TestSocketsCannotChange(t *testing.T) {
	dir := socketDir(t)
	i := open(t, Config{Workloads: []Workload{{ID: idA, Socket: dir + "/one"}}})
	if err := i.SetWorkloads([]Workload{{ID: idB, Socket: dir + "/one"}}); err != nil {
		t.Error(err)
	}
	if err := i.SetWorkloads([]Workload{{ID: idA, Socket: dir + "/two"}}); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("got %v", err)
	}
}
